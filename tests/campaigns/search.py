"""Does a search find the front of a space, and sooner than points that are drawn at random?

``python tests/campaigns/search.py [--seeds 10] [--trials 1000] [--samplers nsga2 tpe]``; about
eight minutes on two cores. All 20,000 arrays of a space run one GEMM (time against what the array
is made of). Then each search tries some of them, from each seed, and as many are drawn. The line
gives the median share of the whole space's hypervolume, objectives on logarithmic axes between the
best and the worst of the space. A search must reach 98 %, and more than points at random.
"""

import argparse
import math
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from environment import report

from nmsim.run.experiment import Experiment, Judge, Planner, planned
from nmsim.run.search import begun, search
from nmsim.run.search.study import Study
from nmsim.run.store import Store
from nmsim.run.sweep import sweep
from nmsim.run.workers import LocalPool
from nmsim.spec import validate

MADE_OF = "rows * cols / 16 + sram.a_kib + sram.b_kib + 4 * dram.gbps"

SPACE = {
    "title": "arrays",
    "model": "gemm:1024x1024x1024",
    "recipe": "asp",
    "hardware": "systolic-128x128-flexible",
    "fidelity": "analytical",
    "keep": "totals",
    "vary": {
        "pattern": ["1:4", "2:4"],
        "rows": {"from": 16, "to": 160, "step": 16},
        "cols": {"from": 16, "to": 160, "step": 16},
        "sram.a_kib": {"from": 32, "to": 512, "points": 5, "scale": "log"},
        "sram.b_kib": {"from": 32, "to": 512, "points": 5, "scale": "log"},
        "dram.gbps": {"from": 12.5, "to": 100, "points": 4, "scale": "log"},
    },
}

REACHED = 0.98
"""Of the hypervolume of the whole space, at least."""


def space_of(vary, **asked):
    """A search of a space, from which `search: null` makes all of it."""
    objectives = {"time_us": "minimize", MADE_OF: "minimize"}
    searched = {"trials": 1, "objectives": objectives, **asked}
    return validate(Experiment, {**SPACE, "vary": vary, "search": searched}, "space")


def everything(vary, folder, workers):
    """Run a whole space into the store of a folder; objectives of each combination, in 0 to 1."""
    searched = space_of(vary)
    plan = planned(searched.model_copy(update={"search": None}))
    with Store.opened(folder) as store, LocalPool(workers) as pool:
        store.begin(plan, "campaign")
        for _ in sweep(store, plan, pool, workers):
            pass
        judge = Judge(searched.search, plan.grid)
        found = [judge(place, row).values for place, row in store.points(range(len(plan.places)))]
    logs = np.log([values or (math.nan, math.nan) for values in found])
    best, worst = np.nanmin(logs, axis=0), np.nanmax(logs, axis=0)
    return (logs - best) / (worst - best)


def searched(vary, folder, **asked):
    """Combinations that a search tries in a folder whose store knows all of them."""
    experiment = space_of(vary, **asked)
    planner = Planner(experiment)
    covering = planner.covering()
    with Store.opened(folder) as store, Study.opened(folder, covering) as study:
        plan = begun(planner, study)
        store.begin(plan, "campaign")
        for _ in search(store, planner, plan, study, None, 1):
            raise SystemExit("a point that is stored was run again")
        return study.numbers


def volume(values):
    """Area below 1, 1 that points dominate; those that are not a number do not count."""
    area, lowest = 0.0, 1.0
    for one, other in sorted(map(tuple, values[~np.isnan(values).any(axis=1)])):
        if other < lowest:
            area += (1 - one) * (lowest - other)
            lowest = other
    return area


def shares(values, tried):
    """Share of the whole space's hypervolume that each list of combinations has."""
    whole = volume(values)
    return [volume(values[numbers]) / whole for numbers in tried]


def main():
    """Run the campaign and print one line, after what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--samplers", nargs="*", default=["nsga2"])
    asked = parser.parse_args()
    vary, told, wrong = SPACE["vary"], [], []
    with tempfile.TemporaryDirectory(prefix="search-") as name:
        values = everything(vary, Path(name), 2)
        drawn = [
            np.random.default_rng(seed).permutation(len(values)) for seed in range(asked.seeds)
        ]
        random = median(shares(values, [one[: asked.trials] for one in drawn]))
        for sampler in asked.samplers:
            tried = [
                searched(vary, Path(name), sampler=sampler, seed=seed, trials=asked.trials)
                for seed in range(asked.seeds)
            ]
            wrong += [f"{sampler}: tried one twice" for one in tried if len({*one}) < len(one)]
            found = shares(values, tried)
            told.append(f"{sampler} {median(found):.2%} (least {min(found):.2%})")
            if median(found) < max(REACHED, random):
                wrong.append(f"{sampler} reaches {median(found):.2%}, expected {REACHED:.0%}")
    many = f"{asked.trials:,} of {len(values):,} points, median of {asked.seeds} seeds"
    report(f"{many}: {', '.join(told)} of the hypervolume, at random {random:.2%}", tuple(wrong))


if __name__ == "__main__":
    main()
