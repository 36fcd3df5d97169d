"""A GPU's constants: declared once, laid over one another in one place, and none left out."""

from itertools import chain

import pytest

from nmsim.errors import SpecError
from nmsim.machines import HARDWARE, Call, load_hardware
from nmsim.machines.gpu import schema as declared
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import chip_of, resolved
from nmsim.machines.gpu.tile import core_of, instruction_of
from nmsim.spec import edit_yaml

A100 = "a100-sxm4-80gb"
INT8 = "cutlass-int8-sm80"


def a100(**fields):
    return load_hardware(A100, **fields)


def library(machine, kernels):
    return next(one for one in machine.libraries if one.kernels == kernels)


def test_no_constant_is_declared_twice():
    blocks = (declared.Constants, declared.TimingOverride, declared.Timing, declared.Cycle)
    own = list(chain.from_iterable(vars(block)["__annotations__"] for block in blocks))
    assert len(own) == len(set(own)) == 19


@pytest.mark.parametrize(
    ("path", "analytical", "cycle"),
    [
        ("timing.launch_us", 9.7, 9.44),
        ("cycle.launch_us", 9.7, 9.44),
        (f"libraries.{INT8}.timing.launch_us", 9.0, 9.44),
        (f"libraries.{INT8}.cycle.launch_us", 9.7, 9.0),
    ],
)
def test_a_later_block_overrides_an_earlier_one(path, analytical, cycle):
    """In the file the library says 9.7 and 9.44 us; the machine's own never matter to it."""
    machine = a100(**{path: 9.0})
    own = library(machine, INT8)
    assert resolved(machine, own)["launch_us"] == analytical
    assert resolved(machine, own, "cycle")["launch_us"] == cycle


def test_what_a_library_leaves_open_is_the_machines():
    machine = a100(**{"cycle.launch_us": None, "timing.reduce_us": 9.0, "cycle.reduce_us": 8.0})
    for own in (None, library(machine, "cublas-sm80")):
        assert resolved(machine, own)["launch_us"] == machine.timing.launch_us
        assert resolved(machine, own, "cycle")["launch_us"] == machine.timing.launch_us
        assert resolved(machine, own)["reduce_us"] == 9
        assert resolved(machine, own, "cycle")["reduce_us"] == 8


def test_every_constant_of_the_cycle_model_may_be_a_librarys_or_the_machines():
    call = Call("bf16", library="cublas")
    fields = {"shared_queue_clk": 7, "barrier_clk": 9, "efficiency": 0.5}
    for block in ("cycle", "libraries.cublas-sm80.cycle"):
        machine = a100(**{f"{block}.{name}": value for name, value in fields.items()})
        core = core_of(machine, "bf16", library(machine, "cublas-sm80"))
        assert (core.shared_queue, core.barrier_latency) == (7, 9)
        slowed = instruction_of(machine, "bf16", resolve(machine, call)).cycles
        assert slowed == 2 * instruction_of(a100(), "bf16", resolve(a100(), call)).cycles
        assert resolve(machine, call).chip == resolve(a100(), call).chip


def without(tmp_path, name):
    path = tmp_path / "mine.yaml"
    path.write_text(edit_yaml(HARDWARE.path(A100), lambda document: document["timing"].pop(name)))
    return path


@pytest.mark.parametrize("name", declared.TimingOverride.model_fields)
def test_a_machine_states_every_field_of_its_timing(name, tmp_path):
    with pytest.raises(SpecError, match=rf"timing\.{name} is missing$"):
        load_hardware(without(tmp_path, name))


def test_the_schema_requires_them_too():
    required = declared.Gpu.model_json_schema()["$defs"]["Timing"]["required"]
    assert required == list(declared.TimingOverride.model_fields)


@pytest.mark.parametrize("fidelity", ["analytical", "cycle"])
def test_models_count_in_clocks_what_a_machine_states_in_time(fidelity):
    """At 1.41 GHz a microsecond is 1,410 clocks, and a GB/s is 1000 / 1410 bytes a clock."""
    machine = a100(clock_mhz=1410, **{"dram.gbps": 1500, "l2.gbps": 4000, "l2.mib": 40})
    found = resolve(machine, Call("bf16", library="cublas"))
    chip = found.chip if fidelity == "analytical" else found.cycle_chip
    said = resolved(machine, library(machine, "cublas-sm80"), fidelity)
    for rate, gbps in (
        ("l2", 4000),
        ("dram", 1500 * said["dram_share"]),
        ("write", said["write_gbps"]),
        ("gemv", said["gemv_gbps"]),
    ):
        assert getattr(chip, rate) == pytest.approx(gbps * 1000 / 1410), rate
    for time in ("launch", "load", "wave", "reduce", "start"):
        assert getattr(chip, time) == pytest.approx(said[f"{time}_us"] * 1410), time
    assert chip.throttle_half == pytest.approx(said["throttle_us"] * 1410)
    assert (chip.sms, chip.l2_bytes) == (108, 40 * 2**20)
    assert chip.absorbed == said["absorbed_mib"] * 2**20


def test_selecting_takes_what_a_sparse_rate_leaves_beside_registers():
    """mma.sp m16n8k32 at 1979 MACs a clock: four registers of A, B and C each, one of metadata."""
    core = core_of(a100(), "bf16")
    assert core.register_reads == 2
    assert core.selection_cycles == pytest.approx(16 * 8 * 32 * 4 / 1979 - 13 / 2)
    assert core_of(a100(), "fp32").selection_cycles == 0


@pytest.mark.parametrize("fidelity", ["analytical", "cycle"])
@pytest.mark.parametrize("field", ["timing.throttle", "cycle.throttle", "libraries.*.throttle"])
def test_conditions_of_the_clock_override_what_a_load_does_wherever_it_is_said(fidelity, field):
    """A short GEMM is slowed under sustained conditions; none is where the clock is locked."""
    if field == "libraries.*.throttle":
        own = library(a100(), INT8)
        timing = own.timing.model_copy(update={"throttle": 0.05})
        machine = a100().model_copy(
            update={"libraries": (own.model_copy(update={"timing": timing}),)}
        )
        machine = load_hardware(machine, dtype="int8")
    else:
        machine = a100(**{field: 0.05})
    held = {
        one: chip_of(machine.under(one), machine.libraries[0], 1024, fidelity)
        for one in ("free", "sustained", "locked")
    }
    assert held["sustained"][:2] == held["locked"][:2]
    throttles = {one: chip.throttle for one, chip in held.items()}
    assert throttles["sustained"] == 0.11
    assert throttles["locked"] == 0.0
    assert 0 < throttles["free"] < 0.11
    assert held["sustained"].throttle_half == held["locked"].throttle_half == 0.0
    above = load_hardware(machine, **{"timing.sustained_throttle": 0.0}).under("sustained")
    assert chip_of(above, machine.libraries[0], 1024, fidelity).throttle == throttles["free"]
