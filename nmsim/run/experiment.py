"""Running things: one workload on one machine (``simulate``), or every combination of a sweep.

A *point* is everything that one run depends on. ``run`` yields the rows of points as they finish;
how they are executed is an executor that is passed in, in the manner of ``concurrent.futures``.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field, field_validator

from nmsim.errors import SpecError
from nmsim.gemm import PHASES, Phase
from nmsim.machines import (
    FIDELITIES,
    Fidelity,
    Machine,
    Sample,
    kind_of,
    load_hardware,
    simulate_twin,
)
from nmsim.machines import simulate as simulate_gemm
from nmsim.mask import SparseGemm
from nmsim.network.tensors import Synthetic, TensorFile, TensorSource
from nmsim.pattern import Pattern, PatternField
from nmsim.recipes.masking import Setting
from nmsim.recipes.recipe import Recipe, load_recipe
from nmsim.registry import unknown_name
from nmsim.run.frame import frame
from nmsim.run.row import row_of
from nmsim.run.workload import Model, Workload, load_workload
from nmsim.spec import Spec, read_yaml, validate
from nmsim.step.elementwise import elementwise_us
from nmsim.step.masks import MASK_COLUMNS, basis, mask_columns

__all__ = ["Experiment", "Point", "manifest", "read_experiment", "rows", "run", "simulate"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """Everything that one run depends on; the defaults are those of the command line.

    Parameters
    ----------
    model
        A name, a path, ``gemm:MxNxK``, or GEMMs.
    hardware
        A name, a path, or a machine.
    recipe
        A name, a path, or a recipe.
    pattern
        For masks whose recipe names none.
    batch
        Samples in a training step; GEMMs that are given hold theirs.
    fidelity
        "cycle" or "analytical".
    phases
        Those wanted; none: all.
    layers
        A glob over layer names.
    seed
        Of synthetic tensors and stochastic pruners.
    tensors
        A safetensors or npz file to read values from, instead of drawing them.
    overrides
        Fields of the machine by dotted path.
    compare
        Simulate each row's dense twin too.
    sample
        Folds to run where cycles need both masks' bits, instead of all; None: all.
    elementwise
        Estimate what is no GEMM too.
    """

    model: Model
    hardware: str | Path | Machine = "systolic-128x128-2to4"
    recipe: str | Path | Recipe = "dense"
    pattern: str | Pattern = "2:4"
    batch: int = 1
    fidelity: str = "cycle"
    phases: Sequence[str] = ()
    layers: str = "*"
    seed: int = 0
    tensors: str | Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    compare: bool = True
    sample: int | None = None
    elementwise: bool = False

    @property
    def machine(self) -> Machine:
        """The machine, with its fields replaced."""
        return load_hardware(self.hardware, **self.overrides)

    @property
    def setting(self) -> Setting:
        """What masks are made of."""
        source: TensorSource = Synthetic(self.seed)
        if self.tensors is not None:
            source = TensorFile(Path(self.tensors))
            if not Path(self.tensors).is_file():
                raise SpecError(f"tensors {self.tensors}: no such file")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise SpecError(f"seed is {self.seed!r}, expected an integer of 0 or more")
        return Setting(
            load_recipe(self.recipe), Pattern.parse(self.pattern), source, self.batch, self.seed
        )

    def sparse_gemms(self, workload: Workload | None = None) -> Iterator[SparseGemm]:
        """The GEMMs of the point and their masks.

        Parameters
        ----------
        workload
            The point's, if it has been loaded.

        Raises
        ------
        UnknownName
            for a phase that does not exist.
        """
        for phase in self.phases:
            if phase not in PHASES:
                raise unknown_name("phase", phase, PHASES)
        yield from (workload or load_workload(self.model)).sparse_gemms(
            self.setting, phases=self.phases or None, names=self.layers
        )


def rows(point: Point) -> Iterator[Row]:
    """The result rows of a point, one per GEMM, as they are simulated."""
    machine = point.machine
    sample = _sample(machine, point)
    beside = _beside(point, workload := load_workload(point.model))
    for work in point.sparse_gemms(workload):
        ran = kind_of(machine).in_format(machine, work.number_format)
        result = simulate_gemm(ran.machine, work, point.fidelity, sample)
        twin = (
            simulate_twin(ran.machine, work.gemm, result, point.fidelity) if point.compare else None
        )
        yield {**row_of(machine, ran, work, result, twin), **beside(ran.machine, work)}


def _beside(point: Point, workload: Workload) -> Callable[[Machine, SparseGemm], Row]:
    """Columns of what a step takes beside a GEMM; a trace does not say how masks came about."""
    setting = point.setting
    layers = {layer.name: layer for layer in workload.layers}

    def columns(machine: Machine, work: SparseGemm) -> Row:
        if workload.trace:
            return dict.fromkeys((*MASK_COLUMNS, "elementwise_us"))
        layer, estimate = layers[work.gemm.layer], elementwise_us if point.elementwise else None
        return {
            **mask_columns(machine, setting.recipe, work),
            "elementwise_us": estimate and estimate(machine, layer, work.gemm, setting.batch),
        }

    return columns


def _sample(machine: Machine, point: Point) -> Sample | None:
    if point.sample is None:
        return None
    if point.sample < 2:
        raise SpecError(f"sample is {point.sample}, expected two folds or more")
    if not kind_of(machine).samples(machine, point.fidelity):
        raise SpecError(
            f"sample is {point.sample}, expected none: {machine.name}, {point.fidelity}, does not "
            "run folds from the bits of two masks"
        )
    return Sample(point.sample, point.seed)


def simulate(
    model: Model,
    *,
    hardware: str | Path | Machine = "systolic-128x128-2to4",
    recipe: str | Path | Recipe = "dense",
    pattern: str | Pattern = "2:4",
    batch: int = 1,
    fidelity: str = "cycle",
    phases: Sequence[str] = (),
    layers: str = "*",
    seed: int = 0,
    tensors: str | Path | None = None,
    compare: bool = True,
    sample: int | None = None,
    elementwise: bool = False,
) -> pd.DataFrame:
    """Simulate a workload on a machine.

    Parameters
    ----------
    model
        A network's name or YAML file, a trace, a CSV of GEMMs, ``gemm:MxNxK``, or a list of GEMMs.
    hardware, recipe
        A name from the catalog or a path; or a machine (``load_hardware``), a ``Recipe``.
    pattern
        N:M for masks whose recipe names no pattern of its own.
    batch
        Samples in a training step.
    fidelity
        "cycle", or "analytical" for its closed-form twin.
    phases, layers
        Those wanted: phases by name (none: all), layers by glob.
    seed
        Of synthetic tensors and stochastic pruners.
    tensors
        A safetensors or npz file to read values from, instead of drawing them.
    compare
        Simulate each row's dense twin too, for the speed-up.
    sample
        On an intersecting array, run about so many folds of each GEMM instead of all;
        ``half_width`` then holds half the 95% confidence interval of ``compute_cycles``.
    elementwise
        Estimate normalisation, activations and the optimizer too, in ``elementwise_us``.

    Returns
    -------
    pandas.DataFrame
        One row per GEMM; columns, units and meanings in ``nmsim.machines.COLUMNS``.

    Raises
    ------
    NmsimError
        for anything that its user can mend; one line.
    """
    return frame(
        rows(
            Point(
                model=model,
                hardware=hardware,
                recipe=recipe,
                pattern=pattern,
                batch=batch,
                fidelity=fidelity,
                phases=phases,
                layers=layers,
                seed=seed,
                tensors=tensors,
                compare=compare,
                sample=sample,
                elementwise=elementwise,
            )
        )
    )


class Experiment(Spec):
    """A sweep: every combination of the lists."""

    title: str = Field(description="headline of the report")
    question: str = Field("", description="what the sweep is to answer")
    models: tuple[str, ...] = Field(min_length=1)
    hardware: tuple[str, ...] = Field(min_length=1)
    recipes: tuple[str, ...] = Field(("asp",), min_length=1)
    patterns: tuple[PatternField, ...] = Field(min_length=1)
    batches: tuple[Annotated[int, Field(ge=1)], ...] = Field((1,), min_length=1)
    fidelities: tuple[Fidelity, ...] = Field(FIDELITIES, min_length=1)
    phases: tuple[Phase, ...] = Field(PHASES, min_length=1)
    layers: str = Field("*", description="a glob over layer names")
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("models", "hardware", "recipes", "patterns", "batches", "fidelities", "phases")
    @classmethod
    def _no_repeats(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("expected each entry once")
        return values

    def points(self) -> list[Point]:
        """The combinations, in the order of the lists."""
        return [
            Point(
                model=model,
                hardware=hardware,
                recipe=recipe,
                pattern=pattern,
                batch=batch,
                fidelity=fidelity,
                phases=self.phases,
                layers=self.layers,
                seed=self.seed,
            )
            for model, recipe, pattern, hardware, batch, fidelity in itertools.product(
                self.models,
                self.recipes,
                self.patterns,
                self.hardware,
                self.batches,
                self.fidelities,
            )
        ]


def read_experiment(path: Path) -> Experiment:
    """Read a sweep; paths in it are relative to its file.

    Raises
    ------
    SpecError, UnknownName
        for a file that does not describe a sweep, or an entry that does not exist.
    """
    experiment = validate(Experiment, read_yaml(path), str(path))

    def beside(name: str) -> str:
        try:
            return str(path.parent / name) if (path.parent / name).is_file() else name
        except OSError:  # too long for a file's name, or in a folder that may not be read
            return name

    names = {
        kind: tuple(map(beside, getattr(experiment, kind)))
        for kind in ("models", "hardware", "recipes")
    }
    return experiment.model_copy(update=names)


def run(points: Sequence[Point], executor: Executor) -> Iterator[tuple[Point, list[Row]]]:
    """Simulate points: all are submitted at once, each comes with its rows as it finishes.

    Rows name the point that they belong to: model, recipe, pattern, batch, fidelity and seed.
    """
    return _finished({executor.submit(point_rows, point): point for point in points})


def _finished(futures: Mapping[Future[list[Row]], Point]) -> Iterator[tuple[Point, list[Row]]]:
    for future in as_completed(futures):
        yield futures[future], future.result()


def point_rows(point: Point) -> list[Row]:
    """The rows of a point, each with the point's own settings in front."""
    own = {
        "model": load_workload(point.model).name,
        "recipe": load_recipe(point.recipe).name,
        "pattern": str(Pattern.parse(point.pattern)),
        "batch": point.batch,
        "fidelity": point.fidelity,
        "seed": point.seed,
    }
    return [{**own, **row} for row in rows(point)]


