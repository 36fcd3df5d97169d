"""The page of a network of the catalog."""

from page_parts import bullets, command, comment, plain, table

from nmsim.cli.listings import LISTINGS
from nmsim.measured.steps.tables import shipped_steps
from nmsim.network.catalog import MODELS

__all__ = ["network_page"]

OWN = ("implementation", "also called", "layers", "weights", "forward MACs")
PRINTED = ("published parameters", "published MACs", "published by", "parameters elsewhere")
ADDED_UP = """Tests add its layers up: they equal what was published, parameters exactly and MACs
within the rounding of the printed figure."""
UNPRINTED = "Nobody prints its parameters or MACs; tests hold them against a closed form."
NOT_FOR = (
    "other implementations of the same name: layers are those of the implementation above",
    """work beside its GEMMs to better than an estimate: norms, activations and the optimizer are
  charged by their bytes ([beside the GEMMs](../../step.md#what-is-no-gemm))""",
)


def network_page(name: str) -> list[str]:
    """What it is, from where, what it was measured against, what it is not good for."""
    facts = LISTINGS["models"].facts(name)
    printed = [each for each in facts if each[0] in PRINTED]
    steps = [one for one in shipped_steps() if one.network == name]
    unmeasured = [] if steps else ["whole steps: no measured step of it ships with nmsim"]
    return [
        table(each for each in facts if each[0] in OWN),
        f"All GEMMs: `nmsim show models {name}`.",
        *comment(MODELS.path(name)),
        "## From where",
        f"{plain(dict(facts)['source'])}.",
        "## What it was measured against",
        *([ADDED_UP, table(printed)] if printed else [UNPRINTED]),
        *([_steps([one.hardware for one in steps])] if steps else []),
        "## What it is not good for",
        bullets([*NOT_FOR, *unmeasured]),
        "## Run it",
        command(
            f"nmsim simulate {name} --recipe asp --hardware a100-sxm4-80gb --fidelity analytical"
        ),
    ]


def _steps(machines: list[str]) -> str:
    """How many measured steps there are, by the machines that they ran on."""
    return (
        f"{len(machines)} measured steps of it on {', '.join(sorted(set(machines)))} ship with "
        "nmsim (`nmsim validate --steps`; [how near](../../step.md#how-near))."
    )
