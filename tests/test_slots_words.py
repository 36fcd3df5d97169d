"""Slots and misfits counted a word at a time are those counted bit by bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from product import compress

from nmsim.machines.systolic.pe import slots
from nmsim.mask import Mask
from nmsim.mask import words as masks
from nmsim.mask.words import WORD_FIELDS, fuller, pack
from nmsim.pattern import Pattern


@pytest.mark.parametrize("width", WORD_FIELDS)
def test_fuller_fields_by_counting(width):
    rng = np.random.default_rng(width)
    for share in (0.0, 0.3, 0.7, 1.0):
        bits = rng.random((1, 64)) < share
        counts = bits.reshape(-1, width).sum(1)
        for keep in range(width + 1):
            found = int(fuller(pack(bits)[0, 0], width, keep))
            told = [(found >> start) & 1 for start in range(0, 64, width)]
            assert told == [int(count > keep) for count in counts]
            assert found.bit_count() == sum(told)


def test_kept_values_stand_in_their_groups_slots_in_order():
    """Two slots of a group of four, one of two; an empty one names its group's first element."""
    values = np.arange(4.0, 22.0).reshape(3, 6)
    bits = np.array([[1, 0, 0, 0, 1, 0], [0, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 0]], bool)
    out, index = compress(values, pack(bits), 1, 3, np.array([2, 1]), 4)
    assert out.tolist() == [[11, 13, 15], [18, 0, 0]]
    assert index.tolist() == [[1, 3, 5], [2, 0, 4]]


def test_slots_expected_of_a_mask_that_breaks_its_pattern_by_hand():
    """Six elements, each kept by a coin: four of a group, then two and the padding, one a slot.

    A slot at least, and one more for each that is kept beyond the first: a mean of what is kept,
    2 and 1, and one more where nothing is, 1/16 and 1/4 of the time.
    """
    bits = np.zeros((2, 6), bool)
    bits[0, :3] = bits[1, 3:] = True
    mask = Mask.of(bits, Pattern(2, 4)).but(fits=False)
    assert slots.expected_slots(mask, Pattern(1, 4), 1, 8) == pytest.approx(33 / 16 + 5 / 4)


@settings(max_examples=300)
@given(
    st.sampled_from(WORD_FIELDS),
    st.data(),
    st.integers(1, 200),
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 2),
    st.integers(1, 6),
)
def test_by_words_as_bit_by_bit(group, data, k, padded, rows, copies, tile):
    keep = data.draw(st.integers(1, group))
    density = data.draw(st.floats(0, 1))
    bits = np.random.default_rng(k).random((rows * copies, k)) < density
    words = pack(bits)
    native = slots._Selectors(keep, group, k, -(-k // group) * group if padded else k)
    np.testing.assert_array_equal(
        slots._field_slots(words, copies, rows, tile, native),
        slots._tile_slots(words, copies, rows, tile, native),
    )
    span = data.draw(st.sampled_from([one for one in WORD_FIELDS if one >= group]))
    assert masks.unfit_fields(words, keep, group, span) == masks.unfit_spans(
        words, k, keep, group, span
    )
