"""Training recipes: which operand is pruned by what, and in which phases its mask is offered.

Offers name layers by glob; for each layer, role and phase the first that matches holds. Layers
that a recipe leaves dense run in the machine's own number format.

A recipe names roles and phases; which axis of which tensor that prunes follows from the lowering.
One mask offered in two phases must obey the pattern along K of both: a mask of weights made for
forward (along inputs) does so in backward (along outputs) only if its pruner is transposable.
Anything else is refused when the mask is made, unless the recipe says ``allow_unfit: true``.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from nmsim.errors import NmsimError, RecipeError, UnknownName
from nmsim.files import once_per_content
from nmsim.formats import WEIGHTS_ALONE, NumberFormat
from nmsim.gemm import Gemm, Phase
from nmsim.network.layer import Bare, Layer
from nmsim.network.layers.layer_fields import WeightedSpec
from nmsim.network.operand import ATTENTION_OPERANDS, ATTENTION_ROLES, OPERANDS, Role
from nmsim.pattern import Pattern, PatternField
from nmsim.pruning import PRUNERS, pruner_name, read_plugins
from nmsim.recipes.schedules import Schedule, State, schedule
from nmsim.recipes.where import Globs, Where, globs_of, matches
from nmsim.registry import unknown_name
from nmsim.spec import Catalog, Spec, validate

__all__ = ["RECIPES", "LeaveDense", "Offer", "Plan", "Recipe", "load_recipe"]

Options = dict[str, bool | int | float | str]

Share = Annotated[float, Field(ge=0, le=1)]

_TRANSPOSED = {
    (operand.tensor, phase): operand.transposed
    for phase, operands in OPERANDS.items()
    for operand in operands
} | {
    (operand.tensor, phase): operand.transposed
    for (phase, _), operands in ATTENTION_OPERANDS.items()
    for operand in operands
    if operand.tensor in ATTENTION_ROLES
}
"""Whether K of a phase runs across a role's tensor (True) or along its last axis (False)."""


