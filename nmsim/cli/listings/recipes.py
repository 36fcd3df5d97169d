"""Recipes, as ``nmsim list recipes`` and ``nmsim show recipes NAME`` tell of them."""

from nmsim.recipes.recipe import RECIPES, Offer, Plan, load_recipe
from nmsim.registry import Facts, Listing

__all__ = ["LISTING"]


def _facts(name: str) -> Facts:
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


LISTING = Listing(lambda: RECIPES, lambda name: load_recipe(name).summary, _facts)
