"""Engines, as ``nmsim list engines`` and ``nmsim show engines NAME`` tell of them."""

import sys

from nmsim.machines import ENGINES
from nmsim.registry import Facts, Listing

__all__ = ["LISTING"]


def _facts(name: str) -> Facts:
    engine = ENGINES[name]
    module = sys.modules[engine.simulate.__module__]
    return [
        ("name", name),
        ("summary", engine.summary),
        ("definition", " ".join((module.__doc__ or "").split())),
    ]


LISTING = Listing(lambda: ENGINES, lambda name: ENGINES[name].summary, _facts)
