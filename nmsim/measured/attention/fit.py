"""Fitting the constants of a library's attention kernels to measured times.

Least squares on the logarithm of time, linear beyond ``CLIP`` (Huber's loss), by CMA-ES, as
machines are fitted (``nmsim.measured.calibrate``). Prefill, decode and backward weigh alike however
many rows each has. Rows of heads that are held out (``held_out``) are never seen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.extras import extra
from nmsim.machines import Machine
from nmsim.machines.attention import AttentionCalls
from nmsim.measured.attention.predict import LEAST_US, attention_routines, held_out
from nmsim.measured.attention.tables import AttentionTable
from nmsim.measured.calibrate import CLIP

__all__ = ["AttentionFit", "fit_attention"]

Vector = NDArray[np.float64]

STEP = 0.3
PULL = 1e-6
TOLERANCE = 1e-4
MOST = {"efficiency": 1.0, "backward": 1.0, "overlap": 1.0, "dram_share": 1.15}
"""Constants that are shares, and the most of each; DRAM's rate is measured to 15%."""


class AttentionFit(NamedTuple):
    """Fitted constants by name, and the mean loss of the rows that were seen."""

    constants: dict[str, float]
    loss: float
    rows: int


class _Part(NamedTuple):
    """Rows of one machine and phase."""

    machine: Machine
    runs: tuple[str, ...]
    shapes: NDArray[np.int64]
    logs: Vector


def _parts(
    machine: Machine, library: str, tables: Sequence[AttentionTable], *, seen_only: bool
) -> list[_Part]:
    found: list[_Part] = []
    own = attention_routines(machine)
    for table in tables:
        texts = table.columns["library"]
        mine = np.array([own.library_of(machine, text) == library for text in texts])
        good = mine & table.fit & (table.time_us >= LEAST_US)
        if seen_only:
            good &= ~np.array([held_out(*row) for row in table.shapes[:, (1, 2, 5)].tolist()])
        decode = (table.shapes[:, 3] == 1) & (table.shapes[:, 4] > 1)
        for runs in sorted(set(table.runs)):
            same = good & np.array([one == runs for one in table.runs])
            for rows in (same & decode, same & ~decode):
                if rows.any():
                    logs = np.log(table.time_us[rows])
                    found.append(_Part(machine, runs, table.shapes[rows], logs))
    return found


def _loss(parts: Sequence[_Part], library: str, constants: dict[str, float]) -> float:
    """Mean over parts of Huber's loss of the logarithm of predicted over measured."""
    losses = []
    for part in parts:
        times = attention_routines(part.machine).times
        total = sum(
            times(part.machine, AttentionCalls(part.shapes, phase, library, True), constants)
            for phase in part.runs
        )
        off = np.abs(np.log(total) - part.logs)
        losses.append(np.where(off < CLIP, off**2 / (2 * CLIP), off - CLIP / 2).mean())
    return float(np.mean(losses))


def fit_attention(
    machine: Machine,
    library: str,
    tables: Sequence[AttentionTable],
    *,
    generations: int = 80,
    seed: int = 0,
    seen_only: bool = True,
) -> AttentionFit:
    """Constants of a library's attention kernels by least squares; the machine stands as it is.

    Parameters
    ----------
    tables
        Of this machine's GPU; rows of other libraries are passed over.
    generations
        At most so many of the search.
    seen_only
        Whether rows of held-out heads are left out.

    Raises
    ------
    SpecError
        if there are no rows, or nothing is marked as fitted.
    MissingExtra
        without the extra ``calibrate``.
    """
    start = attention_routines(machine).constants(machine, library)
    parts = _parts(machine, library, tables, seen_only=seen_only)
    if not parts or not start:
        raise SpecError(f"{machine.name}: {library}: expected rows and constants to fit")
    names = list(start)
    origin = np.log([max(start[name], 1e-3) for name in names])

    def constants(point: Vector) -> dict[str, float]:
        values = np.exp(np.clip(point, -9, 9)).tolist()
        bounded = (
            min(value, MOST.get(name, 1e6)) for name, value in zip(names, values, strict=True)
        )
        return dict(zip(names, bounded, strict=True))

    def loss(point: Vector) -> float:
        distance = float(((point - origin) ** 2).sum())
        return _loss(parts, library, constants(point)) + PULL * distance

    search = extra("calibrate", "nmsim.measured.minimiser").least
    found = search(loss, origin, step=STEP, generations=generations, tolerance=TOLERANCE, seed=seed)
    rounded = {name: float(f"{value:.3g}") for name, value in constants(found.point).items()}
    return AttentionFit(rounded, found.value, sum(len(part.logs) for part in parts))
