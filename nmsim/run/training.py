"""A training run: a recipe's schedule over its steps, against the same steps with nothing pruned.

The run is cut into segments of steps that hardware sees alike; each distinct state is simulated
once (`training_step`) and multiplied by its steps; a pruner that asks for the number of its step
is told the first one's of its segment. A mask that decays (Bambhaniya et al. 2025,
MDGF) leaves no weight at zero: until it is binary, the step is a dense one. FLOPs are two for every
MAC whose mask bits are both set.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import pandas as pd

from nmsim.errors import SpecError
from nmsim.gemm import PHASES
from nmsim.machines import kind_of
from nmsim.pattern import Pattern
from nmsim.pruning import PRUNERS
from nmsim.recipes.recipe import Recipe, load_recipe
from nmsim.recipes.setting import Setting
from nmsim.recipes.spans import Span, spans
from nmsim.result import totals
from nmsim.run.keyword import Keyword, keywords, taking
from nmsim.run.manifest import trained
from nmsim.run.point import Job, Point, check_trains, rows

__all__ = [
    "Inference",
    "Segment",
    "StepCost",
    "Training",
    "TrainingRun",
    "run_training",
    "train",
    "training_document",
    "training_step",
]

Row = dict[str, Any]

_MOST_STEPS = 10**15
"""Shares of a run are floats: beyond 2^53 they miss whole steps."""


@dataclass(frozen=True)
class StepCost:
    """What one training step costs: GEMMs of forward, backward and update, and all beside them.

    ``time_us`` holds ``mask_us``, what making the masks takes (``nmsim.step.masks``), the passes
    that put images together (``nmsim.step.scatter``) and, where it was estimated,
    ``elementwise_us``, what is no GEMM (``nmsim.step.elementwise``), or what the host takes to
    call all of these where that is longer; ``gemms_us`` is of the GEMMs alone. ``formats`` are
    what operands of layers with a weight ran in: "forward int8, backward bf16".
    ``beyond_share`` is the share of its GEMMs' time beyond what was measured; None where no row
    tells.
    """

    time_us: float
    gemms_us: float
    mask_us: float
    elementwise_us: float | None
    macs_dense: int
    macs_issued: int
    macs_useful: int
    dram_bytes: int
    formats: str
    beyond_share: float | None = None

    @property
    def flops(self) -> int:
        """Floating-point operations of a step: two for every useful MAC."""
        return 2 * self.macs_useful


@dataclass(frozen=True)
class Segment:
    """A span, and what a step of it costs."""

    span: Span
    masks: str
    step: StepCost


@dataclass(frozen=True)
class Inference:
    """The network that the run ends with: forward of one sample, and its weights as stored.

    FLOPs of GEMMs that are given, instead of a network, are those of the GEMMs.
    """

    flops_dense: int
    flops: int
    parameters: int
    parameters_kept: int
    value_bits: int
    metadata_bits: int
    dense_bits: int


@dataclass(frozen=True)
class TrainingRun:
    """A training run and the dense one that it is held against.

    Parameters
    ----------
    segments
        In the order of the run.
    dense
        A step with nothing pruned, in the machine's own number format.
    inference
        The result.
    about
        What the run must say to be reproduced.
    """

    segments: tuple[Segment, ...]
    dense: StepCost
    inference: Inference
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """How many steps the run has, all segments together."""
        return sum(segment.span.steps for segment in self.segments)

    def total(self, quantity: str) -> float:
        """Sum of a field of ``StepCost`` over all steps of the run."""
        parts = [getattr(part.step, quantity) * part.span.steps for part in self.segments]
        return math.fsum(parts) if isinstance(parts[0], float) else sum(parts)

    @property
    def speedup(self) -> float:
        """Time of the dense run over that of this one."""
        return self.dense.time_us * self.steps / self.total("time_us")

    @property
    def beyond_share(self) -> float | None:
        """Share of the time beyond what was measured, a step's by its time; None: not told."""
        parts = [
            (one.step.beyond_share, one.step.time_us * one.span.steps) for one in self.segments
        ]
        known = [share * time for share, time in parts if share is not None]
        return math.fsum(known) / math.fsum(time for _, time in parts) if known else None

    @property
    def gemms_speedup(self) -> float:
        """The same of GEMMs alone."""
        return self.dense.gemms_us * self.steps / self.total("gemms_us")

    def frame(self) -> pd.DataFrame:
        """The run as a table, one row per segment."""
        return pd.DataFrame(_segments(self))


