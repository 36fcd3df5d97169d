"""One row by the stack ``compiled``: a kernel that it generates, or PyTorch's for 4-bit weights."""

import pytest

import nmsim

GPU = "a100-sxm4-80gb"


def run(m=1, stack="compiled", fidelity="analytical", **overrides):
    found = nmsim.simulate(
        [nmsim.Gemm(m, 4096, 14336)],
        hardware=GPU,
        stack=stack,
        fidelity=fidelity,
        compare=False,
        overrides=overrides,
    )
    return found["time_us"].iloc[0], found["note"].iloc[0]


@pytest.mark.parametrize("fidelity", ["analytical", "cycle"])
def test_it_reads_the_weights_about_as_fast_as_memory_sends_them(fidelity):
    us, note = run(fidelity=fidelity)
    bytes_us = 4096 * 14336 * 2 / (nmsim.load_hardware(GPU).dram.gbps * 1e3)
    assert bytes_us < us < 1.1 * bytes_us
    assert "the stack generates" in note
    assert us < run(stack="best", fidelity=fidelity)[0]


@pytest.mark.parametrize(
    ("m", "overrides"),
    [(2, {}), (1, {"library": "cublas"}), (1, {"dtype": "w4a16", "library": "marlin"})],
)
def test_other_rows_named_libraries_and_four_bits_run_as_under_best(m, overrides):
    us, note = run(m=m, **overrides)
    assert us == run(m=m, stack="best", **overrides)[0]
    assert "generates" not in note


def kernel(stack, **overrides):
    found = nmsim.simulate(
        [nmsim.Gemm(1, 12288, 4096)],
        hardware=GPU,
        stack=stack,
        fidelity="analytical",
        overrides={"dtype": "w4a16", **overrides},
    )
    return found["kernel"].iloc[0], found["time_us"].iloc[0]


def test_weights_of_four_bits_run_by_the_library_that_the_stack_has_for_them():
    """Four threadblocks of 8 warps, each with 512 bytes on their way: memory is not kept busy."""
    name, us = kernel("compiled")
    assert name == "tinygemm 16x64x128_2 split 8"
    best, fastest = kernel("best")
    assert best.startswith("marlin")
    assert us > 1.1 * fastest
    in_flight = 108 * 4 * 8 * 512
    bits = 4.125
    waits = 12288 * 4096 * bits / 8 / in_flight
    assert us > waits * nmsim.load_hardware(GPU).timing.load_us
    assert kernel("compiled", library="marlin") == (best, fastest)
    assert kernel("pytorch")[0] == name


def test_a_zero_beside_the_scale_and_smaller_groups_are_more_bytes():
    few, many = (
        kernel(
            "compiled", **{"packed_weights.w4a16.group": g, "packed_weights.w4a16.scale_bits": b}
        )
        for g, b in ((128, 16), (32, 32))
    )
    assert many[0] == few[0]
    assert many[1] > few[1]
