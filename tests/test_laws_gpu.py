"""Laws that hold for GEMMs that nobody has measured, on every GPU, in both fidelities.

At equal alignment more work is not done sooner; nothing is faster than bytes over bandwidth or
MACs over the peak; and the two fidelities, which share no formula for time, stay within a band.
"""

import os

import numpy as np
import pytest

from nmsim import Gemm, simulate
from nmsim.machines import HARDWARE, load_hardware
from nmsim.machines.gpu import analytical, cycle
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import Call
from nmsim.mask import SparseGemm, dense_mask
from nmsim.pattern import Pattern
from test_monotone_gpu import held, held_us, size, some

# Cases of the fast tests and of the slow ones; by hand NMSIM_DRAWN_GPUS=20000 takes longer.
FEW, MANY = 100, int(os.environ.get("NMSIM_DRAWN_GPUS", "1000"))
UNIT = 16
"""Elements to which all sizes are aligned: 16 of 8 bits, and so 8 of 16."""
MODELS = {"analytical": analytical, "cycle": cycle}
GPUS = [name for name in HARDWARE if isinstance(load_hardware(name), Gpu)]
