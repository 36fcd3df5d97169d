"""More of a GPU never costs a GEMM time: multiprocessors, caches, bandwidths, clock, less latency.

With the kernel and its split held, in both fidelities. Where the library chooses, by a rule that is
coarser than either model, it may turn to a kernel that is slower on the better machine, but by no
more than ``MARGIN``: else another one runs (``docs/tensor-core.md``).
"""

import os

import numpy as np
import pytest

from nmsim.machines import load_hardware
from nmsim.machines.gpu import analytical, cycle
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import Size
from nmsim.machines.gpu.choice import MARGIN, at_least, considered, rules_of
from nmsim.machines.kind import Call
from nmsim.pattern import DENSE, Pattern

# Cases of the fast tests and of the slow ones; by hand NMSIM_DRAWN_GPUS=10000 takes longer.
FEW, MANY = 15, int(os.environ.get("NMSIM_DRAWN_GPUS", "200"))
FREE = {"analytical": range(25), "cycle": range(4)}
"""Cases of the fast tests in which the library chooses: in cycles that takes many runs."""
MODELS = {"analytical": analytical, "cycle": cycle}
MACHINES = (
    "a100-sxm4-80gb",
    "a100-sxm4-80gb-documented",
    "a100-pcie-80gb",
    "h100-sxm",
    "h200",
    "rtx3090",
    "v100",
)
AMOUNTS = (
    "sms",
    "clock_mhz",
    "l2.mib",
    "l2.gbps",
    "dram.gbps",
    "sm.shared_bytes_per_clk",
    "sm.port_bytes_per_clk",
)
LATENCIES = ("l2.latency_clk", "dram.latency_clk")


def some(rng, *values):
    return values[rng.integers(len(values))]


def size(rng, most=20_000):
    """Small sizes as often as large ones."""
    return int(2 ** rng.uniform(0, np.log2(most)))


def field(machine, path):
    for part in path.split("."):
        machine = getattr(machine, part)
    return machine


def scaled(machine, path, times):
    value = field(machine, path) * times
    if path == "sms":  # a whole number, and another one
        value = max(1, int(value), field(machine, path) + 1 if times > 1 else 1)
    return load_hardware(machine, **{path: value})


def drawn(rng):
    """A GPU of the catalog with some fields changed, a call of its libraries, and sizes."""
    machine = load_hardware(some(rng, *MACHINES))
    for path in (*AMOUNTS, *LATENCIES):
        if rng.random() < 0.3:
            machine = scaled(machine, path, 2 ** rng.uniform(-2, 2))
    form = some(rng, *machine.formats)
    call = Call(form.dtype)
    if machine.native and form.sparse_macs_per_clk and rng.random() < 0.4:
        call = Call(form.dtype, Pattern.parse("2:4"), some(rng, "a", "b"))
    return machine, call, (size(rng), size(rng), size(rng), some(rng, 1, 1, 1, 3, 16))


def better(rng, machine):
    """The machine with more of one thing or less of a latency, and which one that is."""
    path, times = some(rng, *AMOUNTS, *LATENCIES), some(rng, 1.01, 1.1, 1.3, 2, 4, 20)
    return path, scaled(machine, path, 1 / times if path in LATENCIES else times)


