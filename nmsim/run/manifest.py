"""Manifests: what a stored result must say to be reproduced, one type for each kind of command.

A manifest is written as JSON and read back years later, so it is validated both ways. Fields that a
type does not name are kept: keywords of a run, and what other versions of nmsim had to say.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nmsim.errors import SpecError
from nmsim.machines import Machine, kind_of
from nmsim.pruning import PRUNERS, read_plugins
from nmsim.recipes.recipe import Recipe, load_recipe
from nmsim.run.asked import asked
from nmsim.run.experiment import Plan
from nmsim.run.experiment.plan import LABELS
from nmsim.run.experiment.schema import LISTED
from nmsim.run.keyword import keywords
from nmsim.run.memory import held
from nmsim.run.point import CHOSEN, Point, Subject
from nmsim.run.values import values
from nmsim.run.workload import Workload
from nmsim.step.masks import basis

__all__ = [
    "SCHEMA",
    "TABLES",
    "Manifest",
    "Simulated",
    "Swept",
    "Trained",
    "Validated",
    "Weighed",
    "check_manifest",
    "dotted",
    "manifest",
    "origin",
    "provenance",
    "sweep_manifest",
    "trained",
    "what_is_wrong",
]

SCHEMA = 1
"""The newest manifest that this version understands."""

Row = dict[str, Any]


class Manifest(BaseModel):
    """What every manifest says: which command of which version wrote it."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", protected_namespaces=(), serialize_by_alias=True
    )

    kind: str
    nmsim: str
    command: str
    version: int = Field(alias="schema", ge=0)

    def document(self) -> dict[str, Any]:
        """The manifest as JSON: what was given, whether or not its type names it."""
        return self.model_dump(mode="json", exclude_unset=True)


class _OfOneRun(Manifest):
    model: str
    hardware: str
    recipe: str
    pattern: str
    fidelity: str
    batch: int
    seed: int
    machine: dict[str, Any]
    lowering: str = "columns"
    choices: str = ""
    model_source: str = ""
    recipe_source: str = ""
    tensors: str = ""
    tensors_unused: int | None = None
    layer_values: dict[str, str] = {}
    mask_basis: str = ""
    unfitted: str = ""
    evidence: str = ""
    memory_bytes: int | None = None
    capacity_bytes: int | None = None
    tp: int = 1
    plugins: list[dict[str, Any]] = []
    step: str = ""
    step_tokens: int | None = None
    sample_tokens: int | None = None
    read_tokens: int | None = None


class Simulated(_OfOneRun):
    """The manifest of ``nmsim simulate``: one row a GEMM."""

    kind: Literal["simulate"]
    phases: list[str] = []
    layers: str | None = None
    trace: dict[str, Any] | None = None


class Trained(_OfOneRun):
    """The manifest of ``nmsim train``: a recipe's schedule over steps."""

    kind: Literal["train"]
    steps: int
    model_source: str
    recipe_source: str
    tensors: str


class Swept(Manifest):
    """The manifest of ``nmsim sweep``: the experiment, and what its names stood for."""

    kind: Literal["sweep"]
    title: str = ""
    question: str = ""
    models: list[str]
    recipes: list[str]
    patterns: list[str]
    hardware: list[str]
    batches: list[int]
    fidelities: list[str]
    choices: str = ""
    asked: dict[str, Any] = {}
    machines: dict[str, dict[str, Any]]
    unfitted: dict[str, str] = {}
    evidence: dict[str, str] = {}
    model_sources: dict[str, str] = {}
    recipe_sources: dict[str, str] = {}
    plugins: list[dict[str, Any]] = []
    tensors: str = ""
    keep: str = "rows"
    search: dict[str, Any] = {}
    points: dict[str, int] = {}
    results_rows: int | None = None


class Validated(Manifest):
    """The manifest of ``nmsim validate``: what `nmsim.measured.accuracy` says of measured rows."""

    kind: Literal["validate"]
    machines: list[str]
    files: list[str]
    fidelity: str
    groups: list[dict[str, Any]]
    worst: list[dict[str, Any]]
    unmeasured: list[str]
    notes: list[str]
    speedup_rows: list[dict[str, Any]]
    noise: dict[str, float]
    tables: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    impossible: dict[str, Any] | None = None
    residual: dict[str, Any] | None = None
    left_out: list[dict[str, Any]] = []
    sources: dict[str, dict[str, Any]] = {}


