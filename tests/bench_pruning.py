"""How fast tensors are pruned; run with ``pytest tests/bench_pruning.py --benchmark-only``.

Figures are work per second; what they are compared with is timed in the same run. Kernels are
called once before the timing, so that none is compiled in it.
"""

import time

import numpy as np
import pytest

from nmsim.pruning import prune

TILES = 100_000


def seconds(call, rounds=3):
    """The best of a few timings."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.fixture(scope="module")
def tiles():
    return np.random.default_rng(0).standard_normal((TILES, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "floor"),
    [("transposable", 5e4), ("transposable-greedy", 3e5), ("transposable-2approx", 3e5)],
)
def test_tiles_per_second(benchmark, tiles, name, floor):
    prune(tiles[:8], "4:8", name)
    benchmark.pedantic(prune, (tiles, "4:8", name), rounds=3)
    rate = TILES / benchmark.stats.stats.min
    benchmark.extra_info["tiles_per_second"] = round(rate)
    assert rate > floor


def test_transposable_against_min_cost_flow(benchmark, tiles):
    flow = pytest.importorskip("ortools.graph.python.min_cost_flow")
    cells, sample = np.arange(64), 1000
    tails = np.r_[np.zeros(8), 1 + cells // 8, 9 + np.arange(8)].astype(np.int32)
    heads = np.r_[1 + np.arange(8), 9 + cells % 8, np.full(8, 17)].astype(np.int32)
    capacities = np.r_[np.full(8, 4), np.ones(64), np.full(8, 4)].astype(np.int64)
    supplies = np.zeros(18, np.int64)
    supplies[[0, 17]] = 32, -32
    nodes = np.arange(18, dtype=np.int32)
    scaled = np.round(np.abs(tiles[:sample].astype(np.float64)) * 2**20)
    costs = [np.r_[np.zeros(8), -t.ravel(), np.zeros(8)].astype(np.int64) for t in scaled]
    optima = []

    def min_cost_flow():
        optima.clear()
        for cost in costs:
            problem = flow.SimpleMinCostFlow()
            problem.add_arcs_with_capacity_and_unit_cost(tails, heads, capacities, cost)
            problem.set_nodes_supplies(nodes, supplies)
            problem.solve()
            optima.append(-problem.optimal_cost())

    theirs = sample / seconds(min_cost_flow)
    kept = prune(scaled, "4:8", "transposable", exact=True).values.sum((1, 2))
    assert (kept == optima).all()
    prune(tiles[:8], "4:8", "transposable")
    benchmark.pedantic(prune, (tiles, "4:8", "transposable"), rounds=3)
    ratio = TILES / benchmark.stats.stats.min / theirs
    benchmark.extra_info["times_min_cost_flow"] = round(ratio, 2)
    assert ratio > 2.5


@pytest.fixture(scope="module")
def big():
    return np.random.default_rng(0).standard_normal(1 << 26, dtype=np.float32)


@pytest.mark.parametrize("shape", [(1 << 26,), (1 << 14, 1 << 12)], ids=["vector", "matrix"])
@pytest.mark.parametrize(
    ("pattern", "floor"), [("2:4", 1 / 3), ("4:8", 1 / 5), ("1:16", 1 / 5), ("16:32", 0.0)]
)
def test_magnitude_against_a_copy(benchmark, big, pattern, floor, shape):
    values = big.reshape(shape)
    prune(values[:4], pattern)
    copy = seconds(values.copy, rounds=5)
    benchmark.pedantic(prune, (values, pattern), rounds=5, warmup_rounds=1)
    ratio = copy / benchmark.stats.stats.min
    benchmark.extra_info["share_of_copy_speed"] = round(ratio, 3)
    assert ratio > floor


@pytest.mark.parametrize(
    ("name", "pattern", "floor"),
    [
        ("mvue", "1:2", 1e8),
        ("mvue", "2:4", 1e8),
        ("mvue", "4:8", 0.0),
        ("mvue-approx", "2:4", 1e8),
        ("mvue-approx", "4:8", 0.0),
        ("biased", "2:4", 0.0),
        ("unbiased", "2:4", 0.0),
        ("random", "2:4", 0.0),
        ("sequential", "4:8", 0.0),
        ("sdgp", "2:4", 0.0),
    ],
)
def test_elements_per_second(benchmark, big, name, pattern, floor):
    values = big[: 1 << 24].reshape(-1, 4096)
    prune(values[:4], pattern, name)
    benchmark.pedantic(prune, (values, pattern, name), rounds=3, warmup_rounds=1)
    rate = values.size / benchmark.stats.stats.min
    benchmark.extra_info["elements_per_second"] = round(rate)
    assert rate > floor
