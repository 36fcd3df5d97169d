"""Measured attention, each row with its machine, library, predicted time and what binds it.

No prediction reads a measured time.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nmsim.errors import SpecError
from nmsim.machines import Machine, kind_of, load_hardware
from nmsim.machines.attention import AttentionCalls, AttentionRoutines
from nmsim.measured.accuracy import corrected_errors, errors, groups, residual_errors
from nmsim.measured.attention.tables import AttentionTable, shipped_attention
from nmsim.measured.predict import corrected_machine, machine_of

__all__ = [
    "LEAST_US",
    "PredictedAttention",
    "attention_routines",
    "calls_of",
    "held_out",
    "judge_shipped",
    "kinds",
    "predict_attention",
    "summarize_attention",
]

LEAST_US = 10.0
"""Shorter rows are launches and warm caches, and are no part of the figures."""

KEY = ("heads", "kv_heads", "head_dim")
"""What is dealt between fitting and judging: all rows of the same heads go together."""

GROUPED = ("machine", "library", "kind", "part", "bound", "key", "file")


@dataclass(frozen=True, eq=False)
class PredictedAttention:
    """Rows of one table or more, and what is said of them.

    Parameters
    ----------
    table
        A row each: file, line, machine, library, kind (prefill, decode, forward, backward, both),
        key (heads/kv_heads/head_dim), part (seen, held out), sizes, ``measured_us``,
        ``predicted_us``, ``physics_us``, ``residual_us`` (as a learned residual corrects it, else
        NaN), ``ratio``, ``bound``, ``judged``.
    notes
        What is left out, and why.
    """

    table: pd.DataFrame
    notes: list[str]

    def text(self, tables: Sequence[AttentionTable]) -> str:
        """Every row as it stands in its file, and ``predicted_us``; empty where nothing is.

        Raises
        ------
        SpecError
            if the files have not one header.
        """
        if len({table.heading for table in tables}) > 1:
            raise SpecError("--predictions: expected tables of attention with the same columns")
        lines = [f"{tables[0].heading},predicted_us"]
        for number, table in enumerate(tables):
            own = self.table[self.table["table"] == number]
            known = dict(zip(own["line"], own["predicted_us"], strict=True))
            cells = [repr(float(known[at])) if at in known else "" for at in table.lines]
            lines += [f"{row},{cell}" for row, cell in zip(table.records, cells, strict=True)]
        return "\n".join(lines) + "\n"


def attention_routines(machine: Machine) -> AttentionRoutines:
    """How a machine times fused attention.

    Raises
    ------
    SpecError
        of a kind of machine that has none.
    """
    routines = kind_of(machine).attention
    if routines is None:
        raise SpecError(f"hardware {machine.name}: expected a machine with fused attention")
    return routines


def held_out(heads: int, kv_heads: int, head_dim: int) -> bool:
    """Whether rows of these heads are kept out of every fit: a third of all, by a hash.

    Examples
    --------
    >>> held_out(32, 32, 128), held_out(64, 8, 128)
    (True, False)
    """
    return zlib.crc32(f"{heads}/{kv_heads}/{head_dim}".encode()) % 3 == 0


def predict_attention(
    tables: Sequence[AttentionTable], hardware: str | None = None, *, residual: bool = False
) -> PredictedAttention:
    """Predicted times of all rows whose GPU and library some machine describes.

    Parameters
    ----------
    hardware
        The machine of all rows, instead of what each names.
    residual
        Whether ``predicted_us`` is the time that a learned residual corrects, where one does.

    Raises
    ------
    SpecError
        if no row can be predicted, or corrected times are asked for and no residual has any.
    """
    missing: Counter[str] = Counter()
    frames = [
        _frame(table, hardware, missing).assign(table=number) for number, table in enumerate(tables)
    ]
    found = pd.concat(frames, ignore_index=True)
    if found.empty:
        why = "; ".join(missing) or "no rows"
        raise SpecError(f"no row of attention can be predicted: {why}")
    if residual:
        found = _by_residual(found)
    short = int((~found["judged"]).sum())
    notes = [f"{count:,} rows of attention left out: {why}" for why, count in missing.items()]
    if short:
        notes.append(
            f"{short:,} rows of attention predicted and not judged: under {LEAST_US:g} us, or said "
            "not to be fit for it (column test)"
        )
    return PredictedAttention(found, notes)


def _by_residual(found: pd.DataFrame) -> pd.DataFrame:
    """The rows with corrected times as the predicted ones, where a residual has any."""
    has = found["residual_us"].notna()
    if not has.any():
        machines = ", ".join(found["machine"].unique())
        raise SpecError(f"residual: expected attention of which one was learned ({machines})")
    predicted = found["residual_us"].where(has, found["physics_us"])
    return found.assign(predicted_us=predicted, ratio=predicted / found["measured_us"])


def _alike(table: AttentionTable) -> dict[tuple[str, str, str, tuple[str, ...]], Any]:
    """Rows of each GPU, variant, library and phase that a table has."""
    columns = (table.columns[name] for name in ("gpu", "variant", "library"))
    alike: dict[tuple[str, str, str, tuple[str, ...]], list[int]] = {}
    for row, key in enumerate(zip(*columns, table.runs, strict=True)):
        alike.setdefault(key, []).append(row)
    return {key: np.array(rows) for key, rows in alike.items()}


def calls_of(table: AttentionTable) -> Iterator[tuple[str, str, tuple[str, ...], Any]]:
    """Machine, library and phases of rows, and the rows, of those that some machine describes."""
    for (gpu, variant, text, runs), rows in _alike(table).items():
        name = machine_of(gpu, variant)
        machine = load_hardware(name) if name else None
        library = attention_routines(machine).library_of(machine, text) if machine else ""
        if machine is not None and library:
            yield machine.name, library, runs, rows


def _frame(table: AttentionTable, hardware: str | None, missing: Counter[str]) -> pd.DataFrame:
    """The rows of one table, without those that nobody describes, which are counted."""
    frames = []
    for (gpu, variant, text, runs), number in _alike(table).items():
        name = hardware or machine_of(gpu, variant)
        machine = load_hardware(name) if name else None
        library = attention_routines(machine).library_of(machine, text) if machine else ""
        if machine is None or not library:
            missing[f"{gpu} {variant}".strip() + f", library {text!r}"] += len(number)
            continue
        frames.append(_predicted(table, number, machine, library, runs))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _predicted(
    table: AttentionTable, rows: Any, machine: Machine, library: str, runs: tuple[str, ...]
) -> pd.DataFrame:
    routines, shapes = attention_routines(machine), table.shapes[rows]
    total, bound = np.zeros(len(rows)), np.full(len(rows), "", object)
    for phase in runs:
        said = routines.account(machine, AttentionCalls(shapes, phase, library, replayed=True))
        total += said["time_us"]
        bound = said["bound"]
    measured = table.time_us[rows]
    names = ("batch", "heads", "kv_heads", "queries", "keys", "head_dim", "v_head_dim", "causal")
    frame = pd.DataFrame(dict(zip(names, shapes.T, strict=False)))
    keys = list(map(tuple, frame[list(KEY)].to_numpy().tolist()))
    parts = {key: "held out" if held_out(*key) else "seen" for key in set(keys)}
    return frame.assign(
        file=table.file,
        line=[table.lines[row] for row in rows],
        machine=machine.name,
        library=library,
        kind=kinds(shapes, runs),
        key=["/".join(map(str, key)) for key in keys],
        part=[parts[key] for key in keys],
        measured_us=measured,
        predicted_us=total,
        physics_us=total,
        residual_us=_corrected(machine, AttentionCalls(shapes, "+".join(runs), library), total),
        ratio=total / measured,
        bound=bound,
        judged=table.fit[rows] & (measured >= LEAST_US),
    )


def _corrected(machine: Machine, calls: AttentionCalls, physics: Any) -> Any:
    """Times as the residual beside the machine's file corrects them, NaN where it does not."""
    learned = attention_routines(machine).learned
    found = learned.factors(corrected_machine(machine), calls) if learned else None
    return np.full(len(physics), np.nan) if found is None else physics * found


