"""Schedules of patterns and masks over the training steps."""

import math

import numpy as np
import pytest

from nmsim.errors import PatternError, SpecError, UnknownName
from nmsim.pattern import DENSE, Pattern
from nmsim.pruning import prune
from nmsim.recipes.schedules import (
    SCHEDULES,
    Schedule,
    State,
    decayed,
    exponential_decay,
    geometric_patterns,
    schedule,
    srste_step,
    stepwise_patterns,
)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_schedule_starts_dense_and_ends_at_its_target(name):
    plan = schedule(name, "1:8", 100, dense_steps=10, finetune_steps=30)
    assert plan.at(0) == plan.at(9) == State(DENSE)
    assert plan.at(10) != State(DENSE)
    assert plan.at(70) == plan.at(99) == plan.at(5000) == State(Pattern(1, 8))


def test_structure_decay_shares_the_steps_out_evenly():
    plan = schedule("sdgf-stepwise", "1:4", 100, dense_steps=10, finetune_steps=20)
    starts = {str(plan.at(step).pattern): step for step in range(99, -1, -1)}
    assert starts == {"dense": 0, "3:4": 10, "2:4": 33, "1:4": 56}
    plan = schedule("sdgf-geometric", "2:4", 350, k=8)
    starts = {str(plan.at(step).pattern): step for step in range(349, -1, -1)}
    assert starts == {"16:32": 0, "8:16": 87, "4:8": 175, "2:4": 262}
    short = schedule("sdgf-geometric", "1:4", 2)
    assert [str(short.at(step).pattern) for step in range(3)] == ["4:16", "1:4", "1:4"]


def test_patterns_of_structure_decay():
    assert [str(p) for p in stepwise_patterns(Pattern(1, 2))] == ["1:2"]
    assert [str(p) for p in stepwise_patterns(Pattern(2, 8))] == ["7:8", "4:8", "2:8"]
    assert [str(p) for p in geometric_patterns(Pattern(2, 4), 4)] == ["8:16", "4:8", "2:4"]
    assert str(geometric_patterns(Pattern(1, 128))[0]) == "16:2048"
    for keep, group in ((2, 1025), (2, 2047), (2, 4096)):
        with pytest.raises(PatternError, match="M <= 1024 or M = 2048"):
            Pattern(keep, group)
    for pattern in geometric_patterns(Pattern(3, 8)):
        assert pattern.density == 3 / 8
    for bad in (Pattern(3, 8), Pattern(4, 4), Pattern(2, 7), Pattern(1, 12)):
        with pytest.raises(PatternError, match="stepwise expects"):
            stepwise_patterns(bad)
    with pytest.raises(SpecError, match="power of two"):
        geometric_patterns(Pattern(1, 4), 12)


def test_mask_decay():
    linear = schedule("mdgf-linear", "2:4", 200, beta=0.01)
    assert [linear.at(j).decay for j in (0, 50, 100, 150)] == pytest.approx([1, 0.5, 0, 0])
    exponential = schedule("mdgf-exponential", "2:4", 10**6, beta=0.01, cutoff=1e-3)
    assert exponential.at(100).decay == pytest.approx(math.exp(-1))
    assert exponential.at(690).decay > 1e-3
    assert exponential.at(691).decay == 0
    assert exponential_decay(0.01, 5000) > 0
    weights = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    mask = prune(weights, "2:4").mask
    assert (decayed(weights, mask, 1.0) == weights).all()
    assert (decayed(weights, mask, 0.0) == np.where(mask, weights, 0)).all()
    assert decayed(weights, mask, 0.5).dtype == np.float32


def test_srste_decays_pruned_weights_inside_the_learning_rate():
    rng = np.random.default_rng(1)
    weights, gradient = rng.standard_normal((2, 4, 8))
    mask = prune(weights, "2:4").mask
    stepped = srste_step(weights, gradient, mask, 0.1, 2e-4)
    assert stepped[mask] == pytest.approx((weights - 0.1 * gradient)[mask])
    assert stepped[~mask] == pytest.approx(
        ((1 - 0.1 * 2e-4) * weights - 0.1 * gradient)[~mask], rel=1e-12
    )


def test_schedules_refuse_what_does_not_fit():
    with pytest.raises(SpecError, match="do not fit"):
        schedule("mdgf-linear", "2:4", 10, dense_steps=6, finetune_steps=5)
    with pytest.raises(SpecError, match="do not fit"):
        Schedule(DENSE, 10, lambda j, span: State(DENSE), dense_steps=-1)
    with pytest.raises(UnknownName, match="did you mean 'mdgf-linear'"):
        schedule("mdgf-liner", "2:4", 10)
    with pytest.raises(SpecError, match="unknown option 'gamma'"):
        schedule("mdgf-linear", "2:4", 10, gamma=1)
