"""Measured GEMMs, each with its machine, the time that a model predicts, and the model's account.

No prediction reads a measured time.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.machines import HARDWARE, Call, Machine, load_hardware
from nmsim.machines.measured_as import MeasuredAs, letters
from nmsim.measured.calibrate import SIZES
from nmsim.measured.routines import routines_of
from nmsim.measured.tables import MEASURED, MeasuredTable, Routine, read_measured

__all__ = ["ROWS", "Predicted", "call_of", "machine_of", "predict", "shipped"]

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

_BACK_TO_BACK = re.compile(r"host[- ]?(side|timer)|back[- ]to[- ]back", re.IGNORECASE)

_SUSTAINED = (
    "rows whose note names a host's timer around launches back to back: predicted at the clock "
    "that long work leaves (timing.sustained_throttle)"
)

_FLOOR = re.compile(r"floor\D{0,20}?([0-9.]+)(?:\s*(?:-|to)\s*([0-9.]+))?\s*us")


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
    """The files that ship, and what is left out of them: rows of machines that no file describes.

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
        rows = replace(read_measured(MEASURED.folder / f"{name}.csv"), file=f"{name}.csv")
        machines = {machine_of(routine.gpu, routine.variant) for routine in rows.routines}
        if hardware is not None:
            if all(m and f"{own}-".startswith(f"{m}-") for m in machines):
                found.append(rows)
        elif machines <= set(HARDWARE):
            found.append(rows)
        else:
            absent = ", ".join(sorted(machines - set(HARDWARE)))
            notes.append(f"shipped file {name} is left out: no machine {absent} in the catalog")
    if not found:
        of = f"hardware {hardware}: no shipped points of it" if hardware else "no shipped points"
        raise SpecError(f"{of}, name a measured CSV file")
    return found, notes


@dataclass(frozen=True, eq=False)
class Predicted:
    """Rows of one file or more, and what is said of them.

    Parameters
    ----------
    table
        All columns of the files as text; and, as what they are: ``machine``, ``measured_us``,
        ``predicted_us``, ``ratio``, ``size``, ``m_class``, ``floor_us``, ``file``, ``line``; and of
        the account of its kind of machine: ``model_kernel``, ``split``, ``tiles``, ``waves`` and
        ``bound``.
    times
        Of every file, the predicted time of every row, microseconds; NaN where it was left out.
    machines
        The machines, by name.
    notes
        What the reader should know.
    """

    table: pd.DataFrame
    times: list[NDArray[np.float64]]
    machines: dict[str, Machine]
    fidelity: str
    notes: list[str]


def predict(
    files: Sequence[MeasuredTable],
    hardware: str | None = None,
    fidelity: str = "analytical",
    *,
    lenient: bool = False,
) -> Predicted:
    """Predict the time of every row of measured tables, as the model of a machine has it.

    Parameters
    ----------
    hardware
        Machine to predict all rows on; None: the one that each row was measured on.
    lenient
        Leave out, with a note, the rows of routines that a machine does not have.

    Raises
    ------
    SpecError
        naming file, line and column, for a GPU that no machine describes or a routine that the
        machine does not have; of a machine that is no GPU.
    """
    machines: dict[str, Machine] = {}
    notes: dict[str, int] = {}
    parts = [_predict(rows, hardware, fidelity, lenient, machines, notes) for rows in files]
    whole = pd.concat([part for _, part in parts], ignore_index=True)
    table = whole[whole["predicted_us"].notna()]
    if not len(table):
        raise SpecError(f"hardware {hardware}: none of the rows can be predicted on it")
    told = [f"{note} ({count:,} row{'s' * (count > 1)})" for note, count in notes.items()]
    return Predicted(table, [times for times, _ in parts], machines, fidelity, told)


