"""What there is, by kind, and everything about one of them: for ``nmsim list`` and ``show``."""

import json
import sys
from typing import Annotated

import typer
from pydantic import BaseModel

from nmsim.cli.commands.machine import machine_facts, machine_schema
from nmsim.cli.console import show_facts, write
from nmsim.cli.options import Plugins
from nmsim.cost.technology import TECHNOLOGIES, Technology, load_technology
from nmsim.machines import ENGINES, HARDWARE, KINDS
from nmsim.machines.kind import Facts, Listing
from nmsim.measured.attention.tables import ATTENTION_TABLES
from nmsim.measured.tables import MEASURED, MeasuredFile
from nmsim.network.catalog import MODELS, Network, load_model
from nmsim.pruning import PRUNERS, pruner_name, read_plugins
from nmsim.recipes.recipe import RECIPES, Offer, Plan, Recipe, load_recipe
from nmsim.registry import unknown_name
from nmsim.run.experiment import Experiment

__all__ = ["LISTINGS", "SCHEMAS", "catalog", "describe", "list_", "schema", "show"]


def _model(name: str) -> Facts:
    network = load_model(name)
    forward = [gemm for gemm in network.gemms(1) if gemm.phase == "forward"]
    facts = [
        ("name", network.name),
        ("summary", network.summary),
        ("source", network.source),
        ("implementation", network.implementation or "no other than the source's"),
        ("also called", ", ".join(network.aliases) or "nothing else"),
        ("layers", str(len(network.layers))),
        ("weights", f"{network.weights:,} elements, tables of embeddings too"),
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
    name = pruner_name(name)
    pruner, origin = PRUNERS[name], PRUNERS.origin(name)
    return [
        ("name", name),
        *([("file", origin.file)] if origin else []),
        ("summary", pruner.summary),
        ("source", pruner.source),
        ("draws at random", str(pruner.stochastic)),
        ("transposable", str(pruner.transposable)),
        ("keeps exactly N", str(pruner.regular)),
        ("asks for", ", ".join(pruner.wants) or "the values alone"),
        ("options", ", ".join(f"{one}={value}" for one, value in pruner.options.items()) or "none"),
        ("definition", " ".join((pruner.fill.__doc__ or "").split())),
    ]


def _engine(name: str) -> Facts:
    engine = ENGINES[name]
    module = sys.modules[engine.simulate.__module__]
    return [
        ("name", name),
        ("summary", engine.summary),
        ("definition", " ".join((module.__doc__ or "").split())),
    ]


def _technology(name: str) -> Facts:
    found = load_technology(name)
    own = [("name", found.name), ("summary", found.summary)]
    cells = [
        (cell, f"{one.value:.4g} {found.unit} ({one.source})") for cell, one in found.cells.items()
    ]
    return [*own, *cells, *_energies(found), *found.sources.items()]


def _energies(technology: Technology) -> Facts:
    if technology.energy is None:
        return []
    macs = [(f"MAC {one.arithmetic}{one.bits}", one.pj, "pJ") for one in technology.energy.macs]
    memories = [(name, one, "pJ a bit") for name, one in technology.energy.dram.items()]
    return [
        (name, f"{one.value:.4g} {unit}, {one.band.low:.4g} to {one.band.high:.4g} ({one.source})")
        for name, one, unit in (*macs, *memories)
    ]


def _measured(name: str) -> Facts:
    return [("name", name), *_about(MEASURED.load(name))]


def _about(file: MeasuredFile) -> Facts:
    return [(field, str(value)) for field, value in file.model_dump().items()]


LISTINGS: dict[str, Listing] = {
    "models": Listing(lambda: MODELS, MODELS.summary, _model),
    "hardware": Listing(lambda: HARDWARE, HARDWARE.summary, machine_facts),
    "recipes": Listing(lambda: RECIPES, lambda name: load_recipe(name).summary, _recipe),
    "pruners": Listing(lambda: PRUNERS, lambda name: PRUNERS[name].summary, _pruner),
    "technologies": Listing(lambda: TECHNOLOGIES, TECHNOLOGIES.summary, _technology, Technology),
    "engines": Listing(lambda: ENGINES, lambda name: ENGINES[name].summary, _engine),
    **{plural: one for kind in KINDS for plural, one in KINDS[kind].listings.items()},
    "measured": Listing(lambda: MEASURED, MEASURED.summary, _measured),
    "measured-attention": Listing(
        lambda: ATTENTION_TABLES,
        ATTENTION_TABLES.summary,
        lambda name: [("name", name), *_about(ATTENTION_TABLES.load(name))],
    ),
}
"""What one can list and show, by plural name: those of nmsim, and those of kinds of machines."""

SCHEMAS: dict[str, type[BaseModel]] = {
    "model": Network,
    **{kind: KINDS[kind].schema for kind in KINDS},
    **{
        plural: one.schema
        for kind in KINDS
        for plural, one in KINDS[kind].listings.items()
        if one.schema
    },
    "recipe": Recipe,
    "technology": Technology,
    "experiment": Experiment,
}
"""Schemas of the YAML files: a machine's by its kind, others by what they describe."""


def _listing(name: str) -> Listing:
    plural = name if name in LISTINGS else _plural(name)
    if plural not in LISTINGS:
        raise unknown_name("kind", name, LISTINGS)
    return LISTINGS[plural]


def _plural(name: str) -> str:
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def kinds() -> Facts:
    """Kinds of things, and how many there are of each."""
    return [(name, f"{len(list(one.names()))}") for name, one in LISTINGS.items()]


def catalog(kind: str) -> Facts:
    """Name and summary of everything of a kind."""
    found = _listing(kind)
    return [(name, found.summary(name)) for name in found.names()]


def describe(kind: str, name: str) -> Facts:
    """Everything about one thing, as label and text."""
    return _listing(kind).facts(name)


def schema(kind: str) -> str:
    """The JSON Schema of a kind's YAML file; of "hardware", one for every kind of machine."""
    if kind == "hardware":
        return json.dumps(machine_schema(*KINDS), indent=2)
    singular = kind if kind in SCHEMAS else kind.removesuffix("s")
    if singular not in SCHEMAS:
        raise unknown_name("schema", kind, [*SCHEMAS, "hardware"])
    found = machine_schema(singular) if singular in KINDS else SCHEMAS[singular].model_json_schema()
    return json.dumps(found, indent=2)


def list_(
    kind: Annotated[str, typer.Argument(metavar="[KIND]", help=" | ".join(LISTINGS))] = "",
    plugins: Plugins = None,
) -> None:
    """List models, hardware, recipes, pruners, dataflows, engines or measured files.

    Without a kind, which kinds there are and how many of each.
    """
    read_plugins(plugins or ())
    show_facts(catalog(kind) if kind else kinds())


def show(
    kind: Annotated[
        str, typer.Argument(metavar="[KIND]", help=" | ".join((*LISTINGS, "schema")))
    ] = "",
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help=f"For schema: {' | '.join(SCHEMAS)}.")
    ] = "",
    plugins: Plugins = None,
) -> None:
    """Show everything about one of them: fields, source, formula; or the schema of its YAML.

    Without a name, which there are; without a kind, which kinds.
    """
    read_plugins(plugins or ())
    if kind == "schema":
        write(schema(name) if name else "\n".join((*SCHEMAS, "hardware")))
    elif not name:
        show_facts(catalog(kind) if kind else kinds())
    else:
        show_facts(describe(kind, name))