def held(rng, machine, call, sizes):
    """A kernel of the library and a split of K, whatever the library would choose."""
    found = resolve(machine, call)
    split = some(rng, *found.splits) if rng.random() < 0.3 else 1
    return int(rng.integers(len(found.table))), int(max(1, min(split, sizes[2] // 64)))


def held_us(machine, call, sizes, row, split, fidelity):
    """Time on that kernel, microseconds, before clocks are rounded."""
    found = resolve(machine, call)
    if fidelity == "cycle":
        ran = cycle.run_kernel(machine, call, found, found.table[row], split, sizes)
        return ran.clocks / machine.clock_mhz
    counted = Size(*map(float, sizes))
    ran = analytical.estimate(found.chip, found.form, found.table[row], float(split), counted)
    return ran.clocks / machine.clock_mhz


def free_us(machine, call, sizes, fidelity):
    return float(MODELS[fidelity].times(machine, call, np.array([sizes], np.float64))[0])


def slower(seeds, fidelity, *, chooses=False):
    """Cases that took longer with more, and by how much: on a held kernel, or by over ``MARGIN``
    on the library's."""
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        machine, call, sizes = drawn(rng)
        path, more = better(rng, machine)
        kernel = held(rng, machine, call, sizes)
        before, after = (
            free_us(one, call, sizes, fidelity)
            if chooses
            else held_us(one, call, sizes, *kernel, fidelity)
            for one in (machine, more)
        )
        if after > before * (MARGIN if chooses else 1) * (1 + 1e-12):
            found.append((after / before - 1, seed, path))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("fidelity", MODELS)
def test_more_of_a_gpu_never_costs_time(fidelity):
    assert not slower(range(FEW), fidelity)


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", MODELS)
def test_more_of_a_gpu_never_costs_time_in_many_cases(fidelity):
    assert not slower(range(FEW, FEW + MANY), fidelity)


@pytest.mark.parametrize("fidelity", MODELS)
def test_a_library_chooses_no_worse_than_by_its_margin_on_more(fidelity):
    assert not slower(FREE[fidelity], fidelity, chooses=True)


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", MODELS)
def test_a_library_chooses_no_worse_than_by_its_margin_in_many_cases(fidelity):
    many = MANY if fidelity == "analytical" else MANY // 5  # a choice runs several kernels
    assert not slower(range(FREE[fidelity].stop, many), fidelity, chooses=True)


def test_more_multiprocessors_never_leave_less_to_choose_from():
    """On every kernel set of an A100, through counts at which waves end whole."""
    a100 = load_hardware("a100-sxm4-80gb")
    for form, sizes in ((form, (384, 640, 4096, 1)) for form in a100.formats):
        before = set()
        for sms in range(4, 140, 4):
            found = resolve(load_hardware(a100, sms=sms), Call(form.dtype))
            counted, rules = Size(*map(float, sizes)), rules_of(found)
            rows = considered(found.chip, found.table, found.splits, rules, counted)
            now = {tuple(row) for row in rows}
            assert before <= now
            before = now


@pytest.mark.parametrize("fidelity", MODELS)
def test_no_kernel_is_below_its_bound(fidelity):
    for seed in range(FEW):
        rng = np.random.default_rng(seed)
        machine, call, sizes = drawn(rng)
        row, split = held(rng, machine, call, sizes)
        found = resolve(machine, call)
        chip = found.cycle_chip if fidelity == "cycle" else found.chip
        counted = Size(*map(float, sizes))
        least = at_least(chip, found.form, found.table[row], float(split), counted)
        taken = held_us(machine, call, sizes, row, split, fidelity) * machine.clock_mhz
        assert 0 < least <= taken * (1 + 1e-9)


def test_a_run_that_finds_memory_idle_is_no_longer():
    for seed in range(FEW):
        rng = np.random.default_rng(seed)
        machine, call, sizes = drawn(rng)
        row, split = held(rng, machine, call, sizes)
        found = resolve(machine, call)
        idle, settled = (
            cycle.run_kernel(machine, call, found, found.table[row], split, sizes, idle=idle)
            for idle in (True, False)
        )
        assert idle.clocks <= settled.clocks


@pytest.mark.parametrize("fidelity", MODELS)
@pytest.mark.parametrize(("dtype", "sizes"), [
    ("bf16", (48, 2560, 1536, 1)), ("fp32", (70, 300, 780, 1)), ("bf16", (128, 1024, 512, 3)),
])  # fmt: skip
def test_what_runs_is_within_its_margin_of_all_that_is_considered(fidelity, dtype, sizes):
    machine, call = load_hardware("a100-sxm4-80gb"), Call(dtype)
    found, counted = resolve(machine, call), Size(*map(float, sizes))
    pairs = considered(found.chip, found.table, found.splits, rules_of(found), counted)
    every = [held_us(machine, call, sizes, int(row), int(split), fidelity) for row, split in pairs]
    assert min(every) <= free_us(machine, call, sizes, fidelity) <= MARGIN * min(every)


@pytest.mark.parametrize("fidelity", MODELS)
def test_more_multiprocessors_for_a_square_gemm(fidelity):
    """Through every count, so that waves end whole, nearly whole and with one tile over."""
    base = load_hardware("a100-sxm4-80gb")
    call, taken = Call("bf16", DENSE), []
    for sms in range(60, 140):
        machine = load_hardware(base, sms=sms)
        taken.append(held_us(machine, call, (2048, 2048, 1024, 1), 2, 1, fidelity))
    assert taken == sorted(taken, reverse=True)
