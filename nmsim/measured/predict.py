"""Measured GEMMs, each with its machine, the time that a model predicts, and the model's account.

No prediction reads a measured time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nmsim.errors import SpecError, UnknownName
from nmsim.machines import (
    HARDWARE,
    Call,
    Machine,
    kind_of,
    load_hardware,
    residual_path,
    with_residual,
)
from nmsim.machines.measured_as import MeasuredAs, letters
from nmsim.measured.calibrate import SIZES
from nmsim.measured.plausible import faster_than_possible, not_growing
from nmsim.measured.routines import routines_of
from nmsim.measured.tables import (
    MEASURED,
    MeasuredTable,
    Refusal,
    Routine,
    raise_first,
    read_shipped,
)
from nmsim.measured.weight_shapes import held_out

__all__ = [
    "ROWS",
    "Predicted",
    "call_of",
    "corrected_machine",
    "impossible",
    "machine_of",
    "predict",
    "shipped",
]

IN_TURN = 5
"""Weight matrices that a series of launches goes through where a file has no column ``in_turn``.

The A100 collector of ai-dynamo/aiconfigurator reuses few enough weights for L2 to show; of 1 to 14,
five leaves the least error on its bf16 table.
"""

ROWS = (
    (2.0, "1"),
    (17.0, "2-16"),
    (129.0, "17-128"),
    (1025.0, "129-1024"),
    (np.inf, "over 1024"),
)
"""Classes of M."""

_CLOCKS = {
    "free": "",
    "sustained": "conditions are sustained: predicted at the clock that long work leaves "
    "(timing.sustained_throttle)",
    "locked": "conditions are locked: predicted at a clock that no load brings down",
}
"""What is said of rows by what the clock did."""


def machine_of(gpu: str, variant: str) -> str:
    """The machine that describes a measured GPU, the most specific if several do; "" if none does.

    Raises
    ------
    SpecError
        if two machines of the catalog lay claim to the name and neither is more specific.

    Examples
    --------
    >>> machine_of("A100", "PCIe-80GB"), machine_of("NVIDIA A100-SXM4-40GB", "")
    ('a100-pcie-80gb', 'a100-sxm4-40gb')
    >>> machine_of("A100", "unknown"), machine_of("MI300X", "")
    ('a100-sxm4-80gb', '')
    """
    fitting = [(name, one.specificity) for name, one in _claims() if one.fits(gpu, variant)]
    most = max((specificity for _, specificity in fitting), default=None)
    machines = sorted({name for name, specificity in fitting if specificity == most})
    if len(machines) > 1:
        whole = f"{gpu} {variant}".strip()
        raise SpecError(
            f"gpu {whole[:60]!r}: {' and '.join(machines)} are measured as it, expected one to be "
            "more specific (measured_as)"
        )
    return machines[0] if machines else ""


@lru_cache(maxsize=1)
def _claims() -> tuple[tuple[str, MeasuredAs], ...]:
    """What tables call the machines of the catalog, each by name."""
    machines: list[tuple[str, Machine]] = [(name, load_hardware(name)) for name in HARDWARE]
    return tuple((name, one) for name, machine in machines for one in machine.measured_as)


def shipped(hardware: str | None = None) -> tuple[list[MeasuredTable], list[str]]:
    """The files that ship, and notes on those of which no row can be predicted.

    Parameters
    ----------
    hardware
        Only rows measured on the GPU that this machine is, or whose name its own begins with
        (``a100-sxm4-80gb-documented``).

    Raises
    ------
    SpecError
        if no shipped file is of that machine.
    """
    found, notes = [], []
    own = "" if hardware is None else _measured(hardware).name
    for name in MEASURED:
        rows = read_shipped(name)
        machines = {machine_of(routine.gpu, routine.variant) for routine in rows.routines}
        if hardware is not None and not all(m and f"{own}-".startswith(f"{m}-") for m in machines):
            continue
        problems = [_problem(routine, hardware) for routine in rows.routines]
        if all(problems):
            notes.append(f"shipped file {name} is left out: {problems[0]} ({len(rows):,} rows)")
        else:
            found.append(rows)
    if not found:
        of = f"hardware {hardware}: no shipped points of it" if hardware else "no shipped points"
        raise SpecError(f"{of}, name a measured CSV file")
    return found, notes


def _problem(routine: Routine, hardware: str | None) -> str:
    """Why a routine cannot be predicted; "" if it can."""
    try:
        call_of(_measured(hardware or _known_machine(routine)), routine)
    except SpecError as error:
        return str(error)
    return ""


@dataclass(frozen=True, eq=False)
class Predicted:
    """Rows of one file or more, and what is said of them.

    Parameters
    ----------
    table
        Of the rows that are judged: all columns of the files as text; and, as what they are:
        ``machine``, ``evidence`` (where it stands among the rows that its machine's constants rest
        on, of which it may be one), ``measured_us``, ``predicted_us``, ``ratio``, ``size``,
        ``m_class``,
        ``physics_us``, ``residual_us`` (as a learned residual corrects it, else NaN),
        ``conditions``, ``shapes`` ("calibration" or "held out"), ``floor_us``, ``possible``,
        ``file``, ``line``; and of the account of its kind of machine: ``model_kernel``, ``split``,
        ``tiles``, ``waves`` and ``bound``.
    times
        Of every file, the predicted time of every row, microseconds; NaN where there is none.
    machines
        The machines, by name.
    notes
        What the reader should know.
    refused
        Every file, and its rows that cannot be used or predicted: their time is NaN.
    impossible
        Every file, and its rows whose measured time cannot be (`nmsim.measured.plausible`). They
        are predicted and judged like all others.
    """

    table: pd.DataFrame
    times: list[NDArray[np.float64]]
    machines: dict[str, Machine]
    fidelity: str
    notes: list[str]
    refused: list[tuple[MeasuredTable, tuple[Refusal, ...]]]
    impossible: list[tuple[MeasuredTable, tuple[Refusal, ...]]]


def predict(
    files: Sequence[MeasuredTable],
    hardware: str | None = None,
    fidelity: str = "analytical",
    *,
    residual: bool = False,
) -> Predicted:
    """Predict the time of every row of measured tables, as the model of a machine has it.

    Rows that cannot be predicted are listed, and the rest is judged.

    Parameters
    ----------
    hardware
        Machine to predict all rows on; None: the one that each row was measured on.
    residual
        Whether ``predicted_us`` is the time that a learned residual corrects, where one does.

    Raises
    ------
    SpecError
        of a machine that is no GPU; naming file, line and reason, if no row is left to be judged;
        if corrected times are asked for and no residual has any.
    """
    machines = {} if hardware is None else {hardware: _measured(hardware)}
    asked = _Asked(hardware, fidelity, residual)
    parts = [_OfFile(rows, asked, machines).predicted() for rows in files]
    refused = [(rows, part.refused) for rows, part in zip(files, parts, strict=True)]
    if not any(len(part.table) for part in parts):
        raise_first(refused)
    if residual and not any(part.table["residual_us"].notna().any() for part in parts):
        raise SpecError(_none_corrected(machines, fidelity))
    notes: dict[str, int] = {}
    for text, count in (item for part in parts for item in part.notes.items()):
        notes[text] = notes.get(text, 0) + count
    return Predicted(
        table=pd.concat([part.table for part in parts if len(part.table)], ignore_index=True),
        times=[part.times for part in parts],
        machines=machines,
        fidelity=fidelity,
        notes=[f"{text} ({count:,} row{'s' * (count > 1)})" for text, count in notes.items()],
        refused=refused,
        impossible=[(rows, part.impossible) for rows, part in zip(files, parts, strict=True)],
    )


def impossible(rows: MeasuredTable, machine: Machine) -> tuple[Refusal, ...]:
    """Rows of a table whose times a machine, or other rows, say cannot be.

    Raises
    ------
    SpecError
        naming the line and the column of a routine that the machine does not have.
    """
    routines = routines_of(machine)
    wrong: dict[int, str] = {}
    for index, routine in enumerate(rows.routines):
        at = np.flatnonzero(rows.routine_of == index)
        try:
            call, _ = call_of(machine, routine)
        except SpecError as error:
            raise rows.fault(int(at[0]), str(error)) from error
        least = routines.least(machine, call, rows.sizes[at])
        wrong |= faster_than_possible(rows, at, least, machine.name)
    wrong |= not_growing(rows, np.array([row for row in range(len(rows)) if row not in wrong]))
    return _sorted(wrong)


def _sorted(wrong: Mapping[int, str]) -> tuple[Refusal, ...]:
    return tuple(Refusal(row, why) for row, why in sorted(wrong.items()))


class _Part(NamedTuple):
    """What `Predicted` has, of one file."""

    table: pd.DataFrame
    times: NDArray[np.float64]
    notes: dict[str, int]
    refused: tuple[Refusal, ...]
    impossible: tuple[Refusal, ...]


def _none_corrected(machines: Mapping[str, Machine], fidelity: str) -> str:
    if fidelity != "analytical":
        return f"residual corrects the closed form, expected fidelity analytical, not {fidelity}"
    return f"residual: expected dense rows of which one was learned ({', '.join(machines)})"


class _Asked(NamedTuple):
    """What is asked of every file."""

    hardware: str | None
    fidelity: str
    residual: bool


class _OfFile:
    """Predicts a file, routine by routine."""

    def __init__(self, rows: MeasuredTable, asked: _Asked, machines: dict[str, Machine]) -> None:
        self.rows = rows
        self.hardware = asked.hardware
        self.fidelity = asked.fidelity
        self.residual = asked.residual
        self.machines = machines
        self.corrected = np.full(len(rows), np.nan)
        self.times = np.full(len(rows), np.nan)
        self.names = np.empty(len(rows), object)
        self.evidence = np.full(len(rows), "", object)
        self.accounts: dict[str, NDArray[Any]] = {}
        self.notes: dict[str, int] = {}
        self.wrong = {one.row: one.why for one in rows.refused}
        self.impossible: dict[int, str] = {}

    def predicted(self) -> _Part:
        rows = self.rows
        order = np.argsort(rows.routine_of, kind="stable")
        counts = np.bincount(rows.routine_of + 1, minlength=len(rows.routines) + 1)
        _, *parts = np.split(order, np.cumsum(counts)[:-1])
        for routine, at in zip(rows.routines, parts, strict=True):
            try:
                self._routine(routine, at)
            except SpecError as error:
                self.wrong |= dict.fromkeys(at.tolist(), str(error))
        usable = np.flatnonzero(~np.isnan(self.times))
        physics = self.times
        if self.residual:
            self.times = np.where(np.isnan(self.corrected), physics, self.corrected)
        sound = usable[[row not in self.impossible for row in usable.tolist()]]
        self.impossible |= not_growing(rows, sound)
        return _Part(
            self._table(usable, physics),
            self.times,
            self.notes,
            _sorted(self.wrong),
            _sorted(self.impossible),
        )

    def _routine(self, routine: Routine, at: NDArray[np.intp]) -> None:
        """Predict the rows of one routine; raises SpecError if there is no such on the machine."""
        rows = self.rows
        own = machine_of(routine.gpu, routine.variant) if self.hardware else ""
        name = self.hardware or _known_machine(routine)
        machine = self.machines.get(name) or self.machines.setdefault(name, _measured(name))
        call, said = call_of(machine, routine)
        for text in (said, *_assumed(routine), _CLOCKS[routine.conditions]):
            if text:
                self.notes[text] = self.notes.get(text, 0) + len(at)
        routines = routines_of(machine)
        held = routines.under(machine, routine.conditions)
        sizes = rows.sizes[at]
        physics = routines.times(held, call, sizes, self.fidelity)
        self.times[at] = physics + rows.host_us[at]
        if self.fidelity == "analytical" and routine.conditions == "free":
            self._correct(machine, call, at)
        for column, values in routines.account(held, call, sizes).items():
            self.accounts.setdefault(column, np.empty(len(rows), values.dtype))[at] = values
        self.names[at] = machine.name
        self.evidence[at] = _standings(machine, call, sizes)
        if not self.hardware or own == machine.name:
            least = routines.least(machine, call, sizes)
            self.impossible |= faster_than_possible(rows, at, least, machine.name)

    def _correct(self, machine: Machine, call: Call, at: NDArray[np.intp]) -> None:
        """Set the corrected times of rows, if a residual was learned of their call."""
        learned = kind_of(machine).learned
        try:
            machine = corrected_machine(machine)
        except SpecError as error:
            if self.residual:
                raise
            note = f"no residual: {error}"
            self.notes[note] = self.notes.get(note, 0) + len(at)
            return
        if learned and learned.corrects(machine, call):
            found = learned.corrected(machine, call, self.rows.sizes[at])
            self.corrected[at] = found.physics * found.factors + self.rows.host_us[at]

    def _table(self, judged: NDArray[np.intp], physics: NDArray[np.float64]) -> pd.DataFrame:
        whole = {**self.rows.columns, **_derived(self.rows, self.times), **self.accounts}
        whole["physics_us"], whole["residual_us"] = physics, self.corrected
        whole["machine"] = self.names
        whole["evidence"] = self.evidence
        whole["possible"] = np.ones(len(self.rows), np.bool_)
        whole["possible"][list(self.impossible)] = False
        if len(judged) == len(self.rows):
            return pd.DataFrame(whole)
        return pd.DataFrame({name: _picked(column, judged) for name, column in whole.items()})


def _standings(machine: Machine, call: Call, sizes: NDArray[np.float64]) -> NDArray[Any] | str:
    """Where each row stands among what its machine's constants were measured in; "": not told."""
    offered = kind_of(machine).evidence
    return "" if offered is None else offered.standings(machine, call, sizes)


