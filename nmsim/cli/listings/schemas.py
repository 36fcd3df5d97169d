"""Schemas of the YAML files, as ``nmsim show schema KIND`` prints them."""

import json

from pydantic import BaseModel

from nmsim.cli.listings import plural
from nmsim.cli.listings.hardware import machine_schema
from nmsim.cost.technology import Technology
from nmsim.machines import KINDS
from nmsim.network.catalog import Network
from nmsim.recipes.recipe import Recipe
from nmsim.registry import unknown_name
from nmsim.run.experiment import Experiment

__all__ = ["SCHEMAS", "schema"]

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


def schema(kind: str) -> str:
    """The JSON Schema of a kind's YAML file; of "hardware", one for every kind of machine."""
    if kind == "hardware":
        return json.dumps(machine_schema(*KINDS), indent=2)
    known = next((one for one in SCHEMAS if one in (kind, plural(kind)) or kind == plural(one)), "")
    if not known:
        raise unknown_name("schema", kind, [*SCHEMAS, "hardware"])
    found = machine_schema(known) if known in KINDS else SCHEMAS[known].model_json_schema()
    return json.dumps(found, indent=2)
