"""A sparse GEMM on a machine of any kind, at either fidelity."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nmsim.attention import Attention
from nmsim.errors import SpecError
from nmsim.files import remembered
from nmsim.gemm import Gemm
from nmsim.machines.attention import AttentionCalls, AttentionTime, shapes_of
from nmsim.machines.kind import FIDELITIES, KINDS, Engine, Machine, Sample, kind_of
from nmsim.mask import SparseGemm
from nmsim.registry import unknown_name
from nmsim.result import Result

__all__ = [
    "ENGINES",
    "Engines",
    "attention_time",
    "dense_run",
    "dense_runs",
    "simulate",
    "simulate_all",
    "simulate_dense",
]


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
    engine = _engine(machine, fidelity)
    if work.gemm.attention is not None:
        return _fused(machine, work.gemm, fidelity)
    if not work.gemm.macs:
        return _nothing(machine, f"{machine.kind}-{fidelity}")
    return engine.simulate(machine, work, sample)


def _engine(machine: Machine, fidelity: str) -> Engine:
    if fidelity not in FIDELITIES:
        raise unknown_name("fidelity", fidelity, FIDELITIES)
    return kind_of(machine).engines[fidelity]


def simulate_all(
    machine: Machine,
    works: Sequence[SparseGemm],
    fidelity: str = "cycle",
    sample: Sample | None = None,
) -> list[Result]:
    """What sparse GEMMs cost on a machine, each as if alone; all at once where its engine can.

    Raises
    ------
    UnknownName, ShapeError
        as ``simulate``.
    """
    many = _engine(machine, fidelity).many
    if many is None or sample is not None:
        return [simulate(machine, work, fidelity, sample) for work in works]
    plain = [work.gemm.attention is None and bool(work.gemm.macs) for work in works]
    found = iter(many(machine, [work for work, own in zip(works, plain, strict=True) if own]))
    return [
        next(found) if own else simulate(machine, work, fidelity)
        for work, own in zip(works, plain, strict=True)
    ]


@remembered(maxsize=4096)
def _fused(machine: Machine, gemm: Gemm, fidelity: str) -> Result:
    fusion = kind_of(machine).fusion
    if fusion is None:
        raise SpecError(f"{machine.name}: runs no attention as one kernel, expected its GEMMs")
    return fusion.simulate(machine, gemm, fidelity)


def _nothing(machine: Any, engine: str) -> Result:
    """What a GEMM without rows costs: it is not launched."""
    return Result(
        engine,
        kernel="",
        transposed=False,
        compute_cycles=0,
        stall_cycles=0,
        clock_mhz=machine.clock_mhz,
        peak_macs=machine.peak_macs,
        macs_issued=0,
        dram_read_bytes=0,
        dram_write_bytes=0,
        sram_read_bytes=0,
        metadata_bytes=0,
        bound="nothing to do",
    )


@remembered(maxsize=4096)
def simulate_dense(machine: Machine, gemm: Gemm, fidelity: str = "cycle") -> Result:
    """What a GEMM costs with nothing pruned: the run that every speed-up is measured by.

    A machine places it as well as it can, and so well as a pruned one. Computed once a process.
    """
    return simulate(machine, SparseGemm.dense(gemm), fidelity)


def dense_run(machine: Machine, work: SparseGemm, fidelity: str = "cycle") -> Result:
    """What a sparse GEMM is compared with: it dense, or its share of what runs where it is dense.

    A share has the cycles that are its own, and no parts: those are of the whole.
    """
    (found,) = dense_runs(machine, [work], fidelity)
    return found


def dense_runs(
    machine: Machine, works: Sequence[SparseGemm], fidelity: str = "cycle"
) -> list[Result]:
    """What sparse GEMMs are compared with (``dense_run``), all at once where the engine can."""
    gemms = [work.gemm if work.dense_as is None else work.dense_as.gemm for work in works]
    if _engine(machine, fidelity).many is None:
        wholes = [simulate_dense(machine, gemm, fidelity) for gemm in gemms]
    else:
        wholes = simulate_all(machine, [SparseGemm.dense(gemm) for gemm in gemms], fidelity)
    return [_share(*one) for one in zip(works, wholes, strict=True)]


def _share(work: SparseGemm, whole: Result) -> Result:
    share = work.dense_as
    if share is None:
        return whole
    return whole.but(compute_cycles=share.of(whole.cycles), stall_cycles=0, parts=None, spent={})


def attention_time(
    machine: Machine,
    attention: Attention,
    phase: str = "forward",
    library: str = "",
    *,
    replayed: bool = False,
) -> AttentionTime:
    """What fused attention costs on a machine, all its repeats together.

    Parameters
    ----------
    phase
        forward, which prefill and decode are too, or backward.
    library
        Whose kernels run; "" for what the machine has first.
    replayed
        The same tensors have just been used: L2 holds what fits.

    Raises
    ------
    ShapeError
        for a phase that attention does not have.
    SpecError
        if the machine has no fused attention, or the library no kernel for the head_dim.
    UnknownName
        for a library that the machine does not have.
    """
    attention.check(phase)
    routines = kind_of(machine).attention
    if routines is None:
        raise SpecError(f"{machine.name}: has no fused attention")
    calls = AttentionCalls(shapes_of([attention]), phase, library, replayed)
    found = {name: values[0] for name, values in routines.account(machine, calls).items()}
    macs, repeat = attention.macs(phase), attention.repeat
    parts = f", keys in {found['split']} parts" if found["split"] > 1 else ""
    return AttentionTime(
        time_us=float(found["time_us"]) * repeat,
        read_bytes=int(found["read_bytes"]) * repeat,
        written_bytes=int(found["written_bytes"]) * repeat,
        beside_bytes=int(found["beside_bytes"]) * repeat,
        macs=macs,
        flops=2 * macs,
        bound=str(found["bound"]),
        kernel=f"{found['library']} {found['kernel']}{parts}",
    )
