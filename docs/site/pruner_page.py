"""The page of a pruner of the catalog."""

from collections.abc import Iterator

from page_parts import bullets, plain, table

from nmsim.cli.listings import LISTINGS
from nmsim.pruning import PRUNERS, Pruner

__all__ = ["pruner_page"]

LEFT = ("name", "summary", "source", "definition")
HELD = """Tests hold every pruner to what it promises, over patterns, shapes, number types and short
last groups, and against an oracle in plain Python or another derivation. The report on pruning
(`reports/pruning`) draws the algorithms beside what their papers print."""
CODE = """```python
import numpy as np

import nmsim

values = np.random.default_rng(0).normal(size=(8, 16))
nmsim.prune(values, "2:4", "{name}").mask
```"""


def pruner_page(name: str) -> list[str]:
    """What it is, from where, what it was measured against, what it is not good for."""
    pruner = PRUNERS[name]
    facts = LISTINGS["pruners"].facts(name)
    return [
        f"{plain(dict(facts)['definition'])}.",
        table(each for each in facts if each[0] not in LEFT),
        "## From where",
        f"{plain(pruner.source)}.",
        "## What it was measured against",
        HELD,
        "## What it is not good for",
        bullets(_not_for(pruner)),
        *([] if pruner.wants or name == "given" else ["## Run it", CODE.format(name=name)]),
    ]


def _not_for(pruner: Pruner) -> Iterator[str]:
    if not pruner.transposable:
        yield """one mask in two phases: its transpose is in general not N:M along the other phase's
  K ([concepts](../../concepts/nm.md))"""
    if not pruner.structured:
        yield "N:M hardware: its masks promise no pattern"
    if pruner.stochastic:
        yield "a single draw as a result: it draws anew by seed, phase and step"
    if pruner.wants:
        yield f"values alone: it asks for {', '.join(pruner.wants)}, drawn where a run has none"
    if pruner.rescales:
        yield "keeping values as they are: it changes those that it keeps"
    yield "what a network is worth that was trained under it: nmsim trains nothing"
