"""When does 2:4 pay on an A100: a notebook of the handbook."""
# %% [markdown]
# # When does 2:4 pay on an A100?
#
# One linear layer of 4096 inputs and outputs, from one token to 8192. With few tokens the layer reads weights, with many it multiplies.

# %%
import pandas as pd

import nmsim

tokens = [1, 16, 128, 512, 1024, 2048, 4096, 8192]
rows = {}
for m in tokens:
    found = nmsim.simulate(
        f"gemm:{m}x4096x4096",
        recipe="asp",
        pattern="2:4",
        hardware="a100-sxm4-80gb",
        fidelity="analytical",
    )
    rows[m] = found.rows.iloc[0]
pd.DataFrame(rows).T[["dense_time_us", "time_us", "speedup", "bound", "kernel", "evidence"]]

# %% [markdown]
# `bound` says what binds the GEMM. `evidence` says how near measured times a row stands: few measured 2:4 kernels are public, and
# none of the fastest library here is like these GEMMs, so all are `beyond`.
#
# By default each GEMM runs on the fastest kernel of any library, and stays dense where that is faster. A stack says what calls the GPU instead.

# %%
pd.Series(
    {
        stack: nmsim.simulate(
            "gemm:2048x4096x4096",
            recipe="asp",
            pattern="2:4",
            hardware="a100-sxm4-80gb",
            fidelity="analytical",
            stack=stack,
        ).speedup
        for stack in ("best", "pytorch", "xformers")
    },
    name="speed-up of 2048 tokens",
).round(2)
