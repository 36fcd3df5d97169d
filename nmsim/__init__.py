"""What hardware gains when tensors are pruned N:M, in each phase of training.

>>> import nmsim
>>> table = nmsim.simulate("resnet18", recipe="asp", pattern="2:4", layers="layer1.0.conv1")
>>> table[["phase", "speedup"]].round(2).values.tolist()
[['forward', 1.67], ['backward', 1.0], ['update', 1.0]]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmsim.errors import NmsimError
    from nmsim.gemm import Gemm
    from nmsim.importers import torch
    from nmsim.machines import load_hardware
    from nmsim.mask import Mask, SparseGemm
    from nmsim.network.catalog import load_model
    from nmsim.pattern import Pattern
    from nmsim.pruning import prune
    from nmsim.recipes import schedules, statistics
    from nmsim.report.results import load_results
    from nmsim.report.simulation import simulate
    from nmsim.run.memory import memory_footprint
    from nmsim.run.serving import serve
    from nmsim.run.trace import Trace
    from nmsim.run.training import train

    __version__: str

__all__ = [
    "Gemm",
    "Mask",
    "NmsimError",
    "Pattern",
    "SparseGemm",
    "Trace",
    "load_hardware",
    "load_model",
    "load_results",
    "memory_footprint",
    "prune",
    "schedules",
    "serve",
    "simulate",
    "statistics",
    "torch",
    "train",
]

_HOMES = {
    "Gemm": "nmsim.gemm",
    "Mask": "nmsim.mask",
    "SparseGemm": "nmsim.mask",
    "Trace": "nmsim.run.trace",
    "NmsimError": "nmsim.errors",
    "Pattern": "nmsim.pattern",
    "load_hardware": "nmsim.machines",
    "load_model": "nmsim.network.catalog",
    "load_results": "nmsim.report.results",
    "memory_footprint": "nmsim.run.memory",
    "prune": "nmsim.pruning",
    "serve": "nmsim.run.serving",
    "simulate": "nmsim.report.simulation",
    "train": "nmsim.run.training",
}


def _found(name: str) -> Any:
    # Names are found when first used: importing pandas and numba takes most of a second, and a
    # command that is interrupted meanwhile must be able to say so.
    if name == "__version__":
        return import_module("importlib.metadata").version("nmsim")
    if name == "torch":
        return import_module("nmsim.importers.torch")
    if name in ("schedules", "statistics"):
        return import_module(f"nmsim.recipes.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nmsim' has no attribute {name!r}")


if not TYPE_CHECKING:
    # A type checker that knew of it would let any name pass: nmsim.simulates too.
    __getattr__ = _found


def __dir__() -> list[str]:
    # What this module needs itself (import_module, the names of homes) is no part of its face.
    return sorted([*__all__, "__version__"])
