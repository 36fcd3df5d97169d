"""How large an array should be: a notebook of the handbook."""
# %% [markdown]
# # How large should an array be?
#
# A larger array does more in a cycle and waits longer to be filled. This notebook varies the side of a square array with 2:4 selectors
# under one layer of a ResNet, and looks where the cycles go.

# %%
import pandas as pd

import nmsim

sides = [16, 32, 64, 128, 256]
found = {
    side: nmsim.simulate(
        "resnet18",
        recipe="asp",
        pattern="2:4",
        batch=4,
        layers="layer3.1.conv1",
        phases="forward",
        hardware=nmsim.load_hardware("systolic-128x128-2to4", rows=side, cols=side),
    ).rows.iloc[0]
    for side in sides
}
parts = ["useful_cycles", "ragged_cycles", "fill_cycles", "preload_cycles", "dram_wait_cycles"]
pd.DataFrame(found).T[["cycles", "speedup", "utilization", *parts]]

# %% [markdown]
# The parts add up to the cycles, with those that are zero here. Filling takes a larger share of the cycles the larger the array is.

# %%
share = pd.DataFrame(found).T
(share["fill_cycles"] / share["cycles"]).astype(float).round(3).rename("share of filling")

# %% [markdown]
# Whether selectors pay is a question of area as well: `nmsim cost` counts what a PE takes beside its dense twin.
