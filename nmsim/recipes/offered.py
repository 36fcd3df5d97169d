"""Which tensors of a layer a recipe prunes, and that a source of values has them."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import lru_cache

from nmsim.network.layer import Bare, Layer, lowered
from nmsim.network.lowering import Lowering
from nmsim.network.operand import Lowered, Role
from nmsim.pruning import PRUNERS
from nmsim.recipes.recipe import Offer
from nmsim.recipes.setting import Setting

__all__ = ["check_weights", "lowered_once", "pruned_roles"]


def check_weights(layers: Iterable[Layer | Bare], setting: Setting) -> None:
    """Refuse now what could not be read later of the weights that a recipe prunes."""
    made: list[Layer | Bare] = []
    brought: list[Layer | Bare] = []
    for layer in layers:
        offers = (offer for offer in _offers_on(layer, setting) if offer.role == "weight")
        pruners = [PRUNERS[offer.pruner] for offer in offers]
        if any(pruner.brought for pruner in pruners):
            brought.append(layer)
        if not all(pruner.brought for pruner in pruners):
            made.append(layer)
    setting.tensors.check(made, "weight", setting.batch)
    setting.tensors.masks.check(brought, "weight", setting.batch)


def _offers_on(layer: Layer | Bare, setting: Setting) -> Iterator[Offer]:
    """The masks that a recipe offers of a layer's tensors, in whatever phase."""
    own = setting.recipe.on(layer)
    for one in lowered_once(layer, setting.batch, setting.lowering):
        for operand in (one.a, one.b):
            offer = own.offer_for(operand.tensor, one.gemm)
            if offer is not None:
                yield offer


def pruned_roles(
    layers: Iterable[Layer | Bare], setting: Setting, names: str = "*"
) -> dict[str, frozenset[Role]]:
    """Which of its tensors a recipe prunes of each layer that a glob names; of most layers none."""
    whole = list(layers)
    left = setting.recipe.leave_dense.names(whole)
    return {
        layer.name: frozenset(offer.role for offer in _offers_on(layer, setting))
        for layer in whole
        if fnmatchcase(layer.name, names) and (layer.name not in left or layer.masks)
    }


@lru_cache(maxsize=1024)
def lowered_once(layer: Layer | Bare, batch: int, lowering: Lowering) -> tuple[Lowered, ...]:
    """A layer's GEMMs, made once for a run's rows and for its memory."""
    return tuple(lowered(layer, batch, lowering))