@lru_cache(maxsize=32)
def corrected_machine(machine: Machine) -> Machine:
    """A machine with the residual beside its file, or as it is where there is none."""
    try:
        path = residual_path(machine)
    except UnknownName:
        return machine
    return with_residual(machine, machine) if path.is_file() else machine


def _picked(column: Any, rows: NDArray[np.intp]) -> NDArray[Any]:
    return np.asarray(column, None if isinstance(column, np.ndarray) else object)[rows]


def _derived(rows: MeasuredTable, predicted: NDArray[np.float64]) -> dict[str, Any]:
    measured = rows.time_us
    sizes = rows.sizes.astype(np.int64).T
    own = (name for name in Routine._fields if name not in ("in_turn", "sparsity"))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = predicted / measured
    return {
        **{name: _taken(rows, [getattr(r, name) for r in rows.routines]) for name in own},
        "sparsity": _taken(rows, [str(r.pattern) for r in rows.routines]),
        **dict(zip(("m", "n", "k", "batch"), sizes, strict=True)),
        "measured_us": measured,
        "predicted_us": predicted,
        "ratio": ratio,
        "size": _classes(measured, SIZES),
        "m_class": _classes(rows.sizes[:, 0], ROWS),
        "shapes": np.where(held_out(sizes[1], sizes[2]), "held out", "calibration"),
        "floor_us": rows.floor_us,
        "line": np.array(rows.lines),
        "file": [rows.file] * len(rows),
    }


