"""Pruners, as ``nmsim list pruners`` and ``nmsim show pruners NAME`` tell of them."""

from nmsim.pruning import PRUNERS, pruner_name, read_plugins
from nmsim.registry import Facts, Listing

__all__ = ["LISTING", "read_plugins"]


def _facts(name: str) -> Facts:
    name = pruner_name(name)
    pruner, origin = PRUNERS[name], PRUNERS.origin(name)
    return [
        ("name", name),
        *([("file", origin.file)] if origin else []),
        ("summary", pruner.summary),
        ("source", pruner.source),
        ("draws at random", str(pruner.stochastic)),
        ("transposable", str(pruner.transposable)),
        ("keeps exactly N", str(pruner.regular)),
        ("asks for", ", ".join(pruner.wants) or "the values alone"),
        ("options", ", ".join(f"{one}={value}" for one, value in pruner.options.items()) or "none"),
        ("definition", " ".join((pruner.fill.__doc__ or "").split())),
    ]


LISTING = Listing(lambda: PRUNERS, lambda name: PRUNERS[name].summary, _facts)