class Weighed(Manifest):
    """The manifest of ``nmsim memory``: what a step keeps."""

    kind: Literal["memory"]
    model: str
    hardware: str
    recipe: str
    pattern: str
    batch: int
    scenario: str = "train"
    tp: int = 1
    optimizer: str | None = None
    unfitted: str = ""
    machine: dict[str, Any]
    assumptions: list[str]


TABLES: dict[str, type[Manifest]] = {
    "simulate": Simulated,
    "sweep": Swept,
    "validate": Validated,
}
"""The manifests that stand beside a table, by their kind."""


def origin(kind: str, command: str) -> Row:
    """The fields that every manifest has, as this version writes them."""
    return {"kind": kind, "nmsim": version("nmsim"), "schema": SCHEMA, "command": command}


def manifest(point: Point, command: str) -> Simulated:
    """What a stored run must say to be reproduced."""
    return Simulated(**origin("simulate", command), **_said(point))


def trained(point: Point, steps: int, command: str) -> Trained:
    """What a stored training run must say; its phases and layers are all."""
    whole = ("phases", "layers", "sample", "compare")
    said = {name: value for name, value in _said(point).items() if name not in whole}
    if point.setting.recipe.schedule is not None:  # it starts dense, or goes through other patterns
        both = (load_recipe(point.recipe), load_recipe("dense"))
        said |= held(point, *both)._asdict()
    return Trained(**origin("train", command), steps=steps, **said)


def _said(point: Point) -> Row:
    """What a manifest says of a point: its keywords, names for things, and sources of these."""
    workload, setting, machine = point.workload, point.setting, point.machine
    given = {one.name: getattr(point, one.name) for one in keywords(Point)}
    given.pop("overrides")  # the machine has them
    return {
        **given,
        "model": workload.name,
        "hardware": machine.name,
        "recipe": setting.recipe.name,
        "plugins": _plugins(point, [setting.recipe]),
        "pattern": str(setting.pattern),
        "batch": point.samples,
        "seed": int(point.seed),
        "phases": list(point.wanted),
        "lowering": str(point.layout),
        **{name: getattr(machine, name, None) or None for name in CHOSEN},
        "choices": kind_of(machine).choices(machine),
        "machine": machine.model_dump(mode="json"),
        "model_source": workload.source,
        "recipe_source": setting.recipe.source,
        "tensors": setting.tensors.name,
        **values(workload, setting, point.layers),
        "mask_basis": _basis(workload, machine),
        "tp": int(point.tp),
        **asked(workload, point.samples, point.wanted, point.layers),
        "unfitted": machine.unfitted,
        "evidence": _measured_on(machine),
        **held(point)._asdict(),
        **_recorded(workload),
    }


def _plugins(subject: Subject, recipes: Iterable[Recipe]) -> list[Row]:
    """Pruners that are not of this package: those that recipes name, and that were read for them.

    Each with its source and a hash of that, by which a reader tells whether theirs is the same.
    """
    used = [offer.pruner for recipe in recipes for offer in recipe.operands]
    found = dict.fromkeys([*used, *read_plugins(subject.plugin_paths)])
    origins = {name: PRUNERS.origin(name) for name in found}
    return [{"pruner": name, **one._asdict()} for name, one in origins.items() if one is not None]


def _measured_on(machine: Machine) -> str:
    """What was measured on a machine, as its kind tells it; "" where nothing can be."""
    offered = kind_of(machine).evidence
    return "" if offered is None else offered.told(machine)


def _basis(workload: Workload, machine: Machine) -> str:
    return "a trace does not say how its masks came about" if workload.trace else basis(machine)


_OF_MASKS = (
    *("recipe", "plugins", "pattern", "batch", "seed", "lowering", "tensors", "tensor_names"),
    "recipe_source",
)


def _recorded(workload: Workload) -> Row:
    """Where a trace's masks come from: what recorded it, not what is asked of it now."""
    if workload.trace is None:
        return {}
    about = workload.trace.provenance
    own = {name: about[name] for name in _OF_MASKS if name in about}
    return {"trace": dict(about), "lowering": about.get("lowering", "columns"), **own}


def provenance(about: Simulated) -> Row:
    """What a trace says of the run that it was recorded from: no machine had a part in it."""
    names = ("nmsim", "command", "model", "model_source", "phases", "layers", "trace", *_OF_MASKS)
    document = about.document()
    return {name: document[name] for name in names if name in document}