def _taken(rows: MeasuredTable, of_routines: list[str]) -> NDArray[Any]:
    return np.array([*of_routines, ""], object)[rows.routine_of]


def _classes(values: NDArray[np.float64], classes: Sequence[tuple[float, str]]) -> NDArray[Any]:
    ends, names = zip(*classes, strict=True)
    return np.array(names, object)[np.searchsorted(ends, values, side="right")]


def _known_machine(routine: Routine) -> str:
    """The machine that a routine was measured on; an error if the catalog has none."""
    name = machine_of(routine.gpu, routine.variant)
    if name in set(HARDWARE):
        return name
    gpu = f"{routine.gpu} {routine.variant}".strip()
    raise SpecError(f"gpu {gpu[:60]!r} has no machine in the catalog, name one: --hardware")


def _measured(name: str) -> Machine:
    machine: Machine = load_hardware(name)
    routines_of(machine)
    return machine


def call_of(machine: Machine, routine: Routine) -> tuple[Call, str]:
    """The call of a routine and what is to be said of it; an error names the column."""
    routines = routines_of(machine)
    known = routines.dtypes(machine)
    dtype = routine.dtype_in.lower()
    if dtype not in known:
        raise SpecError(
            f"dtype_in is {routine.dtype_in[:40]!r}, expected one of {', '.join(known)} "
            f"({machine.name})"
        )
    library, names = routine.library, routines.libraries(machine)
    call = Call(
        dtype=dtype,
        pattern=routine.pattern,
        sparse_operand=routine.operand,  # type: ignore[arg-type]
        library=library.lower() if library.lower() in names else library,
        vector_length=int(routine.vector_length or 0),
        in_turn=int(routine.in_turn or IN_TURN),
        accumulator=routine.dtype_acc.lower(),
    )
    try:
        note = routines.note(machine, call)
    except SpecError as error:
        raise SpecError(f"sparsity is {routine.sparsity!r}, dtype_in {dtype!r}: {error}") from error
    return call, f"{machine.name}, {dtype}, {call.pattern}: {note}" if note else ""


def _assumed(routine: Routine) -> Iterator[str]:
    if not routine.pattern.is_dense and not routine.sparse_operand:
        yield "sparse_operand is empty in sparse rows: B, the weight, is taken"
    if letters(routine.variant) in ("", "UNKNOWN") and machine_of(routine.gpu, ""):
        machine = machine_of(routine.gpu, routine.variant)
        yield f"the variant of {routine.gpu} is not stated: taken as {machine}"
    if not routine.in_turn:
        yield f"in_turn is not stated: launches are taken to go through {IN_TURN} B in turn"
