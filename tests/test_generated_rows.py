"""A dense GEMM of one row is a kernel that the stack ``compiled`` generates, and no library's."""

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
    ("m", "overrides"), [(2, {}), (1, {"library": "cublas"}), (1, {"dtype": "w4a16"})]
)
def test_other_rows_named_libraries_and_four_bits_run_as_under_best(m, overrides):
    us, note = run(m=m, **overrides)
    assert us == run(m=m, stack="best", **overrides)[0]
    assert "generates" not in note