@dataclass(frozen=True, kw_only=True)
class Training(Job):
    """The keywords of a training run: those of a job, and its steps."""

    steps: Annotated[int, Keyword("Training steps of one batch each.")]


@taking(Training)
def train(training: Training) -> TrainingRun:
    """Simulate a training run: a recipe's schedule over so many steps.

    Raises
    ------
    NmsimError
        for anything that its user can mend; one line.
    """
    return run_training(training, training.steps, "nmsim.train")


@dataclass(frozen=True, kw_only=True)
class _Step(Point):
    """One step of a training run."""

    step: Annotated[int, Keyword("Steps of the run before this one.")] = 0

    @property
    def setting(self) -> Setting:
        """What the masks of the step are made of: pruners are told its number."""
        return replace(super().setting, step=self.step)


def run_training(job: Job, steps: int, command: str) -> TrainingRun:
    """The training run of a job: all phases and layers, each state of its masks simulated once.

    Raises
    ------
    SpecError
        if shares of the steps cannot be told apart, or the model is a trace.
    """
    if not 1 <= steps <= _MOST_STEPS:
        raise SpecError(f"steps is {steps}, expected 1 to {_MOST_STEPS:.0e}")
    check_trains(job)
    if job.workload.trace is not None:
        raise SpecError(f"model {job.model}: a trace holds masks of one step, expected a network")
    own = {one.name: getattr(job, one.name) for one in keywords(Job)}
    whole = _Step(**own, compare=False)
    recipe = load_recipe(job.recipe)
    dense = training_step(replace(whole, recipe="dense"))
    numbered = any("step" in PRUNERS[offer.pruner].wants for offer in recipe.operands)
    known: dict[tuple[Any, ...], StepCost] = {}
    segments = []
    for span in spans(recipe, Pattern.parse(job.pattern), steps):
        seen = _seen(recipe, span)
        key = (span.patterns, bool(seen.formats), span.first if numbered else 0)
        if key not in known:
            known[key] = training_step(replace(whole, recipe=seen, step=span.first))
        segments.append(Segment(span, _masks(recipe, span), known[key]))
    return TrainingRun(
        tuple(segments),
        dense,
        _inference(replace(whole, step=steps - 1), recipe),
        trained(replace(whole, recipe=recipe), steps, command).document(),
    )


def training_step(point: Point) -> StepCost:
    """What a training step costs in one state: GEMMs and all beside them, one after the other."""
    table = list(rows(point))
    whole = totals(table)["all"]
    return StepCost(
        time_us=whole["step_us"],
        gemms_us=whole["time_us"],
        mask_us=whole["mask_us"],
        elementwise_us=whole["elementwise_us"],
        macs_dense=sum(row["macs_dense"] for row in table),
        macs_issued=sum(row["macs_issued"] for row in table),
        macs_useful=sum(row["macs_useful"] for row in table),
        dram_bytes=sum(row["dram_read_bytes"] + row["dram_write_bytes"] for row in table),
        formats=_formats(table),
        beyond_share=totals(table)["all"]["beyond_share"],
    )


def _formats(table: list[Row]) -> str:
    found: dict[str, dict[str, None]] = {phase: {} for phase in PHASES}
    for row in table:
        if row["kind"] not in ("matmul", "attention"):
            found[row["phase"]][row["number_format"]] = None
    return ", ".join(f"{phase} {'+'.join(ran)}" for phase, ran in found.items() if ran)


def _seen(recipe: Recipe, span: Span) -> Recipe:
    """The recipe as hardware sees it in a span: masks with their patterns, and number formats."""
    offers = [
        offer.model_copy(update={"pattern": pattern})
        for offer, pattern in zip(recipe.operands, span.patterns, strict=True)
        if not pattern.is_dense
    ]
    formats = {} if span.stage == "dense" else recipe.formats
    return recipe.model_copy(update={"operands": tuple(offers), "formats": formats})