class Offer(Spec):
    """One mask: what it prunes, how, and the phases that it is offered in."""

    role: Role = Field(description="what the pruned tensor is to the layer")
    phases: tuple[Phase, ...] = Field(
        min_length=1, description="where the mask is offered; it is made along K of the first"
    )
    pruner: str = Field(
        description="from `nmsim list pruners`, or a file of one's own: `./wanda.py`, from here"
    )
    plugin: str = Field("", description="filled in: the file that the pruner was read from")
    options: Options = Field(
        default_factory=dict, description="of the pruner: `nmsim show pruners NAME`"
    )
    by_layer: dict[str, Options] = Field(
        default_factory=dict,
        description="options of layers by a glob over their names, over `options`; of several "
        "globs the last that matches",
    )
    pattern: PatternField | None = Field(None, description="default: the run's --pattern")
    layers: Globs = Field(
        "*", description="glob or globs over layer names; of several offers the first that matches"
    )
    where: Where | None = Field(
        None,
        description="the rule by which a tool chooses layers of a network, beside their names; of "
        "GEMMs that are given all are chosen",
    )
    relu: bool = Field(False, description="set negative activations to zero before pruning")
    refresh: Annotated[int, Field(ge=1)] = Field(
        1, description="training steps between two makings of the mask, which share its cost"
    )
    epilogue: bool = Field(
        False,
        description="made by the kernel that makes the tensor, of an attention: its operations "
        "alone are charged, no pass over memory",
    )
    allow_unfit: bool = Field(
        False, description="offer the mask even where it breaks the pattern along K"
    )
    masks_gradient: bool = Field(
        False,
        description="of weights: their gradient is pruned by the same mask, in a pass over it "
        "behind the update GEMM, which runs dense",
    )
    withheld: bool = Field(
        False, description="prune, but offer the mask to no hardware: the operand runs dense"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_from_its_file(cls, given: Any) -> Any:
        """The pruner by its name, where a file is named; the file is read, so that there is one."""
        document = dict(given) if isinstance(given, Mapping) else {}
        name, plugin = document.get("pruner"), document.get("plugin")
        if isinstance(name, str) and name.endswith(".py"):
            return {**document, "pruner": pruner_name(name), "plugin": name}
        if isinstance(plugin, str) and plugin:
            read_plugins([plugin])
        return given

    @field_validator("pruner")
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            return PRUNERS[name].name
        except UnknownName as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        pruner = PRUNERS[self.pruner]
        for name in (*self.options, *chain.from_iterable(self.by_layer.values())):
            if name not in pruner.options:
                raise ValueError(str(unknown_name("option", name, pruner.options)))
        if not globs_of(self.layers):
            raise ValueError("layers: expected a glob, found none")
        if len(set(self.phases)) < len(self.phases):
            raise ValueError(f"phases: expected each once, found {', '.join(self.phases)}")
        if self.withheld and self.allow_unfit:
            raise ValueError("withheld and allow_unfit: a mask is offered or it is not")
        for phase in self.phases:
            if (self.role, phase) not in _TRANSPOSED:
                raise ValueError(f"{self.role} is no operand of the {phase} GEMM")
        if self.relu and self.role != "activation":
            raise ValueError(f"relu is for activations, not for the {self.role}")
        axes = {_TRANSPOSED[self.role, phase] for phase in self.phases}
        if len(axes) > 1 and not pruner.metadata:
            raise ValueError(f"a {self.pruner} mask is made for K of one axis: offer one per phase")
        return self

    @model_validator(mode="after")
    def _has_a_gradient(self) -> Self:
        if self.masks_gradient and self.role != "weight":
            raise ValueError(f"masks_gradient is for weights, not for the {self.role}")
        return self

    @model_validator(mode="after")
    def _has_an_epilogue(self) -> Self:
        groups = PRUNERS[self.pruner].unit == "group"
        if self.epilogue and not (self.role in ATTENTION_ROLES and groups):
            raise ValueError(
                f"epilogue is true of a {self.pruner} mask of the {self.role}, expected a pruner "
                f"that looks at a group alone, and a role of {', '.join(ATTENTION_ROLES)}"
            )
        return self

    @property
    def transposed(self) -> bool:
        """Whether the mask is made across the tensor, not along its last axis."""
        return _TRANSPOSED[self.role, self.phases[0]]

    def names(self, layer: str) -> bool:
        """Whether one of the globs matches a layer's name."""
        return matches(self.layers, layer)

    def on(self, layer: str) -> Self:
        """The offer with the options of one layer."""
        own = [options for glob, options in self.by_layer.items() if matches(glob, layer)]
        if not own:
            return self
        options: Options = {}
        for more in (self.options, *own):
            options |= more
        return self.model_copy(update={"options": options})

    def why_not(self, layer: Layer | Bare) -> str:
        """Why the rule passes a layer over; "" if it does not, or there is none."""
        return self.where.why_not(layer) if self.where else ""

    def precludes(self, later: "Offer") -> bool:
        """Whether a later offer of the same role and phase can never be the first to match."""
        own = globs_of(self.layers)
        covers = "*" in own or set(globs_of(later.layers)) <= set(own)
        return covers and self.where is None


@lru_cache(maxsize=256)
def _brought(role: Role, phase: Phase, pattern: Pattern) -> Offer:
    """The offer of a mask that a workload brings: it is there before the step, which makes none."""
    return Offer(role=role, phases=(phase,), pruner="magnitude", pattern=pattern, refresh=1_000_000)


class LeaveDense(Spec):
    """Layers that nothing is pruned in, and that run in the machine's own number format.

    The first and the last layer are the network's first and last with a weight; one of repeated
    blocks is neither, and GEMMs without a network have none.
    """

    first: bool = Field(False, description="the network's first layer with a weight")
    last: bool = Field(False, description="the network's last layer with a weight")
    layers: Globs = Field((), description="glob or globs over layer names")

    def names(self, layers: Iterable[Layer | Bare]) -> frozenset[str]:
        """Names of a workload's layers that are left dense."""
        found = list(layers)
        weighted = [layer for layer in found if isinstance(layer, WeightedSpec)]
        ends = [*weighted[: int(self.first)], *weighted[len(weighted) - int(self.last) :]]
        return frozenset(
            {layer.name for layer in ends if layer.alike == 1}
            | {layer.name for layer in found if matches(self.layers, layer.name)}
        )


class Plan(Spec):
    """How masks come about over a training run, in shares of its steps.

    Dense steps, in the machine's own number format; steps that sparsify; and steps with the masks
    at their patterns, to the end.
    """

    dense: Share = Field(0.0, description="share of the run before anything is pruned")
    finetune: Share = Field(0.0, description="share of the run at its end, after sparsifying")
    sparsify: str = Field(
        "", description="mdgf-linear, mdgf-exponential, sdgf-stepwise or sdgf-geometric; none: the "
        "masks are at their patterns once the dense steps are over"
    )  # fmt: skip
    options: dict[str, int | float] = Field(
        default_factory=dict,
        description="of the schedule: beta, cutoff, k; beta's default ends the decay with the "
        "sparsifying steps",
    )
    roles: tuple[Role, ...] = Field(
        ("weight",), min_length=1, description="masks that follow it; others hold from the start"
    )

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        if self.dense + self.finetune > 1:
            raise ValueError("dense and finetune: expected shares of one run, 1 or less together")
        if self.finetune and not self.sparsify:
            raise ValueError("finetune: expected a schedule that sparsifies before it")
        try:
            self.over(Pattern(1, 4), 1000)
        except NmsimError as error:
            raise ValueError(str(error)) from error
        return self

    def over(self, pattern: Pattern, steps: int) -> Schedule:
        """The schedule of a mask over a run of so many steps; shares are rounded to steps."""
        dense = round(self.dense * steps)
        if not self.sparsify or pattern.is_dense:
            return Schedule(pattern, steps, lambda *_: State(pattern), dense)
        tail = min(round(self.finetune * steps), steps - dense)
        decays = {"beta": None} if self.sparsify.startswith("mdgf") else {}
        return schedule(
            self.sparsify,
            pattern,
            steps,
            dense_steps=dense,
            finetune_steps=tail,
            **{**decays, **self.options},
        )


class Recipe(Spec):
    """Which operands are pruned in a training step; layers without weights run dense."""

    name: str = Field("", description="filled in from the file's name")
    summary: str = Field("", description="one line")
    source: str = Field("", description="author, venue, section")
    operands: tuple[Offer, ...] = Field(description="the masks; none: everything is dense")
    leave_dense: LeaveDense = Field(LeaveDense(), description="layers that nothing is pruned in")
    formats: dict[Phase, NumberFormat] = Field(
        default_factory=dict,
        description="number format of both operands, by phase; w4a16 and w8a16 are of the weights "
        "alone, in forward; default: the machine's own",
    )
    schedule: Plan | None = Field(
        None, description="over a training run (`nmsim train`); default: masks from the first step"
    )

    def __hash__(self) -> int:
        """Of its name, as its options have none: recipes are looked up, and few share a name."""
        return hash((self.name, len(self.operands)))

    def __eq__(self, other: object) -> bool:
        """By its fields, which nobody compares with themselves."""
        return self is other or super().__eq__(other)

    @model_validator(mode="after")
    def _schedule_has_masks(self) -> Self:
        offered = {offer.role for offer in self.operands}
        for role in self.schedule.roles if self.schedule else ():
            if role not in offered:
                raise ValueError(f"schedule.roles: {role}, of which operands offer no mask")
        return self

    @model_validator(mode="after")
    def _gradients_of_what_is_pruned(self) -> Self:
        if self.leave_dense != LeaveDense() and any(one.masks_gradient for one in self.operands):
            raise ValueError("masks_gradient: expected no leave_dense beside it; name layers")
        return self

    @field_validator("formats")
    @classmethod
    def _weights_stay(cls, formats: dict[Phase, NumberFormat]) -> dict[Phase, NumberFormat]:
        for phase, name in formats.items():
            if name in WEIGHTS_ALONE and phase != "forward":
                raise ValueError(f"{phase}: {name} packs weights for inference, expected forward")
        return formats

    @model_validator(mode="after")
    def _every_offer_can_match(self) -> Self:
        for number, later in enumerate(self.operands):
            for offer in self.operands[:number]:
                shared = [phase for phase in later.phases if phase in offer.phases]
                if offer.role == later.role and shared and offer.precludes(later):
                    raise ValueError(f"two masks are offered for the {offer.role} in {shared[0]}")
        return self

    def offer_for(self, role: str, gemm: Gemm) -> Offer | None:
        """The mask that a GEMM is offered for a role: the first whose globs match its layer.

        None without one. Products of an attention have roles of their own, others not these; a
        matmul has none, as its operands are no layer's tensors.
        """
        if gemm.of_activations != (role in ATTENTION_ROLES) or gemm.kind == "matmul":
            return None
        found = (
            offer
            for offer in self.operands
            if offer.role == role and gemm.phase in offer.phases and offer.names(gemm.layer)
        )
        return next(found, None)

    @property
    def brought(self) -> bool:
        """Whether masks of it are there already, in a file of tensors."""
        return any(PRUNERS[offer.pruner].brought for offer in self.operands)

    def masks_gradient(self, layer: str) -> bool:
        """Whether the gradient of a layer's weight is pruned by its mask."""
        return any(one.masks_gradient and one.names(layer) for one in self.operands)

    def on(self, layer: Layer | Bare) -> Self:
        """The recipe as one layer meets it: without the offers whose rule passes the layer over.

        Masks that the layer's own file declares come in: at their patterns, by the recipe's pruner
        if it has one for them, by magnitude if not.
        """
        offers = self._offers(layer)
        if not any(offer.where or offer.by_layer for offer in offers):
            return self if offers is self.operands else self._with(offers)
        taken = (offer for offer in offers if not offer.why_not(layer))
        return self._with(tuple(offer.on(layer.name) for offer in taken))

    def _with(self, offers: tuple[Offer, ...]) -> Self:
        return self.model_copy(update={"operands": offers})

    def _offers(self, layer: Layer | Bare) -> tuple[Offer, ...]:
        """The recipe's offers, and those of masks that a layer's own file declares."""
        if not layer.masks:
            return self.operands
        patterns = {mask.role: mask.pattern for mask in layer.masks}
        own = [
            offer.model_copy(update={"pattern": patterns.get(offer.role, offer.pattern)})
            for offer in self.operands
        ]
        return (*own, *(_brought(*mask) for mask in layer.masks))

    def why_dense(self, layer: Layer | Bare, phase: Phase) -> str:
        """Why a phase of a layer has no mask that the recipe offers there; "" if it has one."""
        offers = [offer for offer in self._offers(layer) if phase in offer.phases]
        named = [offer for offer in offers if offer.names(layer.name)]
        if offers and not named:
            return "the recipe names no operand of this layer"
        reasons = [offer.why_not(layer) for offer in named]
        return f"left dense by the recipe: {reasons[0]}" if reasons and all(reasons) else ""

    def check_names(self, layers: Iterable[Layer | Bare]) -> None:
        """Refuse globs that match none of a workload's layers: their masks would prune nothing.

        Raises
        ------
        RecipeError
            that names the globs and some of the layers.
        """
        names = [layer.name for layer in layers]
        fields: dict[str, Globs] = {}
        for n, offer in enumerate(self.operands):
            fields[f"operands[{n}].layers"] = offer.layers
            fields |= {f"operands[{n}].by_layer": tuple(offer.by_layer)} if offer.by_layer else {}
        for field, globs in {**fields, "leave_dense.layers": self.leave_dense.layers}.items():
            wanted = globs_of(globs)
            if wanted and not any(matches(globs, name) for name in names):
                raise RecipeError(
                    f"recipe {self.name!r}, {field}: {', '.join(wanted)} matches no layer "
                    f"(they are {', '.join(names[:3])}{', ...' * (len(names) > 3)})"
                )


RECIPES: Catalog[Recipe] = Catalog("recipe", Path(__file__).parent, Recipe)
"""The recipes that ship with nmsim."""


def load_recipe(name: str | Path | Recipe) -> Recipe:
    """A recipe by name or from a YAML file; a recipe is itself.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist or a file that does not describe a recipe.
    """
    if isinstance(name, Recipe):
        read_plugins(offer.plugin for offer in name.operands if offer.plugin)
        return name
    return _loaded(str(name))


@once_per_content
def _loaded(name: str) -> Recipe:
    path = RECIPES.path(name)
    recipe = validate(Recipe, _with_plugins(RECIPES.document(name), path.parent), str(path))
    return recipe.model_copy(update={"name": recipe.name or path.stem})


def _with_plugins(document: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The fields of a recipe with the files of pruners, which are named from its own folder."""
    offers = document.get("operands")
    if not isinstance(offers, Sequence) or isinstance(offers, str):
        return document
    return {**document, "operands": [_from(offer, folder) for offer in offers]}


def _from(offer: Any, folder: Path) -> Any:
    named = offer.get("pruner") if isinstance(offer, Mapping) else None
    if not isinstance(named, str) or not named.endswith(".py"):
        return offer
    return {**offer, "pruner": str(folder / named)}
