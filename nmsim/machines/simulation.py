"""A sparse GEMM on a machine of any kind, at either fidelity."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from nmsim.gemm import Gemm
from nmsim.machines.kind import FIDELITIES, KINDS, Engine, Machine, Sample, kind_of
from nmsim.mask import SparseGemm
from nmsim.registry import unknown_name
from nmsim.result import Result

__all__ = ["ENGINES", "Engines", "simulate", "simulate_dense", "simulate_twin"]


class Engines(Mapping[str, Engine]):
    """The engines of all kinds by kind and fidelity: ``systolic-cycle``."""

    def __getitem__(self, name: str) -> Engine:
        kind, _, fidelity = name.rpartition("-")
        if kind not in KINDS or fidelity not in FIDELITIES:
            raise unknown_name("engine", name, self)
        return KINDS[kind].engines[fidelity]

    def __iter__(self) -> Iterator[str]:
        return (f"{kind}-{fidelity}" for kind in KINDS for fidelity in sorted(FIDELITIES))

    def __len__(self) -> int:
        return len(KINDS) * len(FIDELITIES)


ENGINES = Engines()
"""The engines of all kinds, as ``nmsim list engines`` shows them."""


def simulate(
    machine: Machine, work: SparseGemm, fidelity: str = "cycle", sample: Sample | None = None
) -> Result:
    """What a sparse GEMM costs on a machine.

    Parameters
    ----------
    sample
        Run about so many folds where cycles need both masks' bits, instead of all.

    Raises
    ------
    UnknownName
        if the fidelity is neither "cycle" nor "analytical".
    ShapeError
        if the GEMM is too large for the cycle model's 64-bit counters.
    """
    if fidelity not in FIDELITIES:
        raise unknown_name("fidelity", fidelity, FIDELITIES)
    return kind_of(machine).engines[fidelity].simulate(machine, work, sample)


@lru_cache(maxsize=4096)
def simulate_dense(machine: Machine, gemm: Gemm, fidelity: str = "cycle") -> Result:
    """What a GEMM costs on a machine with nothing pruned."""
    return simulate(machine, SparseGemm.dense(gemm), fidelity)


def simulate_twin(machine: Machine, gemm: Gemm, result: Result, fidelity: str = "cycle") -> Result:
    """The dense run that a result's speed-up is measured by.

    For a result that ran transposed it is the faster of the dense GEMM's two orders, so that
    turning alone is no gain.
    """
    direct = simulate_dense(machine, gemm, fidelity)
    if not result.transposed:
        return direct
    turned = simulate_dense(machine, SparseGemm.dense(gemm).swapped().gemm, fidelity)
    return min(direct, turned, key=lambda run: run.cycles)