def _predict(
    rows: MeasuredTable,
    hardware: str | None,
    fidelity: str,
    lenient: bool,
    machines: dict[str, Machine],
    notes: dict[str, int],
) -> tuple[NDArray[np.float64], pd.DataFrame]:
    sustained = _sustained(rows)
    order = np.argsort(rows.routine_of, kind="stable")
    ends = np.cumsum(np.bincount(rows.routine_of, minlength=len(rows.routines)))
    predicted = np.full(len(rows), np.nan)
    machine_names = np.empty(len(rows), object)
    accounts: dict[str, NDArray[Any]] = {}

    def note(text: str, count: int) -> None:
        if text and count:
            notes[text] = notes.get(text, 0) + count

    for routine, at in zip(rows.routines, np.split(order, ends[:-1]), strict=True):
        first = int(at[0])
        name = hardware or _known_machine(rows, routine, first)
        machine = machines.get(name) or machines.setdefault(name, _measured(name))
        try:
            call, said = call_of(machine, routine)
        except SpecError as error:
            if not lenient:
                raise rows.fault(first, str(error)) from error
            note(f"left out: {error}", len(at))
            continue
        for text in (said, *_assumed(routine)):
            note(text, len(at))
        machine_names[at] = machine.name
        routines = routines_of(machine)
        tired = routines.sustained(machine)
        for held, own in ((machine, at[~sustained[at]]), (tired, at[sustained[at]])):
            predicted[own] = routines.times(held, call, rows.sizes[own], fidelity)
            for column, values in routines.account(held, call, rows.sizes[own]).items():
                whole = accounts.setdefault(column, np.empty(len(rows), values.dtype))
                whole[own] = values
        note(_SUSTAINED, int(sustained[at].sum()))
    return predicted, pd.DataFrame(
        {**rows.columns, **_derived(rows, predicted), **accounts, "machine": machine_names}
    )


def _derived(rows: MeasuredTable, predicted: NDArray[np.float64]) -> dict[str, Any]:
    measured = rows.time_us
    sizes = rows.sizes.astype(np.int64).T
    return {
        **{name: _taken(rows, name) for name in Routine._fields[:-1]},
        "sparsity": np.array([str(r.pattern) for r in rows.routines], object)[rows.routine_of],
        **dict(zip(("m", "n", "k", "batch"), sizes, strict=True)),
        "measured_us": measured,
        "predicted_us": predicted,
        "ratio": predicted / measured,
        "size": _classes(measured, SIZES),
        "m_class": _classes(rows.sizes[:, 0], ROWS),
        "floor_us": _floors(rows.columns.get("note", [""] * len(rows))),
        "line": rows.lines,
        "file": [rows.file] * len(rows),
    }


def _taken(rows: MeasuredTable, field: str) -> NDArray[Any]:
    texts = np.array([getattr(routine, field) for routine in rows.routines], object)
    return texts[rows.routine_of]


def _classes(values: NDArray[np.float64], classes: Sequence[tuple[float, str]]) -> NDArray[Any]:
    ends, names = zip(*classes, strict=True)
    return np.array(names, object)[np.searchsorted(ends, values, side="right")]


def _floors(notes: Iterable[str]) -> NDArray[np.float64]:
    """The largest time that a note's "floor" names; 0 where none is noted."""
    texts = list(notes)
    known = {text: _floor(text) for text in set(texts)}
    return np.array([known[text] for text in texts])


def _sustained(rows: MeasuredTable) -> NDArray[np.bool_]:
    """Rows whose note says that a host timed many launches back to back."""
    texts = rows.columns.get("note", [""] * len(rows))
    known = {text: bool(_BACK_TO_BACK.search(text)) for text in set(texts)}
    return np.array([known[text] for text in texts], np.bool_)


def _floor(note: str) -> float:
    found = _FLOOR.search(note)
    return float(found[2] or found[1]) if found else 0.0


def _known_machine(rows: MeasuredTable, routine: Routine, row: int) -> str:
    name = machine_of(routine.gpu, routine.variant)
    if name in set(HARDWARE):
        return name
    gpu = f"{routine.gpu} {routine.variant}".strip()
    raise rows.fault(row, f"gpu {gpu[:60]!r} has no machine in the catalog, name one: --hardware")


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
