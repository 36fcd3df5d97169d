"""What hardware gains when tensors are pruned N:M, in each phase of training.

>>> import nmsim
>>> table = nmsim.simulate("resnet18", recipe="asp", pattern="2:4", layers="layer1.0.conv1")
>>> table[["phase", "speedup"]].round(2).values.tolist()
[['forward', 1.56], ['backward', 1.0], ['update', 1.0]]
"""

from importlib.metadata import version

from nmsim import schedules, statistics
from nmsim.errors import NmsimError
from nmsim.experiment import simulate
from nmsim.gemm import Gemm
from nmsim.hardware import load_hardware
from nmsim.network import load_model
from nmsim.pattern import Pattern
from nmsim.pruning import prune

__all__ = [
    "Gemm",
    "NmsimError",
    "Pattern",
    "load_hardware",
    "load_model",
    "prune",
    "schedules",
    "simulate",
    "statistics",
]

__version__ = version("nmsim")
