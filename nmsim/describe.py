"""What there is, by kind, and everything about one of them: for ``nmsim list`` and ``show``."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from nmsim.cost import selectors
from nmsim.dataflow import DATAFLOWS
from nmsim.engine import ENGINES
from nmsim.experiment import Experiment
from nmsim.hardware import HARDWARE, Gpu, IdealMachine, SystolicArray, load_hardware
from nmsim.kernels import KERNELS, Kernel, KernelSet, load_kernels
from nmsim.measurements import MEASURED
from nmsim.network import MODELS, Network, load_model
from nmsim.pruning import PRUNERS
from nmsim.recipe import RECIPES, Offer, Plan, Recipe, load_recipe
from nmsim.registry import unknown_name

__all__ = ["KINDS", "SCHEMAS", "catalog", "describe", "schema"]

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class _Kind:
    names: Callable[[], Iterable[str]]
    summary: Callable[[str], str]
    facts: Callable[[str], Facts]


def _model(name: str) -> Facts:
    network = load_model(name)
    forward = [gemm for gemm in network.gemms(1) if gemm.phase == "forward"]
    facts = [
        ("name", network.name),
        ("summary", network.summary),
        ("source", network.source),
        ("layers", str(len(network.layers))),
        ("weights", f"{network.weights:,} elements in GEMMs"),
        ("forward MACs", f"{sum(gemm.macs for gemm in forward):,} per sample"),
    ]
    if network.published is not None:
        published = network.published
        facts.append(("published parameters", f"{published.parameters:,}"))
        if published.macs is not None:
            within = f"within {100 * published.macs_tolerance:.2g}%"
            facts.append(("published MACs", f"{published.macs:,} ({within})"))
        facts.append(("published by", published.source))
        facts += [("parameters elsewhere", f"{e.count:,}: {e.what}") for e in published.elsewhere]
    for gemm in forward:
        copies = f" x {gemm.count * gemm.repeat}" if gemm.count * gemm.repeat > 1 else ""
        facts.append((gemm.layer, f"{gemm.kind} {gemm.m} x {gemm.n} x {gemm.k}{copies}"))
    return facts


def _machine(name: str) -> Facts:
    machine = load_hardware(name)
    facts = [*_fields(machine), ("peak MACs", f"{machine.peak_macs:,} per cycle")]
    return [*facts, *_selectors(machine)] if isinstance(machine, SystolicArray) else facts


def _selectors(machine: SystolicArray) -> Facts:
    cost = selectors(machine)
    mux = cost.multiplexer
    if mux.inputs == 1:
        return [("selectors", "none")]
    pe = (
        f"{mux.two_input * cost.per_pe:,} two-input multiplexers of one bit, depth {mux.depth}, "
        f"{mux.select_bits * cost.per_pe} select bits, "
        f"{mux.transistors * cost.per_pe:,} transistors"
    )
    array = (
        f"{cost.two_input:,} two-input multiplexers, {cost.transistors:,} transistors "
        "(12.W.(M-1) a multiplexer; wires not counted)"
    )
    facts = [
        ("selectors", f"{cost.per_pe} per PE, {mux.inputs}:1, {mux.width} bits wide"),
        ("of one PE", pe),
        ("of the array", array),
    ]
    if cost.queue_bits != 0:
        queue = "without limit" if cost.queue_bits is None else f"{cost.queue_bits:,} bits"
        facts.append(("queue of one PE", f"{queue}: d + 1 groups of both operands, kept flags"))
    return facts


def _recipe(name: str) -> Facts:
    recipe = load_recipe(name)
    facts = [("name", recipe.name), ("summary", recipe.summary), ("source", recipe.source)]
    facts += [(offer.role, _offer(offer)) for offer in recipe.operands]
    left = recipe.leave_dense
    ends = [f"the {end} layer" for end in ("first", "last") if getattr(left, end)]
    if ends or left.layers:
        facts.append(("left dense", ", ".join([*ends, *_listed(left.layers)])))
    if recipe.formats:
        said = [f"{chosen} in {phase}" for phase, chosen in recipe.formats.items()]
        facts.append(("number formats", ", ".join(said)))
    return [*facts, ("training run", _plan(recipe.schedule))]


def _offer(offer: Offer) -> str:
    said = [offer.pruner, str(offer.pattern or "the run's pattern")]
    said += ["after ReLU"] if offer.relu else []
    said += ["offered to no hardware"] if offer.withheld else []
    said += [f"made every {offer.refresh} steps"] if offer.refresh > 1 else []
    said += [f"{option} = {value}" for option, value in offer.options.items()]
    where = "" if offer.layers == "*" else f" of layers {' '.join(_listed(offer.layers))}"
    return f"{', '.join(said)}, in {' and '.join(offer.phases)}{where}"


def _listed(globs: str | tuple[str, ...]) -> tuple[str, ...]:
    return (globs,) if isinstance(globs, str) else globs


def _plan(plan: Plan | None) -> str:
    if plan is None:
        return "masks from the first step"
    roles = " and ".join(plan.roles)
    parts = [f"{plan.dense:.0%} without masks of the {roles}"] if plan.dense else []
    if plan.sparsify:
        given = "".join(f", {name} = {value}" for name, value in plan.options.items())
        parts.append(f"{1 - plan.dense - plan.finetune:.0%} {plan.sparsify}{given}")
    rest = plan.finetune if plan.sparsify else 1 - plan.dense
    return ", then ".join([*parts, f"{rest:.0%} at their patterns"])


def _pruner(name: str) -> Facts:
    pruner = PRUNERS[name]
    return [
        ("name", name),
        ("summary", pruner.summary),
        ("source", pruner.source),
        ("draws at random", str(pruner.stochastic)),
        ("transposable", str(pruner.transposable)),
        ("keeps exactly N", str(pruner.regular)),
        ("definition", " ".join((pruner.fill.__doc__ or "").split())),
    ]


def _dataflow(name: str) -> Facts:
    dataflow = DATAFLOWS[name]
    return [(field, str(value)) for field, value in vars(dataflow).items()]


def _kernel_set(name: str) -> Facts:
    kernels = load_kernels(name)
    rows = [(kernel.name, _kernel(kernel)) for kernel in kernels.kernels]
    own = type(kernels).model_fields
    rest = [
        (field, f"{getattr(kernels, field)}   [{own[field].description}]")
        for field in own
        if field not in ("summary", "source", "kernels")
    ]
    head = [("name", name), ("summary", kernels.summary), ("source", kernels.source)]
    return [*head, *rest, *rows]


def _kernel(kernel: Kernel) -> str:
    tile, warp = ("x".join(map(str, sizes)) for sizes in (kernel.tile, kernel.warp))
    return f"tile {tile}, warp {warp}, {kernel.stages} stages, {kernel.ctas_per_sm} per SM"


def _engine(name: str) -> Facts:
    engine = ENGINES[name]
    module = sys.modules[engine.simulate.__module__]
    return [
        ("name", name),
        ("summary", engine.summary),
        ("definition", " ".join((module.__doc__ or "").split())),
    ]


def _fields(value: BaseModel, prefix: str = "") -> Facts:
    facts: Facts = []
    for name, field in type(value).model_fields.items():
        item: Any = getattr(value, name)
        if isinstance(item, BaseModel):
            facts += _fields(item, f"{prefix}{name}.")
        elif isinstance(item, tuple) and any(isinstance(one, BaseModel) for one in item):
            said = enumerate(", ".join(_said(one)) for one in item)
            facts += [(f"{prefix}{name}.{at}", text) for at, text in said]
        else:
            shown = ", ".join(map(str, item)) or "none" if isinstance(item, tuple) else str(item)
            plain = name in ("name", "summary", "source") or not field.description
            meaning = "" if plain else f"   [{field.description}]"
            facts.append((f"{prefix}{name}", f"{shown}{meaning}"))
    return facts


def _said(value: BaseModel, prefix: str = "") -> Iterator[str]:
    """What an entry of a list sets, without what it leaves open."""
    for name in type(value).model_fields:
        item: Any = getattr(value, name)
        if isinstance(item, BaseModel):
            yield from _said(item, f"{prefix}{name}.")
        elif item not in (None, (), "", False):
            shown = " ".join(map(str, item)) if isinstance(item, tuple) else str(item)
            yield f"{prefix}{name} {shown}"


def _measured(name: str) -> Facts:
    about = MEASURED.load(name)
    return [("name", name), *((field, str(value)) for field, value in about.model_dump().items())]


_KINDS = {
    "models": _Kind(lambda: MODELS, lambda name: load_model(name).summary, _model),
    "hardware": _Kind(lambda: HARDWARE, lambda name: load_hardware(name).summary, _machine),
    "recipes": _Kind(lambda: RECIPES, lambda name: load_recipe(name).summary, _recipe),
    "pruners": _Kind(lambda: PRUNERS, lambda name: PRUNERS[name].summary, _pruner),
    "dataflows": _Kind(lambda: DATAFLOWS, lambda name: DATAFLOWS[name].summary, _dataflow),
    "engines": _Kind(lambda: ENGINES, lambda name: ENGINES[name].summary, _engine),
    "kernels": _Kind(lambda: KERNELS, lambda name: load_kernels(name).summary, _kernel_set),
    "measured": _Kind(lambda: MEASURED, lambda name: MEASURED.load(name).summary, _measured),
}

KINDS = tuple(_KINDS)

SCHEMAS: dict[str, type[BaseModel]] = {
    "model": Network,
    "hardware": SystolicArray,
    "gpu": Gpu,
    "ideal": IdealMachine,
    "kernels": KernelSet,
    "recipe": Recipe,
    "experiment": Experiment,
}
"""Schemas of the YAML files, by kind."""


def _kind(name: str) -> _Kind:
    plural = name if name in _KINDS else f"{name}s"
    if plural not in _KINDS:
        raise unknown_name("kind", name, _KINDS)
    return _KINDS[plural]


def catalog(kind: str) -> Facts:
    """Name and summary of everything of a kind."""
    found = _kind(kind)
    return [(name, found.summary(name)) for name in found.names()]


def describe(kind: str, name: str) -> Facts:
    """Everything about one thing, as label and text."""
    return _kind(kind).facts(name)


def schema(kind: str) -> str:
    """The JSON Schema of a kind's YAML file."""
    singular = kind if kind in SCHEMAS else kind.removesuffix("s")
    if singular not in SCHEMAS:
        raise unknown_name("schema", kind, SCHEMAS)
    return json.dumps(SCHEMAS[singular].model_json_schema(), indent=2)
