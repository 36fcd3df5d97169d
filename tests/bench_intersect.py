"""How fast folds of an intersecting array are counted; ``pytest tests/bench_intersect.py
--benchmark-only``.

What they are compared with is timed in the same run; kernels are called once before the timing.
"""

import time

import numpy as np
import pytest

from nmsim.jit import compiled, map_blocks
from nmsim.machines.systolic.intersect.analytical import expected_fold_cycles
from nmsim.machines.systolic.intersect.folds import Fabric, fold_cycles
from nmsim.mask import Mask
from nmsim.mask.words import popcount
from nmsim.network.tensors import Synthetic
from nmsim.pattern import Pattern
from nmsim.recipes.masking import Setting
from nmsim.recipes.recipe import Offer, Recipe
from nmsim.run.workload import load_workload

ROWS, K = 1024, 2304


@compiled
def bare(a, b, start, stop):
    """Survivors of all pairs of rows, and nothing else."""
    s = 0
    for i in range(start, stop):
        for j in range(b.shape[0]):
            for w in range(a.shape[1]):
                s += popcount(a[i, w] & b[j, w])
    return s


def seconds(call, rounds=5):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def random_mask(rng, rows, k, keep, group):
    order = rng.random((rows, -(-k // group), group)).argsort(-1).argsort(-1)
    return Mask.of((order < keep).reshape(rows, -1)[:, :k], Pattern(keep, group))


@pytest.mark.parametrize("k", [147, 576, 2304, 8192])
def test_words_per_second_without_limit(benchmark, k):
    rng = np.random.default_rng(0)
    a, b = (random_mask(rng, ROWS, k, 2, 4) for _ in range(2))
    words = ROWS * ROWS * a.words.shape[1]
    fold_cycles(a, b, 1, Fabric(128, 128, 4, None))
    bare(a.words, b.words, 0, 1)

    def block(start, stop):
        bare(a.words, b.words, start, stop)

    def bare_on_threads():
        map_blocks(block, ROWS, 64)

    benchmark.pedantic(fold_cycles, (a, b, 1, Fabric(128, 128, 4, None)), rounds=5)
    own, loop = benchmark.stats.stats.min, seconds(bare_on_threads)
    benchmark.extra_info["words_per_second"] = round(words / own)
    benchmark.extra_info["bare_words_per_second"] = round(words / loop)
    assert own <= 2 * loop


@pytest.mark.parametrize("lookahead", [0, 1, 8, 64])
@pytest.mark.parametrize(("keep", "group"), [(2, 4), (4, 8), (8, 16), (32, 64)])
def test_group_steps_per_second(benchmark, keep, group, lookahead):
    rng = np.random.default_rng(0)
    a, b = (random_mask(rng, ROWS, K, keep, group) for _ in range(2))
    fold_cycles(a, b, 1, Fabric(128, 128, group, lookahead))
    benchmark.pedantic(fold_cycles, (a, b, 1, Fabric(128, 128, group, lookahead)), rounds=5)
    rate = ROWS * ROWS * (K // group) / benchmark.stats.stats.min
    benchmark.extra_info["group_steps_per_second"] = round(rate)
    assert rate >= 1e9


@pytest.fixture(scope="module")
def resnet18():
    """Forward GEMMs at batch 1, 2:4 masks on both operands where the pattern fits."""
    offers = tuple(
        Offer(role=role, phases=("forward",), pruner="magnitude")
        for role in ("weight", "activation")
    )
    recipe = Recipe(summary="both operands", source="this benchmark", operands=offers)
    setting = Setting(recipe, Pattern(2, 4), Synthetic(0))
    gemms = list(load_workload("resnet18").sparse_gemms(setting, phases=["forward"]))
    for work in gemms:
        assert work.a.words.size
        assert work.b.words.size
    return gemms


def all_folds(gemms, function, lookahead):
    return [
        function(work.a, work.b, work.gemm.count, Fabric(128, 128, 4, lookahead)) for work in gemms
    ]


@pytest.mark.parametrize("lookahead", [0, 1, 8, None])
def test_resnet18_forward(benchmark, resnet18, lookahead):
    all_folds(resnet18, fold_cycles, lookahead)
    benchmark.pedantic(all_folds, (resnet18, fold_cycles, lookahead), rounds=3)
    assert benchmark.stats.stats.min < 3


@pytest.mark.parametrize("lookahead", [0, 1, 8, None])
def test_resnet18_forward_expected(benchmark, resnet18, lookahead):
    measured = all_folds(resnet18, fold_cycles, lookahead)
    expected = all_folds(resnet18, expected_fold_cycles, lookahead)
    benchmark.pedantic(all_folds, (resnet18, expected_fold_cycles, lookahead), rounds=3)
    total = sum(e.cycles.sum() for e in expected) / sum(m.sum() for m in measured)
    benchmark.extra_info["expected_over_measured"] = round(float(total), 4)
    assert benchmark.stats.stats.min < 3
