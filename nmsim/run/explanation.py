"""Why a GEMM gains what it gains, in cycles that add up, and what would mend its largest losses.

The masks promise dense over useful MACs. Each part of the dense run, shrunk by that promise, is
what the promise leaves of the part; what the part takes beyond it is lost. So the promised cycles
and all losses add up to the cycles of the GEMM, and the promised speed-up comes down, loss by loss,
to that of the GEMM. Where the masks promise nothing, or lose nothing of it, a loss is any part but
the useful products, held against the machine's peak.

Advice is tried before it is given: a mend is run, and is advised only if both the part that it is
for and the cycles of the GEMM, with all that it costs elsewhere, fall by half of the loss. What it
takes (``Effort``) decides which of those that work is advised. No accuracy of another mask is
judged.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from glob import escape
from typing import Any, NamedTuple

from nmsim.errors import NmsimError
from nmsim.machines import Machine, dense_run, kind_of, load_hardware, simulate, simulate_dense
from nmsim.machines.explanation import Effort, Mend, Part, busy_and_idle, whole
from nmsim.mask import SparseGemm
from nmsim.result import Result
from nmsim.run.point import Point
from nmsim.run.workload import load_workload
from nmsim.step.masks import Masked, mask_columns

__all__ = ["Explained", "Loss", "Step", "Tried", "explain"]

LOSSES = 3
"""The largest losses, for which mends are tried, from the largest on until one has advice."""

HALF = 2
"""A mend must take away one part in so many of a loss."""

LEAST = 0.01
"""Share of the cycles below which no loss is mended."""

RISEN = 1.005
"""How many times the speed-up must be what it was to count as risen."""

GROWN = (2, 4, 8)
"""How many times as large a batch is tried."""


class Step(NamedTuple):
    """A part of the cycles: what it takes, what the masks promised of it, what is lost by it.

    ``left`` is the speed-up that is left of the promised one after this loss and those before it;
    None where the masks leave no cycle.
    """

    name: str
    meaning: str
    cycles: int
    promised: int
    left: float | None

    @property
    def lost(self) -> int:
        """Cycles beyond what the promise leaves of the part; below 0 if it gains more."""
        return self.cycles - self.promised


class Tried(NamedTuple):
    """A mend that was run: options that say it, and cycles of the GEMM, and of the dense run.

    Cycles are those for as many samples as before.
    """

    says: str
    options: str
    cycles: int
    dense_cycles: int
    enough: bool

    @property
    def speedup(self) -> float | None:
        """Of the GEMM, where the dense run is mended too."""
        return self.dense_cycles / self.cycles if self.cycles else None


class Loss(NamedTuple):
    """A loss and the mends that were tried for it, the cheapest first, up to the one that works."""

    name: str
    cycles: int
    against: str
    """"promise" or "peak": what the cycles are lost from."""
    tried: tuple[Tried, ...]

    @property
    def advice(self) -> Tried | None:
        """The cheapest mend that takes away half of the loss; None if none that was tried does."""
        return self.tried[-1] if self.tried and self.tried[-1].enough else None


@dataclass(frozen=True)
class Explained:
    """One GEMM explained: its runs, the steps from promise to gain, and its largest losses.

    Parameters
    ----------
    work, machine, fidelity
        What ran, where, by which model.
    result, dense
        The run and the dense one.
    promise
        Dense over useful MACs; None where nothing useful is left.
    promised
        Cycles that the promise leaves of the dense run's.
    steps
        Parts in the machine's order.
    losses
        The largest, until one has advice.
    facts
        What the machine tells beside.
    masks_us
        Microseconds a step of making the GEMM's masks; None for a trace.
    slowest
        Of how many GEMMs it takes most time, and its share of theirs; None: it was asked for.
    """

    work: SparseGemm
    machine: Machine
    fidelity: str
    result: Result
    dense: Result
    promise: float | None
    promised: int
    steps: tuple[Step, ...]
    losses: tuple[Loss, ...]
    facts: tuple[tuple[str, str], ...]
    masks_us: float | None
    slowest: tuple[int, float] | None = None

    @property
    def speedup(self) -> float | None:
        """Of the GEMM: dense cycles over its own."""
        return self.dense.cycles / self.result.cycles if self.result.cycles else None

    @property
    def masks_used(self) -> bool:
        """Whether the GEMM runs by a mask, in its slots or in its bytes."""
        return self.result.selects or bool(self.result.compressed)

    def document(self) -> dict[str, Any]:
        """All of it as plain values: what is printed, and what JSON holds."""
        g = self.work.gemm
        sizes = {name: getattr(g, name) for name in ("m", "n", "k", "count", "repeat")}
        return {
            "layer": g.layer,
            "phase": g.phase,
            "gradient_of": g.gradient_of,
            "part": g.part,
            **sizes,
            "a_pattern": str(self.work.a.pattern),
            "b_pattern": str(self.work.b.pattern),
            "hardware": self.machine.name,
            "fidelity": self.fidelity,
            "clock_mhz": self.machine.clock_mhz,
            "cycles": self.result.cycles,
            "dense_cycles": self.dense.cycles,
            "speedup": self.speedup,
            "promise": self.promise,
            "promised_cycles": self.promised,
            "bound": self.result.bound,
            "masks_used": self.masks_used,
            "mask_cycles": self.result.mask_cycles,
            "steps": [{**one._asdict(), "lost": one.lost} for one in self.steps],
            "masks_us": self.masks_us,
            "slowest": self.slowest and dict(zip(("of", "share"), self.slowest, strict=True)),
            "facts": [list(fact) for fact in self.facts],
            "losses": [_loss_document(loss) for loss in self.losses],
        }


def _loss_document(loss: Loss) -> dict[str, Any]:
    tried = [{**one._asdict(), "speedup": one.speedup} for one in loss.tried]
    return {**loss._asdict(), "tried": tried, "advised": loss.advice is not None}


class _Run(NamedTuple):
    """A GEMM on a machine, as it is and dense, and where the cycles of both go."""

    machine: Machine
    work: SparseGemm
    result: Result
    parts: tuple[Part, ...]
    dense: Result
    dense_parts: tuple[Part, ...]


def explain(point: Point) -> Iterator[Explained]:
    """Explain the GEMMs of a point; of a whole network, the one that takes most time.

    Raises
    ------
    NmsimError
        for anything that its user can mend; one line.
    """
    machine, fidelity = point.machine, point.fidelity
    works = list(point.works())
    if point.layers != "*" or len(works) == 1:
        for work in works:
            yield _explained(point, _run(machine, work, fidelity))
        return
    times = [simulate(_ran(machine, work.number_format), work, fidelity).time_us for work in works]
    slowest = times.index(max(times))
    found = _explained(point, _run(machine, works[slowest], fidelity))
    yield replace(found, slowest=(len(works), times[slowest] / (sum(times) or 1.0)))


def _run(machine: Machine, work: SparseGemm, fidelity: str) -> _Run:
    ran, own = (_ran(machine, name) for name in (work.number_format, ""))
    result, dense = simulate(ran, work, fidelity), dense_run(own, work, fidelity)
    parts = _parts(ran, work, result, fidelity)
    return _Run(machine, work, result, parts, dense, _dense_parts(own, work, dense, fidelity))


def _ran(machine: Machine, number_format: str) -> Machine:
    ran: Machine = kind_of(machine).in_format(machine, number_format).machine
    return ran


def _dense_parts(own: Machine, work: SparseGemm, dense: Result, fidelity: str) -> tuple[Part, ...]:
    """Where the cycles of the dense run go; of a share of a kernel, as those of the kernel do."""
    share = work.dense_as
    if share is None:
        return _parts(own, SparseGemm.dense(work.gemm), dense, fidelity)
    kernel = simulate_dense(own, share.gemm, fidelity)
    parts = _parts(own, SparseGemm.dense(share.gemm), kernel, fidelity)
    due = dense.cycles / kernel.cycles
    cycles = whole((due * part.cycles for part in parts), dense.cycles)
    return tuple(part._replace(cycles=n) for part, n in zip(parts, cycles, strict=True))


def _explained(point: Point, run: _Run) -> Explained:
    work = run.work
    share = work.macs_useful / work.gemm.macs_seen
    promised = round(run.dense.cycles * share)
    steps = _steps(run, share, promised)
    return Explained(
        work,
        run.machine,
        point.fidelity,
        run.result,
        run.dense,
        1 / share if share else None,
        promised,
        steps,
        tuple(_losses(point, run, steps)),
        tuple(_facts(run, point.fidelity)),
        _masks_us(point, run),
    )


def _facts(run: _Run, fidelity: str) -> Iterator[tuple[str, str]]:
    """What a reader should have beside the parts."""
    work, offer = run.work, kind_of(run.machine).explain
    if work.note:
        yield "masks", work.note
    if work.dense_as is not None:
        yield "dense", "its share of the kernel that runs the whole attention where no mask is"
    if offer:
        ran = _ran(run.machine, work.number_format)
        yield from offer.facts(ran, work, run.result, fidelity)


def _parts(machine: Machine, work: SparseGemm, result: Result, fidelity: str) -> tuple[Part, ...]:
    offer = kind_of(machine).explain
    return (offer.parts if offer else busy_and_idle)(machine, work, result, fidelity)


def _steps(run: _Run, share: float, promised: int) -> tuple[Step, ...]:
    """Parts of the run beside those of the dense one, these as the promise leaves them.

    Last are those that the dense run alone has.
    """
    of_dense = {part.name: share * part.cycles for part in run.dense_parts}
    names = {part.name for part in run.parts}
    gone = (part._replace(cycles=0) for part in run.dense_parts if part.name not in names)
    found = (*run.parts, *gone)
    left = whole((of_dense.get(part.name, 0.0) for part in found), promised)
    steps, cycles = [], promised
    for part, due in zip(found, left, strict=True):
        cycles += part.cycles - due
        gain = run.dense.cycles / cycles if cycles > 0 else None
        steps.append(Step(part.name, part.meaning, part.cycles, due, gain))
    return tuple(steps)


def _masks_us(point: Point, run: _Run) -> float | None:
    if load_workload(point.model).trace:
        return None
    ran, gemm = _ran(run.machine, run.work.number_format), run.work.gemm
    frozen = not point.asked.trains
    layer = next(one for one in point.workload.layers if one.name == gemm.layer)
    asked = Masked(point.setting.recipe.on(layer), run.work)
    (us,) = mask_columns(ran, [asked], frozen=frozen)["mask_us"]
    return float(us)


# ---- losses, and what mends them


def _losses(point: Point, run: _Run, steps: tuple[Step, ...]) -> Iterator[Loss]:
    """The largest losses, until a mend works for one.

    Of what is lost from the promise, until one works by which the speed-up rises: what the dense
    run gains as much does not bring the promise nearer.
    """
    least = LEAST * run.result.cycles
    of_promise = {one.name: one.lost for one in steps if one.lost > least}
    of_peak = {one.name: one.cycles for one in steps[1:] if one.cycles > least}
    against, lost = ("promise", of_promise) if of_promise else ("peak", of_peak)
    for name in sorted(lost, key=lambda name: -lost[name])[:LOSSES]:
        loss = Loss(name, lost[name], against, tuple(_tried(point, run, name, lost[name])))
        yield loss
        best, now = loss.advice, run.dense.cycles / run.result.cycles
        if best is not None and (against == "peak" or (best.speedup or 0) > RISEN * now):
            return


def _tried(point: Point, run: _Run, part: str, lost: int) -> Iterator[Tried]:
    """Mends that ran, the cheapest first, up to the first that takes away half of the loss."""
    for mend in sorted(_mends(point, run, part), key=lambda mend: mend.effort):
        try:
            mended, scale = _mended(point, run, mend)
        except NmsimError:  # a machine that cannot be, or cannot hold the GEMM, is no advice
            continue
        cycles = round(mended.result.cycles * scale)
        fallen = _cycles_of(part, run) - round(_cycles_of(part, mended) * scale)
        enough = HALF * min(run.result.cycles - cycles, fallen) >= lost
        dense = round(mended.dense.cycles * scale)
        yield Tried(mend.says, _options(mend), cycles, dense, enough)
        if enough:
            return


def _cycles_of(part: str, run: _Run) -> int:
    """Cycles of a part of a run, by its name; 0 where the run has no such part."""
    return next((one.cycles for one in run.parts if one.name == part), 0)


def _mends(point: Point, run: _Run, part: str) -> Iterator[Mend]:
    offer = kind_of(run.machine).explain
    if offer is not None:
        yield from offer.mends(run.machine, run.work, part)
    workload = load_workload(point.model)
    if run.result.cycles > run.dense.cycles:
        yield Mend("no masks, as a recipe's leave_dense has it", Effort.SETTING, pattern="dense")
    if workload.trace is None and workload.default_batch > 1:
        for times in GROWN:
            samples = times * point.samples
            says = f"a batch of {samples}; cycles are those for {point.samples} samples of it"
            yield Mend(says, Effort.SETTING, batch=samples)


def _mended(point: Point, run: _Run, mend: Mend) -> tuple[_Run, float]:
    """The GEMM where a mend is made, and samples before over samples then."""
    machine: Machine = load_hardware(run.machine, **mend.fields)
    if not (mend.pattern or mend.batch):
        return _run(machine, run.work, point.fidelity), 1.0
    g = run.work.gemm
    other = replace(
        point,
        pattern=mend.pattern or point.pattern,
        batch=mend.batch or point.batch,
        layers=escape(g.layer),
        phases=(g.phase,),
    )
    own = (g.gradient_of, g.part)
    works = (w for w in other.works() if (w.gemm.gradient_of, w.gemm.part) == own)
    work = next(works, None)
    if work is None:  # without masks it is a share of a kernel
        return run._replace(result=run.dense, parts=run.dense_parts), 1.0
    return _run(machine, work, point.fidelity), point.samples / other.samples


def _options(mend: Mend) -> str:
    """A mend as options of the command line."""
    told = [f"--set {path}={_typed(value)}" for path, value in mend.fields.items()]
    told += [f"--pattern {mend.pattern}"] if mend.pattern else []
    told += [f"--batch {mend.batch}"] if mend.batch else []
    return " ".join(told)


def _typed(value: Any) -> str:
    if isinstance(value, list):
        return "'[" + ", ".join(f'"{one}"' for one in value) + "]'"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)
