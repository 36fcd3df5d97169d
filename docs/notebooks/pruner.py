"""A pruner of one's own, and masks that meet: a notebook of the handbook."""
# %% [markdown]
# # A pruner of one's own
#
# A pruner is a function that fills a block's mask. Registered in a cell, it can be named like those that ship.

# %%
import numpy as np

import nmsim
from nmsim.pruning import Block, pruner
from nmsim.pruning.magnitude import keep_largest


@pruner("cubed", summary="by a power of magnitudes", source="an example", regular=True)
def cubed(block: Block, *, power: float = 3.0) -> None:
    """Keep the N largest |w|^power of every group; ties keep the lowest index."""
    keep_largest(block, np.abs(block.values) ** power)


weights = np.random.default_rng(0).normal(size=(256, 256))
nmsim.prune(weights[:2, :8], "2:4", "cubed").mask.astype(int)

# %% [markdown]
# How much magnitude do masks keep? A transposable mask has to fit rows and columns, and keeps less.

# %%
names = ["cubed", "magnitude", "transposable", "transposable-greedy", "sequential", "random"]
whole = np.abs(weights).sum()
for name in names:
    mask = nmsim.prune(weights, "2:4", name).mask
    print(f"{name:20} {nmsim.statistics.retained_l1(weights, mask) / whole:.3f}")

# %% [markdown]
# The same mask, as work for a machine. `Mask` checks what it promises.

# %%
mask = nmsim.prune(weights, "2:4", "cubed").mask
work = nmsim.SparseGemm(
    nmsim.Gemm(512, 256, 256), nmsim.Mask.dense(512, 256), nmsim.Mask(mask, "2:4")
)
result = nmsim.simulate([work])
result.speedup

# %% [markdown]
# A mask that breaks its promise is refused, with the first group that does.

# %%
mask[3, 4:8] = True
try:
    nmsim.Mask(mask, "2:4")
except nmsim.NmsimError as error:
    print(error)
