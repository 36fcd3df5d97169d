"""What may take away a part of a GPU's cycles: kernels of the library, and fields of the machine.

A mend is a candidate: whoever advises it runs it first (``nmsim.run.explanation``). Fields of the
machine are what another GPU would have to have, not what its owner can set.
"""

from collections.abc import Iterator

from nmsim.machines.explanation import Effort, Explain, Mend, grown
from nmsim.machines.gpu import analytical
from nmsim.machines.gpu.explained.parts import parts_of
from nmsim.machines.gpu.kernels import load_kernels
from nmsim.machines.gpu.schema import Gpu, of_gemm
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = ["EXPLAIN"]

UP, LESS = (1.25, 1.5, 2.0, 4.0, 8.0), (0.5, 0.25, 0.0)
KERNELS = 4
"""Kernels that are tried: those that the closed forms find fastest."""

Mends = Iterator[Mend]


def _facts(machine: Gpu, work: SparseGemm, result: Result, _fidelity: str) -> list[tuple[str, str]]:
    moved = result.dram_read_bytes + result.dram_write_bytes
    peak = work.macs_useful / machine.peak_macs
    busy = moved * machine.clock_mhz / (machine.dram.gbps * 1e3)
    told = [("runs", result.kernel), ("note", result.note)]
    if result.waves is not None:
        told.append(("waves", _waves(result.waves)))
    told += [
        ("least by peak", f"{peak:,.0f} cycles: useful MACs over {machine.peak_macs:,.0f} a cycle"),
        ("least by DRAM", f"{busy:,.0f} cycles: {moved:,} bytes over {machine.dram.gbps:g} GB/s"),
    ]
    return [(label, text) for label, text in told if text]


def _waves(waves: float) -> str:
    """How many rounds of threadblocks there are, and how full the last one is."""
    full, last = divmod(waves, 1)
    if not last:
        return f"{full:.0f} rounds of threadblocks, all of them full"
    rest = f"one that fills {last:.0%} of the slots for them"
    return f"{full:.0f} full rounds of threadblocks, and {rest}" if full else f"{rest}"


def _kernels(machine: Gpu, work: SparseGemm) -> Mends:
    """Other kernels of the library, the fastest by the closed forms first."""
    launch, _ = analytical.run_work(machine, work)
    names = {kernel.name for kernel in load_kernels(launch.resolved.library.kernels).kernels}
    timed = {
        name: analytical.simulate(machine.model_copy(update={"kernel": name}), work).cycles
        for name in sorted(names - {machine.kernel})
    }
    for name in sorted(timed, key=lambda name: timed[name])[:KERNELS]:
        yield Mend(
            f"kernel {name} instead of the library's choice", Effort.SETTING, {"kernel": name}
        )


def _patterns(machine: Gpu, work: SparseGemm) -> Mends:
    """Patterns that the instruction takes and that prune no more than the mask does."""
    masks = [mask for mask in (work.a, work.b) if not mask.is_dense]
    kept = max((mask.pattern.density for mask in masks), default=1.0)
    natives = machine.natives(machine.dtype, machine.accumulator)
    for native in natives:
        if native.density >= kept and any(mask.pattern != native for mask in masks):
            says = f"masks of {native} (their accuracy is another)"
            yield Mend(says, Effort.SETTING, pattern=str(native))
    for pattern in dict.fromkeys(mask.pattern for mask in masks):
        if natives and pattern not in natives:
            more = [*map(str, machine.native), str(pattern)]
            yield Mend(f"instructions for {pattern} as well", Effort.UNITS, {"native": more})


_FIELDS = {
    "dram bandwidth": (
        ("l2.mib", UP, "an L2 cache of {} MiB", Effort.BUFFER),
        ("dram.gbps", UP, "device memory of {} GB/s", Effort.BANDWIDTH),
    ),
    "l2 bandwidth": (("l2.gbps", UP, "an L2 cache of {} GB/s", Effort.BANDWIDTH),),
    "sm port": (("sm.port_bytes_per_clk", UP, "ports of {} bytes a clock", Effort.BANDWIDTH),),
    "shared memory": (
        ("sm.shared_bytes_per_clk", UP, "shared memory of {} bytes a clock", Effort.BANDWIDTH),
    ),
    "load latency": (
        ("dram.latency_clk", LESS[:2], "device memory that answers in {} clocks", Effort.BANDWIDTH),
        ("l2.latency_clk", LESS[:2], "an L2 cache that answers in {} clocks", Effort.BANDWIDTH),
        ("timing.load_us", LESS, "stages that arrive in {} us", Effort.BANDWIDTH),
    ),
    "epilogue": (
        ("timing.store_bytes_per_clk", UP, "results of {} bytes a clock", Effort.BANDWIDTH),
        ("cycle.store_bytes_per_clk", UP, "results of {} bytes a clock", Effort.BANDWIDTH),
    ),
    "prologue": (
        ("sm.port_bytes_per_clk", UP, "ports of {} bytes a clock", Effort.BANDWIDTH),
        ("dram.latency_clk", LESS[:2], "device memory that answers in {} clocks", Effort.BANDWIDTH),
        ("timing.load_us", LESS, "stages that arrive in {} us", Effort.BANDWIDTH),
        ("timing.wave_us", LESS, "{} us from threadblock to threadblock", Effort.CONTROL),
    ),
    "launch": (
        ("timing.launch_us", LESS, "a launch of {} us, as of a persistent kernel", Effort.CONTROL),
        ("cycle.launch_us", LESS, "a launch of {} us, as of a persistent kernel", Effort.CONTROL),
    ),
    "split-k reduction": (
        ("timing.reduce_us", LESS, "a reduction launched in {} us", Effort.CONTROL),
        ("cycle.reduce_us", LESS, "a reduction launched in {} us", Effort.CONTROL),
    ),
    "clock": (("timing.throttle", (0.0,), "a clock that stays (throttle {})", Effort.UNITS),),
    "wave tail": (("sms", UP, "{} SMs", Effort.UNITS),),
}
"""By part, fields that may take it away: path, times as much, words, effort."""

_KERNELS_DECIDE = (
    *("tile overhang", "shared memory", "instruction issue", "dependent sums", "main loop"),
    *("l2 bandwidth", "sm port", "load latency", "dram bandwidth", "prologue", "epilogue"),
    *("wave tail", "split-k reduction"),
)


def _mends(machine: Gpu, work: SparseGemm, part: str) -> Mends:
    """What may take away a part of the cycles, in no order of effort; of GEMMs alone."""
    if work.gemm.attention is not None:
        return
    machine = of_gemm(machine, work.gemm)
    if part in _KERNELS_DECIDE:
        yield from _kernels(machine, work)
    if part == "empty slots":
        yield from _patterns(machine, work)
    for path, times, says, effort in _FIELDS.get(part, ()):
        value = _value(machine, path)
        if value is not None:
            for mend in grown(path, value, times, says, effort):
                yield _whole_sms(mend) if path == "sms" else mend


def _value(machine: Gpu, path: str) -> float | None:
    group, _, name = path.rpartition(".")
    value: float | None = getattr(getattr(machine, group) if group else machine, name)
    return value


def _whole_sms(mend: Mend) -> Mend:
    sms = round(mend.fields["sms"])
    return Mend(f"{sms} SMs", mend.effort, {"sms": sms})


EXPLAIN = Explain(parts_of, _mends, _facts)
"""GPUs tell what the models of waves and of closed forms add up."""
