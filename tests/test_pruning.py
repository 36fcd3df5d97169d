"""Masks against the definition, and drawn masks against chance."""

import itertools

import numpy as np
import pytest

import nmsim.recipes.statistics
from nmsim.errors import NmsimError
from nmsim.pattern import Pattern
from nmsim.pruning import prune


def test_magnitude_retains_more_than_any_other_mask():
    x = np.random.default_rng(1).normal(size=(50, 4))
    best = [
        max(abs(row[list(pair)]).sum() for pair in itertools.combinations(range(4), 2)) for row in x
    ]
    np.testing.assert_allclose(np.abs(prune(x, "2:4").values).sum(1), best)


def test_random_draws_every_subset_equally_often():
    mask = prune(np.ones((60_000, 4)), "2:4", "random", seed=5).mask
    codes = mask @ (1 << np.arange(4))
    counts = np.array([(codes == c).sum() for c in (3, 5, 6, 9, 10, 12)])
    assert counts.sum() == 60_000
    # Chi-square with 5 degrees of freedom exceeds 30 once in 70,000 runs.
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 30


def test_random_draws_groups_and_rows_apart():
    mask = prune(np.ones((4000, 8)), "2:4", "random", seed=6).mask
    first, second = mask[:, 0].astype(float), mask[:, 4].astype(float)
    # Correlation of independent draws: standard error 1/sqrt(4000); five of them.
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(4000)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 5 / np.sqrt(3999)


@pytest.mark.parametrize(
    "text", ["5:4", "2:0", "0:4", "abc", "", "2:4:8", "-1:4", " 2:4", "2.0:4", "²:4"]
)
def test_patterns_that_cannot_be(text):
    with pytest.raises(NmsimError, match="pattern"):
        Pattern.parse(text)


def test_n_of_n_is_dense():
    assert Pattern.parse("4:4").is_dense
    assert str(Pattern.parse("4:4")) == "dense"
    assert prune(np.arange(8.0), "4:4").mask.all()


def test_stored_elements_and_metadata():
    stored = {"2:4": 7, "1:4": 4, "4:8": 8, "3:8": 6, "1:1": 13}
    bits = {"1:2": 1, "2:4": 2, "3:5": 3, "4:8": 3, "8:16": 4, "4:4": 0}
    assert {text: Pattern.parse(text).stored(13) for text in stored} == stored
    assert {text: Pattern.parse(text).metadata_bits for text in bits} == bits


@pytest.mark.parametrize("native", ["1:2", "2:4", "2:5", "4:8", "3:4"])
def test_covering_is_what_every_mask_obeys(native):
    """Against all masks of one period, drawn exhaustively."""
    wide = Pattern.parse(native)
    for text in ("1:2", "1:4", "2:4", "3:4", "1:3", "2:6", "1:8", "4:8"):
        other = Pattern.parse(text)
        period = int(np.lcm(wide.group, other.group))
        worst = 0
        for start in range(0, period, wide.group):
            window = np.arange(start, start + wide.group) // other.group
            worst = max(
                worst, sum(min(other.keep, c) for c in np.unique(window, return_counts=True)[1])
            )
        assert wide.covers(other) == (worst <= wide.keep), (native, text)


def test_window_counts_are_the_counts_of_drawn_masks():
    for pattern, window in ((Pattern(4, 8), 4), (Pattern(2, 6), 4), (Pattern(1, 2), 8)):
        pmfs = pattern.window_counts(window)
        period = window * len(pmfs)
        mask = prune(np.ones((20_000, period)), pattern, "random", seed=9).mask
        counts = mask.reshape(20_000, len(pmfs), window).sum(2)
        for position, pmf in enumerate(pmfs):
            seen = np.bincount(counts[:, position], minlength=len(pmf)) / 20_000
            # Five standard errors of the largest cell.
            np.testing.assert_allclose(seen, pmf, atol=5 * np.sqrt(0.25 / 20_000))


@pytest.mark.parametrize("name", ["transposable", "transposable-greedy", "transposable-2approx"])
def test_a_huge_tile_changes_no_other_tile(name):
    rng = np.random.default_rng(4)
    small, huge = np.abs(rng.normal(size=(2, 4, 4))) * np.array([1e-30, 1e306])[:, None, None]
    together = prune(np.concatenate([huge, small]), "2:4", name).mask
    np.testing.assert_array_equal(together[4:], prune(small, "2:4", name).mask)


def test_statistics_see_values_as_binary64():
    probabilities = nmsim.recipes.statistics.inclusion_probabilities(
        np.full((2, 4), 60_000, np.float16), "2:4", "mvue"
    )
    np.testing.assert_allclose(probabilities, 0.5)


def test_mask_decay_of_integers_is_not_rounded():
    np.testing.assert_array_equal(nmsim.recipes.schedules.decayed([4, 2], [1, 0], 0.5), [4.0, 1.0])


@pytest.mark.parametrize(
    ("shape", "counting"), [((), "exact"), ((-4, 4), "exact"), ((4, 4), "papr")]
)
def test_diversity_of_what_cannot_be(shape, counting):
    with pytest.raises(NmsimError, match="mask diversity"):
        nmsim.recipes.statistics.mask_diversity("2:4", shape, "transposable", counting=counting)
