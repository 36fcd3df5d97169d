"""The page of a recipe of the catalog."""

from page_parts import bullets, command, comment, plain, table

from nmsim.cli.listings import LISTINGS
from nmsim.gemm import PHASES
from nmsim.recipes.recipe import RECIPES, Recipe, load_recipe

__all__ = ["recipe_page"]

HELD = """A recipe is a declaration: tests hold that its masks obey the pattern along K in each
phase that it offers them in. Statements of its paper stand beside what nmsim computes where a
report below runs it."""
ACCURACY = """accuracy: nmsim says what hardware gains, not what the trained network is worth; that
  is what the source measured"""


def recipe_page(name: str) -> list[str]:
    """What it is, from where, what it was measured against, what it is not good for."""
    recipe = load_recipe(name)
    facts = LISTINGS["recipes"].facts(name)
    shown = [each for each in facts if each[0] not in ("name", "summary", "source")]
    offers = [offer for offer in recipe.operands if not offer.withheld]
    gains = {phase for offer in offers for phase in offer.phases}
    idle = [phase for phase in PHASES if phase not in gains]
    nothing = f"gains in {' and '.join(idle)}: it offers hardware no mask there"
    return [
        *comment(RECIPES.path(name)),
        table(shown, ("operand", "pruner, pattern, phases")),
        "## From where",
        f"{plain(recipe.source)}." if recipe.source else "A reading of our own.",
        "## What it was measured against",
        HELD,
        "## What it is not good for",
        bullets([*([nothing] if idle else []), ACCURACY]),
        "## Run it",
        command(f"nmsim simulate {_usual(recipe)} --recipe {name} --hardware ideal"),
    ]


def _usual(recipe: Recipe) -> str:
    """A network that a recipe prunes something of, and the tensors if it wants them."""
    layers = any(offer.layers != "*" for offer in recipe.operands)
    given = any(offer.pruner == "given" for offer in recipe.operands)
    network = "vit-b16" if layers else "resnet18"
    return f"{network} --tensors weights.safetensors" if given else network