def _masks(recipe: Recipe, span: Span) -> str:
    """The masks of a span for people: "weight 1:8+1:4", "dense"."""
    found: dict[str, list[str]] = {}
    for offer, pattern in zip(recipe.operands, span.patterns, strict=True):
        patterns = found.setdefault(offer.role, [])
        if str(pattern) not in patterns:
            patterns.append(str(pattern))
    said = [f"{role} {'+'.join(patterns)}" for role, patterns in found.items()]
    return ", ".join(said) if any(not p.is_dense for p in span.patterns) else "dense"


def _inference(point: Point, recipe: Recipe) -> Inference:
    one = replace(point, recipe=recipe, batch=1, phases=("forward",))
    one = replace(one, recompute=(), reentrant=False, micro_batches=1)  # it is used, not trained
    machine, kind = one.machine, kind_of(one.machine)
    flops = {"dense": 0, "useful": 0}
    weights = {"all": 0, "kept": 0, "value": 0, "metadata": 0, "dense": 0}
    for work in one.sparse_gemms():
        g = work.gemm
        flops["dense"] += 2 * g.macs
        flops["useful"] += 2 * work.macs_useful
        if g.of_activations:
            continue
        rows = g.n * g.count * g.repeat
        _, stored = kind.stored(kind.in_format(machine, work.number_format).machine, work)
        elements = math.ceil(rows * stored.elements) if stored.compressed else rows * g.k
        weights["all"] += rows * g.k
        weights["kept"] += work.b.kept * g.repeat
        weights["dense"] += rows * g.k * kind.operand_bits(machine)
        weights["value"] += math.ceil(elements * stored.scaled_bits)
        weights["metadata"] += elements * stored.index_bits
    return Inference(
        flops_dense=flops["dense"],
        flops=flops["useful"],
        parameters=weights["all"],
        parameters_kept=weights["kept"],
        value_bits=weights["value"],
        metadata_bits=weights["metadata"],
        dense_bits=weights["dense"],
    )


def training_document(run: TrainingRun) -> dict[str, Any]:
    """The run as one JSON object: manifest, segments, total and inference."""
    dense = run.dense
    return {
        "manifest": dict(run.about),
        "segments": _segments(run),
        "total": {
            "steps": run.steps,
            "time_s": run.total("time_us") * 1e-6,
            "dense_time_s": dense.time_us * run.steps * 1e-6,
            "mask_share": run.total("mask_us") / run.total("time_us"),
            "speedup": run.speedup,
            "beyond_share": run.beyond_share,
            "gemms_speedup": run.gemms_speedup,
            "elementwise_share": _share(run),
            "macs_dense": run.total("macs_dense"),
            "macs_issued": run.total("macs_issued"),
            "macs_useful": run.total("macs_useful"),
            "flops": run.total("flops"),
            "dense_flops": dense.flops * run.steps,
            "flops_share": run.total("flops") / (dense.flops * run.steps),
            "dram_bytes": run.total("dram_bytes"),
            "dense_dram_bytes": dense.dram_bytes * run.steps,
            "memory_bytes": run.about["memory_bytes"],
            "capacity_bytes": run.about["capacity_bytes"],
        },
        "inference": dict(vars(run.inference)),
    }


def _share(run: TrainingRun) -> float | None:
    """The part of the run's time that is estimated beside GEMMs; None where nothing was."""
    if run.dense.elementwise_us is None:
        return None
    return run.total("elementwise_us") / run.total("time_us")


def _segments(run: TrainingRun) -> list[dict[str, Any]]:
    whole = run.total("time_us")
    return [
        {
            "stage": part.span.stage,
            "masks": part.masks,
            "formats": part.step.formats,
            "first_step": part.span.first,
            "steps": part.span.steps,
            "step_us": part.step.time_us,
            "gemms_us": part.step.gemms_us,
            "mask_us": part.step.mask_us,
            "elementwise_us": part.step.elementwise_us,
            "dense_step_us": run.dense.time_us,
            "speedup": run.dense.time_us / part.step.time_us,
            "beyond_share": part.step.beyond_share,
            "time_s": part.step.time_us * part.span.steps * 1e-6,
            "time_share": part.step.time_us * part.span.steps / whole,
            "macs_dense": part.step.macs_dense * part.span.steps,
            "macs_issued": part.step.macs_issued * part.span.steps,
            "macs_useful": part.step.macs_useful * part.span.steps,
            "flops": part.step.flops * part.span.steps,
            "dram_bytes": part.step.dram_bytes * part.span.steps,
        }
        for part in run.segments
    ]