def kinds(shapes: Any, runs: tuple[str, ...]) -> Any:
    """What each call is: prefill, decode, forward (no mask), backward or both."""
    if runs != ("forward",):
        return re.sub(r"forward\+backward", "both", "+".join(runs))
    causal = np.where(shapes[:, 7] == 1, "prefill", "forward")
    return np.where((shapes[:, 3] == 1) & (shapes[:, 4] > 1), "decode", causal)


def judge_shipped(
    hardware: str | None = None, *, residual: bool = False
) -> PredictedAttention | None:
    """Predictions of the tables that ship, or of their rows of one machine; None if it has none.

    With ``residual`` those of rows that one was learned of are corrected by it.
    """
    if hardware is not None:
        routines = kind_of(load_hardware(hardware)).attention
        if routines is None or not routines.libraries(load_hardware(hardware)):
            return None
    found = predict_attention(shipped_attention(), residual=residual)
    if hardware is None:
        return found
    own = found.table[found.table["machine"] == load_hardware(hardware).name]
    return PredictedAttention(own, []) if len(own) else None


def summarize_attention(found: PredictedAttention, by: str | None = None) -> dict[str, Any]:
    """Everything that is said of predicted attention, as a JSON document.

    Raises
    ------
    SpecError
        if no row is fit to judge by.
    """
    judged = found.table[found.table["judged"]]
    if judged.empty:
        raise SpecError("no row of attention is fit to judge by")
    tables = [
        {
            "machine": m,
            "library": one,
            "kind": kind,
            "part": part,
            **errors(rows["ratio"].to_numpy()),
            **residual_errors((rows["residual_us"] / rows["measured_us"]).to_numpy()),
        }
        for (m, one, kind, part), rows in judged.groupby(["machine", "library", "kind", "part"])
    ]
    return {
        **errors(judged["ratio"].to_numpy()),
        "residual": corrected_errors(judged),
        "tables": tables,
        "groups": groups(judged, [by] if by else GROUPED),
        "not_judged": int(len(found.table) - len(judged)),
        "notes": found.notes,
    }
