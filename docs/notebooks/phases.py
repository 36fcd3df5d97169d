"""What 2:4 gains in each phase: a notebook of the handbook."""
# %% [markdown]
# # What 2:4 gains in each phase
#
# Training multiplies three times for every layer, and the axis that N:M groups lie along is another one each time.
# This notebook runs four recipes of the literature on one network and one array, and draws what each phase gains.

# %%
import pandas as pd

import nmsim

# %% [markdown]
# `nmsim.simulate` takes a network, a recipe and a machine by their names, and gives a table with one row for each GEMM.

# %%
asp = nmsim.simulate("resnet18", recipe="asp", pattern="2:4", batch=8, fidelity="analytical")
asp[["layer", "phase", "m", "n", "k", "speedup"]].head(6)

# %% [markdown]
# The totals of a phase are in `total`. `speedup` is of GEMMs, `step_speedup` of the step with all that stands beside them.

# %%
recipes = ["asp", "transposable", "transposable+mvue", "fst"]
found = {
    recipe: nmsim.simulate("resnet18", recipe=recipe, pattern="2:4", batch=8, fidelity="analytical")
    for recipe in recipes
}
phases = ["forward", "backward", "update", "all"]
gained = pd.DataFrame(
    {recipe: [one.total[phase]["speedup"] for phase in phases] for recipe, one in found.items()},
    index=phases,
)
gained.round(2)

# %% [markdown]
# A mask for forward alone leaves backward and update at exactly 1. Each further recipe adds a phase.
#
# The figure of a result is a plotly figure, to be changed and saved as any other.

# %%
found["fst"].plot.speedup()
