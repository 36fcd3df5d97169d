"""Trees that are grown one after another, each on what the ones before have left: boosting.

Each tree is an extremely randomised one (the best of thresholds that are drawn, one a feature;
Geurts, Ernst, Wehenkel, Machine Learning 63, 2006), grown on a share of the rows (stochastic
gradient boosting; Friedman, Computational Statistics & Data Analysis 38, 2002). What is left counts
up to a bound only, as in Huber's loss, so that a few odd rows do not rule.

Trees are grown by scikit-learn (extra ``calibrate``), so this module is imported through
``nmsim.extras`` alone.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import ExtraTreeRegressor

from nmsim.residual.trees import Grown, Growth

__all__ = ["grow"]


def grow(
    features: NDArray[np.float32],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    growth: Growth,
    seed: int,
) -> list[Grown]:
    """Trees whose sum, times the rate, is near the target.

    Parameters
    ----------
    features, target, weight
        Rows x features, and of each row what is to be learned and how much it counts.
    growth
        How many trees, and how each is grown.
    seed
        Of the rows that each tree sees, and of thresholds.
    """
    draw = np.random.default_rng(seed)
    said = np.zeros(len(target))
    grown = []
    for _ in range(growth.trees):
        own = draw.choice(len(target), max(1, int(growth.share * len(target))), replace=False)
        left = np.clip(target[own] - said[own], -growth.bound, growth.bound)
        fitted = ExtraTreeRegressor(
            max_depth=growth.depth,
            min_samples_leaf=growth.least,
            random_state=int(draw.integers(2**31)),
        ).fit(features[own], left, sample_weight=weight[own])
        said += growth.rate * fitted.predict(features)
        tree = fitted.tree_
        grown.append(
            Grown(
                tree.children_left,
                tree.children_right,
                tree.feature,
                tree.threshold,
                tree.value[:, 0, 0],
            )
        )
    return grown
