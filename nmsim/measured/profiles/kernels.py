"""A kernel of a profiler's export: its time, and what its name and its launch say of a GEMM.

Names are those of cuBLAS (``ampere_bf16_s16816gemm_bf16_128x256_ldg8_f2f_stages_64x3_tn``), CUTLASS
(``cutlass_80_tensorop_bf16_s16816gemm_bf16_256x128_32x3_tn_align8``), XMMA
(``sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_...``) and nvJet; they tell a tile,
whose sides are those of C or of its transpose, as libraries of columns have it.
"""

import math
import re
from dataclasses import dataclass

__all__ = ["KernelRun", "Size"]

Size = tuple[int, int, int, int]
"""M, N, K and copies of a GEMM."""

_GEMM = re.compile(
    r"gemm|gemv|xmma|wgmma|nvjet|cutlass|marlin|spatha|spmma|_conv|fprop|dgrad|wgrad|tensorop",
    re.IGNORECASE,
)
_HELPER = re.compile(r"splitk_?reduce|reduce_?splitk|splitKreduce", re.IGNORECASE)
_TILE = re.compile(r"(?:tilesize|tile|_)(\d{2,3})x(\d{2,3})(?=x|_|$|\W)", re.IGNORECASE)


@dataclass(frozen=True)
class KernelRun:
    """A kernel that ran, or several of one name that an export adds up.

    Parameters
    ----------
    name
        As the profiler has it.
    us
        Microseconds of a call, the mean of several.
    where
        Line or event of the export, for messages.
    calls
        How many there are.
    blocks
        Threadblocks of a call; None where the export does not tell.
    operation
        That launched it, such as ``aten::mm``; "": not told.
    size
        Of the GEMM by that operation's shapes; None: not told.
    """

    name: str
    us: float
    where: str
    calls: int = 1
    blocks: int | None = None
    operation: str = ""
    size: Size | None = None

    @property
    def reduces(self) -> bool:
        """Whether it adds up the parts of a split K, for the kernel before it."""
        return bool(_HELPER.search(self.name))

    @property
    def multiplies(self) -> bool:
        """Whether it is a GEMM, by the shapes of its operation or by its name."""
        told = self.size is not None or bool(_GEMM.search(self.name))
        return told and not self.reduces

    @property
    def tile(self) -> tuple[int, int] | None:
        """Both sides of its tile of C, in no order, by its name; None: it does not tell."""
        found = _TILE.search(self.name)
        return None if found is None else (int(found[1]), int(found[2]))

    def covers(self, m: int, n: int, copies: int) -> bool:
        """Whether its threadblocks are those of its tile over a C, K in parts or not."""
        if self.tile is None or self.blocks is None:
            return False
        for rows, cols in (self.tile, self.tile[::-1]):
            tiles = math.ceil(m / rows) * math.ceil(n / cols) * copies
            if self.blocks % tiles == 0 and self.blocks // tiles <= _PARTS:
                return True
        return False


_PARTS = 32
"""Parts of K that a library makes at most."""
