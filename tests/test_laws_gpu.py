"""Laws that hold for GEMMs that nobody has measured, on every GPU, in both fidelities.

At equal alignment more work is not done sooner; nothing is faster than bytes over bandwidth or
MACs over the peak; and the two fidelities stay within a band. What falls short is counted:
``docs/tensor-core.md`` says why.
"""

import os

import numpy as np
import pytest
from test_monotone_gpu import MODELS, free_us, held, held_us, size, some
from tiers import fast_every

from nmsim import Gemm, simulate
from nmsim.machines import HARDWARE, load_hardware
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import Call

# Cases of the fast tests and of the slow ones; by hand NMSIM_DRAWN_GPUS=20000 takes longer.
FEW, MANY = 50, int(os.environ.get("NMSIM_DRAWN_GPUS", "200"))
CHOICES = {"analytical": MANY, "cycle": MANY // 5}
"""Of those, where libraries choose: in cycles they run several kernels."""
UNIT = 16
"""Elements to which all sizes are aligned: 16 of 8 bits, and so 8 of 16."""
GPUS = [name for name in HARDWARE if isinstance(load_hardware(name), Gpu)]
HELD = {"analytical": 1e-9, "cycle": 0.1}
"""What a larger GEMM may gain on the same kernel. In cycles more rows may be found in L2 more
often, so that loads take less on average."""
FREE = {"analytical": 0.1, "cycle": 0.15}
"""What it may gain by the kernel that the library then chooses, and the share that gains 1 %."""
SELDOM = {"analytical": 0.005, "cycle": 0.08}
BAND = (0.6, 2.5)
"""Clocks of the cycle model over those of the closed form, all cases; nine of ten within 0.75
to 1.4."""


def drawn(seed):
    """A GPU, a call of its libraries, sizes, and sizes of which one is larger."""
    rng = np.random.default_rng([7, seed])
    machine = load_hardware(GPUS[seed % len(GPUS)])
    form = some(rng, *machine.formats)
    call = Call(form.dtype, accumulator=form.accumulator)
    if machine.native and form.sparse_macs_per_clk and rng.random() < 0.4:
        call = Call(form.dtype, some(rng, *machine.native), some(rng, "a", "b"))
    sizes = [max(1, size(rng) // UNIT) * UNIT for _ in range(3)]
    axis, larger = int(rng.integers(3)), list(sizes)
    grown = int(sizes[axis] * 2 ** rng.uniform(0, 1.5)) // UNIT * UNIT
    larger[axis] = max(sizes[axis] + UNIT, grown)
    copies = some(rng, 1, 1, 1, 3, 16)
    return rng, machine, call, (*sizes, copies), (*larger, copies)


def gains(seeds, fidelity, *, chooses):
    """What larger GEMMs gain, of the smaller one's time; below 0 most lose."""
    found = []
    for seed in seeds:
        rng, machine, call, sizes, larger = drawn(seed)
        kernel = held(rng, machine, call, sizes)
        before, after = (
            free_us(machine, call, one, fidelity)
            if chooses
            else held_us(machine, call, one, *kernel, fidelity)
            for one in (sizes, larger)
        )
        found.append(before / after - 1)
    return np.array(found)


def ratios(seeds):
    """Clocks of the cycle model over those of the closed form."""
    cases = (drawn(seed)[1:4] for seed in seeds)
    return np.array([free_us(*one, "cycle") / free_us(*one, "analytical") for one in cases])


def below_least(seeds, fidelity):
    """Cases done in less than their operands' bytes or their MACs take at the machine's best."""
    found = []
    for seed in seeds:
        _, machine, call, (m, n, k, copies), _ = drawn(seed)
        form, chip = resolve(machine, call).form, machine.format(call.dtype, call.accumulator)
        macs = chip.macs_per_clk if call.pattern.is_dense else chip.sparse_macs(call.pattern)
        read = copies * (m * form.a + n * form.b) * k / (machine.dram.gbps * 1e3)
        multiplied = copies * m * n * k / (machine.sms * macs * machine.clock_mhz)
        if free_us(machine, call, (m, n, k, copies), fidelity) < max(read, multiplied):
            found.append(seed)
    return found


@pytest.mark.parametrize("fidelity", MODELS)
def test_more_work_is_not_done_sooner_on_a_held_kernel(fidelity):
    assert gains(range(FEW), fidelity, chooses=False).max() <= HELD[fidelity]


@pytest.mark.parametrize("fidelity", MODELS)
def test_more_work_is_seldom_done_sooner(fidelity):
    found = gains(range(FEW), fidelity, chooses=True)
    assert found.max() <= FREE[fidelity]
    assert (found > 0.01).mean() <= SELDOM[fidelity]


@pytest.mark.parametrize("fidelity", MODELS)
def test_nothing_is_faster_than_its_bytes_and_its_macs(fidelity):
    assert below_least(range(FEW), fidelity) == []


@pytest.mark.parametrize("hardware", fast_every(GPUS, 3))
def test_rows_move_no_more_bytes_than_memory_has_time_for(hardware):
    machine = load_hardware(hardware)
    rng = np.random.default_rng(5)
    gemms = [Gemm(*(int(2 ** rng.uniform(4, 15)) for _ in range(3))) for _ in range(6)]
    for fidelity in MODELS:
        table = simulate(gemms, hardware=machine, fidelity=fidelity, compare=False)
        assert (table.dram_read_bytes <= table.time_us * machine.dram.gbps * 1e3).all()


def test_the_fidelities_stay_within_a_band():
    found = ratios(range(FEW))
    assert BAND[0] < found.min() <= found.max() < BAND[1]
    assert 0.75 < np.quantile(found, 0.05) < 1 < np.quantile(found, 0.95) < 1.4


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", MODELS)
def test_laws_hold_in_many_cases(fidelity):
    seeds = range(FEW, FEW + CHOICES[fidelity])
    assert gains(seeds, fidelity, chooses=False).max() <= HELD[fidelity]
    found = gains(seeds, fidelity, chooses=True)
    assert (found > FREE[fidelity]).mean() <= 0.003
    assert (found > 0.01).mean() <= SELDOM[fidelity]
    assert below_least(seeds, fidelity) == []


@pytest.mark.slow
def test_the_fidelities_stay_within_a_band_in_many_cases():
    found = ratios(range(FEW, FEW + CHOICES["cycle"]))
    assert ((found > BAND[0]) & (found < BAND[1])).mean() > 0.99
    assert 0.75 < np.quantile(found, 0.05) < 1 < np.quantile(found, 0.95) < 1.4
