"""Every number of a multiprocessor's state says what it is to the future: none can be forgotten."""

import numpy as np
import pytest
from test_sm import A100, L2, SPARSE, TILE

from nmsim.errors import ShapeError
from nmsim.machines.gpu.sm import core as kernels
from nmsim.machines.gpu.sm import multiprocessor, periods, state
from nmsim.machines.gpu.sm.program import stream
from nmsim.machines.gpu.sm.state import NEVER, TICKS, FieldKind, Kinds, State, kinds_of


def fresh(tile=TILE, ctas=1):
    program = stream(tile)
    core = multiprocessor._core(A100, tile, L2, 64, ctas, program)
    return core, multiprocessor._state(core, tile, program, 0)


def test_every_part_of_a_state_but_its_log_has_kinds():
    assert (*Kinds._fields, "log") == State._fields


@pytest.mark.parametrize("tile", [TILE, SPARSE, TILE._replace(k=16)])
def test_every_number_of_a_state_has_a_kind(tile):
    core, held = fresh(tile, 2)
    for name, kinds in kinds_of(core, held)._asdict().items():
        assert kinds.shape == (getattr(held, name).shape[-1],)
        assert set(kinds.tolist()) <= set(map(int, FieldKind))


@pytest.mark.parametrize("table", ["WARP", "SM", "SUB_CORE", "ENTRY"])
@pytest.mark.parametrize("kind", [None, 17])
def test_a_field_without_a_kind_is_refused(monkeypatch, table, kind):
    fields = getattr(state, table)
    last = list(fields)[-1]
    monkeypatch.setitem(fields, last, kind)
    with pytest.raises(ValueError, match="is not a valid FieldKind"):
        kinds_of(*fresh())


@pytest.mark.parametrize("name", ["sm", "queue"])
def test_a_number_that_no_table_has_is_refused(name):
    core, held = fresh()
    wider = np.zeros((*getattr(held, name).shape[:-1], getattr(held, name).shape[-1] + 1), np.int64)
    with pytest.raises(ShapeError, match=rf"^{name} of a state: .* of a kind$"):
        kinds_of(core, held._replace(**{name: wider}))


@pytest.mark.parametrize("table", ["WARP", "SM", "ENTRY"])
def test_a_field_without_a_place_is_refused(monkeypatch, table):
    """A row of a table is a number of the state: the state must hold it."""
    monkeypatch.setitem(getattr(state, table), "fresh", FieldKind.COUNT)
    with pytest.raises(ShapeError, match="of a kind"):
        kinds_of(*fresh())


@pytest.mark.parametrize(
    ("kind", "value", "seen", "moved"),
    [
        (FieldKind.TIME, 130, 30, 130 + 3 * 20),
        (FieldKind.TIME, 70, 0, 70 + 3 * 20),
        (FieldKind.TIME, NEVER, NEVER, NEVER),
        (FieldKind.TICK, 100 * TICKS + 5, 5, 160 * TICKS + 5),
        (FieldKind.COUNT, 130, 130, 130),
        (FieldKind.SLICE, 12, 2, 12 + 6),
        (FieldKind.TOTAL, 130, 0, 130 + 3 * (130 - 90)),
        (FieldKind.MARK, 130, 0, 130),
    ],
)
def test_a_number_is_seen_and_moved_by_its_kind(kind, value, seen, moved):
    """At cycle 100 and slice 10; then three periods of 20 cycles and two slices, 90 before them."""
    assert periods._seen(int(kind), np.int64(value), np.int64(100), np.int64(10)) == seen
    again = periods.Again(np.int64(3), np.int64(60))
    args = (np.int64(value), np.int64(90), again, np.int64(6))
    assert periods._moved(int(kind), *args) == moved


def picture(core, held):
    seen = np.zeros(sum(part.size for part in (held.warps, held.sm, held.queue)), np.int64)
    periods._picture(held, kinds_of(core, held), seen)
    return seen.tolist()


def test_a_picture_holds_every_copy_under_way_wherever_its_ring_begins():
    core, held = fresh()
    held.sm[state.NOW], held.sm[state.QUEUED] = 100, 2
    held.warps[:, core.ready :] = 170
    held.queue[:2] = [[130, 512, 0, 3], [140, 256, 1, 4]]
    seen = picture(core, held)
    turned = held._replace(sm=held.sm.copy(), queue=np.roll(held.queue, -1, axis=0))
    turned.sm[state.HEAD] = len(held.queue) - 1
    assert picture(core, turned) == seen
    for part, place in (
        *((held.queue, place) for place in np.ndindex(2, held.queue.shape[1])),
        (held.warps, (-1, -1)),
    ):
        part[place] += 1
        assert picture(core, held) != seen
        part[place] -= 1


def test_who_has_ended_waits_no_more():
    """At cycle 100: one warp ended at 90, the others have waited in their main loop since 97."""
    core, held = fresh()
    held.sm[state.NOW] = 100
    held.warps[:, state.PC], held.warps[:, state.SINCE] = core.body, 97
    held.warps[0, state.PC], held.warps[0, state.SINCE] = core.end, 90
    periods._settle(core, held)
    waits = held.sm[state.WAITS : state.CORES].reshape(3, state.CAUSES)
    assert waits.sum(axis=1).tolist() == [0, 3 * (len(held.warps) - 1), 0]


def test_a_store_has_left_in_the_cycle_in_which_its_last_byte_leaves():
    """17 bytes at 16 a cycle take into the second; 15 more fill it."""
    core, held = fresh()
    core = core._replace(store_rate=16.0)
    assert [kernels._store(core, held, size) for size in (17, 15, 1)] == [2, 2, 3]
