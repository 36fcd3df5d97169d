"""Trees that are grown one after another, each on what the ones before have left: boosting.

Each tree is an extremely randomised one (the best of thresholds that are drawn, one a feature;
Geurts, Ernst, Wehenkel, Machine Learning 63, 2006), grown on a share of the rows (stochastic
gradient boosting; Friedman, Computational Statistics & Data Analysis 38, 2002). What is left counts
up to a bound only, as in Huber's loss, so that a few odd rows do not rule.

Half of the trees are others: the best of all thresholds among 256 of a feature, looked for in
histograms (Friedman, Annals of Statistics 29, 2001; Ke et al., LightGBM, NeurIPS 2017), for the
median of what is left instead of its mean. What the two kinds make of the same rows differs where
neither knows, and their mean is nearer than either.

Trees are grown by scikit-learn (extra ``calibrate``), so this module is imported through
``nmsim.extras`` alone.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.tree import ExtraTreeRegressor
from threadpoolctl import threadpool_limits

from nmsim.residual.trees import Grown, Growth, Histograms

__all__ = ["grow_by_histograms", "grow_randomised"]


def grow_randomised(
    features: NDArray[np.float32],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    growth: Growth,
    seed: int,
) -> list[Grown]:
    """Extremely randomised trees whose sum is near the target.

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
                growth.rate * tree.value[:, 0, 0],
            )
        )
    return grown


def grow_by_histograms(
    features: NDArray[np.float32],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    growth: Histograms,
    seed: int,
) -> list[Grown]:
    """Trees of the best thresholds, whose sum is near the target.

    Parameters
    ----------
    features, target, weight
        Rows x features, and of each row what is to be learned and how much it counts.
    growth
        How many trees, and how each is grown.
    seed
        Of the features that each node sees.
    """
    grower = HistGradientBoostingRegressor(
        loss="absolute_error",
        max_iter=growth.trees,
        max_depth=growth.depth,
        learning_rate=growth.rate,
        max_leaf_nodes=growth.leaves,
        min_samples_leaf=growth.least,
        max_features=growth.share,
        l2_regularization=growth.penalty,
        early_stopping=False,
        random_state=seed,
    )
    # Of so few rows, threads wait for each other longer than they work.
    with threadpool_limits(1, user_api="openmp"):
        fitted = grower.fit(features, target, sample_weight=weight)
    grown = [_of_nodes(one.nodes) for (one,) in fitted._predictors]  # noqa: SLF001 - as pickled
    first = float(np.ravel(fitted._baseline_prediction)[0])  # noqa: SLF001
    return [grown[0]._replace(value=grown[0].value + first), *grown[1:]]


def _of_nodes(nodes: NDArray[np.void]) -> Grown:
    """A tree from its table of nodes, whose leaves have no children."""
    leaf = nodes["is_leaf"].astype(bool)
    return Grown(
        np.where(leaf, -1, nodes["left"].astype(np.int64)),
        np.where(leaf, -1, nodes["right"].astype(np.int64)),
        nodes["feature_idx"].astype(np.int64),
        nodes["num_threshold"].astype(np.float64),
        nodes["value"].astype(np.float64),
    )