def sweep_manifest(plan: Plan, command: str) -> Swept:
    """What a stored sweep must say to be reproduced.

    Machines are those of its files: what of them varies stands in ``vary``.
    """
    experiment, examples = plan.experiment, plan.examples
    said = experiment.model_dump(mode="json", exclude_unset=True)
    shared = {name: getattr(experiment, name) for name in _SHARED}
    machines = _machines(examples)
    choices = dict.fromkeys(kind_of(machine).choices(machine) for machine in machines)
    recipes = {recipe.name: recipe for recipe in (load_recipe(one.recipe) for one in examples)}
    workloads = {one.name: one.source for one in (point.workload for point in examples)}
    lists: dict[str, Any] = {many: _listed(plan, name) for name, many in LISTED.items()}
    return Swept(
        **origin("sweep", command),
        **shared,
        **{name: said[name] for name in _SAID if said.get(name)},
        title=experiment.title,
        question=experiment.question,
        keep=experiment.keep,
        **lists,
        asked=_asked_as(plan),
        phases=list(examples[0].wanted),
        choices="; ".join(filter(None, choices)),
        machines={machine.name: machine.model_dump(mode="json") for machine in machines},
        unfitted={machine.name: machine.unfitted for machine in machines if machine.unfitted},
        evidence={one.name: told for one in machines if (told := _measured_on(one))},
        model_sources=workloads,
        plugins=_plugins(examples[0], recipes.values()),
        recipe_sources={name: recipe.source for name, recipe in recipes.items()},
        tensors=examples[0].setting.tensors.name,
    )


def _asked_as(plan: Plan) -> Row:
    """How the experiment named what results call by names: what runs a point of it alone.

    ``batch`` tells whether it named any; where not, each workload has its own.
    """
    experiment, grid, examples = plan.experiment, plan.grid, plan.examples
    named = any(one.name == "batch" for one in grid.fields)
    machines = zip(_machines(examples), {str(p.hardware): None for p in examples}, strict=True)
    said: Any = experiment
    return {
        "model": {point.workload.name: str(point.model) for point in examples},
        "recipe": {load_recipe(point.recipe).name: str(point.recipe) for point in examples},
        "hardware": {machine.name: name for machine, name in machines},
        "batch": named or grid.fixed.get("batch") is not None,
        "phases": list(said.phases),
        "plugins": [str(path) for path in said.plugins],
    }


_SAID = ("vary", "derive", "when", "search")
"""What a manifest has as the experiment's file says it."""

_SHARED = tuple(
    one.name
    for one in keywords(Point)
    if not (one.keyword.apart or one.keyword.lists or one.name in ("phases", "plugins"))
)


def _listed(plan: Plan, name: str) -> list[Any]:
    """Every value of what points are told by, in order."""
    at = LABELS.index(name)
    values = dict.fromkeys(place.known[at] for place in plan.places)
    if name == "hardware":  # as it was asked for: a machine's file, not what varies of it
        return list(dict.fromkeys(str(point.hardware) for point in plan.examples))
    return list(values)


def _machines(points: Iterable[Point]) -> list[Machine]:
    """The machines of points as their files have them, without what a sweep varies of them."""
    found = {str(point.hardware): replace(point, overrides={}) for point in points}
    return [point.machine for point in found.values()]


def check_manifest(document: Mapping[str, Any], where: str) -> None:
    """Hold a manifest that stands beside a table to the type of its kind.

    Raises
    ------
    SpecError
        naming the file, and the kind, the schema or the first field that is wrong.
    """
    known = TABLES.get(str(document.get("kind")))
    if known is None:
        *most, last = TABLES
        raise SpecError(
            f"{where}: kind is {document.get('kind')!r}, expected {', '.join(most)} or {last}"
        )
    schema = document.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise SpecError(f"{where}: schema {schema}, expected {SCHEMA} or older")
    wrong = what_is_wrong(known, document)
    if wrong:
        raise SpecError(f"{where}: {wrong}")


def dotted(location: Sequence[int | str]) -> str:
    """The place of a field in a document: ``segments[0].steps``."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.removeprefix(".")


_EXPECTED = {
    "string_type": "text",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "greater_than_equal": "0 or more",
}


def what_is_wrong(kind: type[BaseModel], document: Any) -> str:
    """The first field of a stored document that its type does not allow; empty if none."""
    try:
        kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = dotted(first["loc"])
        if first["type"] == "missing":
            return f"{field} is missing"
        expected = _EXPECTED.get(first["type"], first["msg"])
        return f"{field} is {repr(first['input'])[:40]}, expected {expected}"
    return ""
