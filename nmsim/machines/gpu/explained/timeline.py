"""What the fullest multiprocessor of a GPU does for one tile of a GEMM, cycle by cycle."""

from nmsim.errors import SpecError
from nmsim.machines.gpu.cycle import run_work
from nmsim.machines.gpu.direct import is_depthwise
from nmsim.machines.gpu.launch import Launch
from nmsim.machines.gpu.schema import Gpu, of_gemm
from nmsim.machines.gpu.sm import timeline as sm_timeline
from nmsim.machines.gpu.stacks.followed import followed
from nmsim.machines.gpu.waves import Wave
from nmsim.machines.kind import Facts, Timeline
from nmsim.mask import SparseGemm

__all__ = ["timeline"]


def timeline(machine: Gpu, work: SparseGemm, limit: int) -> Timeline:
    """The warps of one multiprocessor in the first wave of a launch.

    Parameters
    ----------
    limit
        Instructions that are told, at most.

    Raises
    ------
    SpecError
        for a kernel without tiles.
    """
    if is_depthwise(work.gemm):
        raise SpecError("a depthwise convolution runs directly and has no tiles: choose another")
    machine = of_gemm(machine, work.gemm)
    launch, outcome = run_work(machine, followed(machine, work, "cycle"))
    if not outcome.waves:
        raise SpecError(f"{launch.kernel} has no tiles, name a kernel that has: --kernel")
    wave = outcome.waves[0]
    core, tile, feed, slices, ctas = wave.ran
    events = sm_timeline.timeline(core, tile, feed, slices, ctas=ctas, limit=limit)
    spans = sm_timeline.chrome_trace(
        wave.tile, events, sub_cores=machine.sm.sub_cores, clock_mhz=machine.clock_mhz
    )
    return Timeline(spans, _facts(machine, launch, wave, len(events)))


def _facts(machine: Gpu, launch: Launch, wave: Wave, written: int) -> Facts:
    gemm, time, ran = launch.work.gemm, wave.tile, wave.ran
    held = f"{ran.ctas} threadblock" + "s" * (ran.ctas > 1)
    parts = f"prologue {time.prologue:,}, main loop {time.main:,}, epilogue {time.epilogue:,}"
    waits = {
        name: sum(
            getattr(part, name)
            for part in (time.prologue_waits, time.main_waits, time.epilogue_waits)
        )
        for name in time.main_waits._fields
    }
    every = ", ".join(f"{name} {cycles:,}" for name, cycles in waits.items() if cycles)
    facts = [
        ("GEMM", f"{gemm.m}×{gemm.n}×{gemm.k}, {launch.work.a.pattern}/{launch.work.b.pattern}"),
        ("machine", machine.name),
        ("kernel", launch.kernel),
        (
            "fullest SM",
            f"{held}, {ran.slices:,} slices of K, of {wave.running:,} threadblocks at once",
        ),
        (
            "memory",
            f"{ran.feed.bytes_per_cycle:g} bytes a cycle after {ran.feed.latency}",
        ),
        ("cycles", f"{time.cycles:,}: {parts}"),
        ("tensor cores busy", f"{time.utilization:.1%}"),
        ("warps waited for", f"{every} (cycles of all warps)"),
        ("instructions", f"{time.instructions:,}, written {written:,}"),
    ]
    return [*facts, ("note", launch.note)] if launch.note else facts
