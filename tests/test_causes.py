"""A cause that is switched off takes away its part of the cycles, and no more, at the same folds.

Where one cause is there alone: bandwidth without latency, latency without a limit of bandwidth, a
preload without memory. Of both waits at once only their sum is exact: what bandwidth does not hide
of a latency, latency hides of it, so that either alone may take away less or more than its part.
The array as a whole may gain more: without the cause it may cut its folds otherwise.
"""

import pytest
from test_monotone import cases

from nmsim.errors import CapacityError
from nmsim.machines import load_hardware
from nmsim.machines.systolic import cycle
from nmsim.machines.systolic.closed_form.given import resources_of
from nmsim.machines.systolic.closed_form.pipeline import overheads
from nmsim.machines.systolic.pipeline import events
from nmsim.machines.systolic.pipeline.memory import TICKS
from nmsim.machines.systolic.placement import without_masks
from nmsim.machines.systolic.timeline import program

NO_LATENCY, NO_LIMIT = {"dram.latency_ns": 0.0}, {"dram.gbps": None}
SEEDS = pytest.mark.parametrize(
    ("seeds", "most"), [(range(50), 60), pytest.param(range(150), 600, marks=pytest.mark.slow)]
)


def same_folds(machine, placement, cut):
    """Ticks of the folds of a placement, cut as they are told to be."""
    timing = cycle.array_of(machine, placement).timing
    return events.run([list(program(machine, placement, cut))], timing)[0].finished


def runs(fields, seeds, most):
    """Arrays with fields, a dense GEMM as each runs it, and what its folds add up to."""
    for _, work, drawn, *_ in cases(seeds):
        machine = load_hardware(drawn, **fields)
        placement = without_masks(machine, work.gemm)[0]
        try:
            sums = cycle.count(machine, placement)[0]
        except CapacityError:
            continue
        if sums.folds <= most:
            yield machine, placement, sums


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alone", "off"), [(NO_LATENCY, NO_LIMIT), (NO_LIMIT, NO_LATENCY)], ids=["bandwidth", "latency"]
)
def test_a_wait_that_is_alone_is_what_goes_without_it(alone, off):
    waited = 0
    for machine, placement, sums in runs(alone, range(150), 600):
        free = load_hardware(machine, **off)
        waits = sums.bandwidth + sums.latency + sums.write_back
        assert (sums.bandwidth + sums.write_back if alone is NO_LIMIT else sums.latency) == 0
        assert sums.total - same_folds(free, placement, sums.cut) == waits
        assert cycle.run(free, placement).cycles <= -(-(sums.total - waits) // TICKS)
        waited += waits > 0
    assert waited > 30


@SEEDS
def test_a_preload_that_is_not_counted_is_what_goes_without_it(seeds, most):
    shifted = set()
    for machine, placement, sums in runs({**NO_LIMIT, **NO_LATENCY, "delivery": None}, seeds, most):
        if not placement.dataflow.preloads or machine.fold_period == "back_to_back":
            continue
        free = load_hardware(machine, fold_period="uncounted")
        _, shifts = overheads(resources_of(machine), sums.folds, sums.shifted / TICKS)
        gone = sums.total - same_folds(free, placement, sums.cut)
        assert gone == shifts * TICKS
        assert cycle.run(free, placement).cycles <= -(-(sums.total - gone) // TICKS)
        shifted.add(machine.fold_period)
    assert shifted == {"exposed", "preload_hidden", "uncounted"}


@SEEDS
def test_both_waits_at_once_are_exact_together_alone(seeds, most):
    apart = ran = 0
    for machine, placement, sums in runs({}, seeds, most):
        waits = sums.bandwidth + sums.latency + sums.write_back
        free = load_hardware(machine, **NO_LIMIT, **NO_LATENCY)
        assert sums.total - same_folds(free, placement, sums.cut) == waits
        wide = load_hardware(machine, **NO_LIMIT)
        gone = sums.total - same_folds(wide, placement, sums.cut)
        apart += gone > sums.bandwidth + sums.write_back
        ran += 1
    assert ran > 10
    assert apart  # bandwidth alone takes away more than its part: what it shares with latency
