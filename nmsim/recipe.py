"""Training recipes: which operand is pruned by what, and in which phases its mask is offered.

A recipe names roles and phases; which axis of which tensor that prunes follows from the lowering.
One mask offered in two phases must obey the pattern along K of both: a mask of weights made for
forward (along inputs) does so in backward (along outputs) only if its pruner is transposable.
Anything else is refused when the mask is made, unless the recipe says ``allow_unfit: true``.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from nmsim.errors import UnknownName
from nmsim.gemm import Phase
from nmsim.operand import OPERANDS, Role
from nmsim.pattern import PatternField
from nmsim.pruning import PRUNERS
from nmsim.registry import unknown_name
from nmsim.spec import Catalog, Spec

__all__ = ["RECIPES", "Offer", "Recipe", "load_recipe"]

_TRANSPOSED = {
    (operand.tensor, phase): operand.transposed
    for phase, operands in OPERANDS.items()
    for operand in operands
}
"""Whether K of a phase runs across a role's tensor (True) or along its last axis (False)."""


class Offer(Spec):
    """One mask: what it prunes, how, and the phases that it is offered in."""

    role: Role = Field(description="what the pruned tensor is to the layer")
    phases: tuple[Phase, ...] = Field(
        min_length=1, description="where the mask is offered; it is made along K of the first"
    )
    pruner: str = Field(description="from `nmsim list pruners`")
    options: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="of the pruner: `nmsim show pruners NAME`"
    )
    pattern: PatternField | None = Field(None, description="default: the run's --pattern")
    relu: bool = Field(False, description="set negative activations to zero before pruning")
    refresh: Annotated[int, Field(ge=1)] = Field(
        1, description="training steps between two makings of the mask, which share its cost"
    )
    allow_unfit: bool = Field(
        False, description="offer the mask even where it breaks the pattern along K"
    )

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
        for name in self.options:
            if name not in pruner.options:
                raise ValueError(str(unknown_name("option", name, pruner.options)))
        for phase in self.phases:
            if (self.role, phase) not in _TRANSPOSED:
                raise ValueError(f"{self.role} is no operand of the {phase} GEMM")
        if self.relu and self.role != "activation":
            raise ValueError(f"relu is for activations, not for the {self.role}")
        axes = {_TRANSPOSED[self.role, phase] for phase in self.phases}
        if len(axes) > 1 and not pruner.metadata:
            raise ValueError(f"a {self.pruner} mask is made for K of one axis: offer one per phase")
        return self

    @property
    def transposed(self) -> bool:
        """Whether the mask is made across the tensor, not along its last axis."""
        return _TRANSPOSED[self.role, self.phases[0]]


class Recipe(Spec):
    """Which operands are pruned in a training step; layers without weights run dense."""

    name: str = Field("", description="filled in from the file's name")
    summary: str = Field(description="one line")
    source: str = Field(description="author, venue, section")
    operands: tuple[Offer, ...] = Field(description="the masks; none: everything is dense")

    @model_validator(mode="after")
    def _one_mask_each(self) -> Self:
        seen = set()
        for offer in self.operands:
            for phase in offer.phases:
                if (offer.role, phase) in seen:
                    raise ValueError(f"two masks are offered for the {offer.role} in {phase}")
                seen.add((offer.role, phase))
        return self


RECIPES: Catalog[Recipe] = Catalog("recipe", Path(__file__).parent / "recipes", Recipe)
"""The recipes that ship with nmsim."""


def load_recipe(name: str | Path) -> Recipe:
    """A recipe by name or from a YAML file.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist or a file that does not describe a recipe.
    """
    recipe = RECIPES.load(name)
    return recipe.model_copy(update={"name": recipe.name or RECIPES.path(name).stem})