def manifest(point: Point, command: str) -> dict[str, Any]:
    """What a stored run must say to be reproduced."""
    workload, setting, machine = load_workload(point.model), point.setting, point.machine
    return {
        **_origin("simulate", command),
        "model": workload.name,
        "hardware": machine.name,
        "recipe": setting.recipe.name,
        "pattern": str(setting.pattern),
        "batch": point.batch,
        "fidelity": point.fidelity,
        "seed": point.seed,
        "sample": point.sample,
        "phases": list(point.phases) or list(PHASES),
        "layers": point.layers,
        "machine": machine.model_dump(mode="json"),
        "model_source": workload.source,
        "recipe_source": setting.recipe.source,
        "tensors": setting.tensors.name,
        "elementwise": point.elementwise,
        "mask_basis": "a trace does not say how its masks came about"
        if workload.trace
        else basis(machine),
        **_recorded(workload),
    }


def _recorded(workload: Workload) -> Row:
    """Where a trace's masks come from: what recorded it, not what is asked of it now."""
    if workload.trace is None:
        return {}
    kept = ("recipe", "pattern", "batch", "seed", "tensors", "recipe_source")
    provenance = workload.trace.provenance
    return {
        "trace": dict(provenance),
        **{name: provenance[name] for name in kept if name in provenance},
    }


def sweep_manifest(experiment: Experiment, command: str) -> dict[str, Any]:
    """What a stored sweep must say to be reproduced."""
    return {
        **_origin("sweep", command),
        **experiment.model_dump(mode="json"),
        "machines": {
            machine.name: machine.model_dump(mode="json")
            for machine in map(load_hardware, experiment.hardware)
        },
        "model_sources": {
            workload.name: workload.source for workload in map(load_workload, experiment.models)
        },
        "recipe_sources": {
            recipe.name: recipe.source for recipe in map(load_recipe, experiment.recipes)
        },
        "tensors": Synthetic(experiment.seed).name,
    }


def _origin(kind: str, command: str) -> Row:
    return {"kind": kind, "nmsim": version("nmsim"), "schema": 1, "command": command}
