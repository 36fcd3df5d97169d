"""CSR products on CUDA cores: counts, bounds, and a table of a paper entry by entry."""

from itertools import pairwise
from pathlib import Path

import pytest

from nmsim.errors import ShapeError, SpecError
from nmsim.machines import load_hardware
from reports.papers import csr_kernels
from reports.papers.csr import BOUNDS, COSTS, csr_time, spmm_call_time

A100 = load_hardware("a100-sxm4-80gb-documented")


def faster(**fields):
    """The A100 with one thing so fast that it takes no time."""
    return load_hardware(A100, **{name.replace("__", "."): value for name, value in fields.items()})


def test_bytes_and_macs_by_hand():
    # 64 x 128 at 1/4 times 128 x 32: 2048 kept, 65536 MACs, 262144 bytes gathered, one chunk of
    # columns, 64 warps in one round.
    time = csr_time(A100, 64, 32, 128, 0.25)
    cores, l1, l2, dram, latency = time.shares_us
    assert cores == pytest.approx(65536 / (108 * 64 * 1410))
    assert l1 == pytest.approx(262144 / (108 * 128 * 1410))
    sparse = 2048 * 8 + 65 * 4
    assert l2 == pytest.approx((262144 + sparse) / 5400e3)
    assert dram == pytest.approx((sparse + (128 + 64) * 32 * 4) / 1769e3)
    assert latency == pytest.approx(3 * 211 / 1410)
    assert time.total_us == pytest.approx(COSTS.launch_us + latency)
    assert time.bound == "fixed cost"


def test_columns_come_in_chunks_of_a_warp():
    one, two = (csr_time(A100, 108 * 64, cols, 16, 0.5).shares_us for cols in (32, 33))
    assert two[4] == 2 * one[4]
    # Each chunk reads the sparse operand again, from L2.
    kept, pointers = 108 * 64 * 8, (108 * 64 + 1) * 4
    assert two[2] == pytest.approx((kept * 33 * 4 + 2 * (kept * 8 + pointers)) / 5400e3)


def test_each_bound_binds_somewhere():
    unlike = {
        "cuda cores": csr_time(
            faster(sm__shared_bytes_per_clk=1e6, l2__gbps=1e6), 4096, 256, 4096, 0.5
        ),
        "l1 bandwidth": csr_time(faster(l2__gbps=1e6), 4096, 256, 4096, 0.5),
        "l2 bandwidth": csr_time(A100, 4096, 256, 4096, 0.5),
        "dram bandwidth": csr_time(A100, 8192, 1, 8192, 0.5),
        "load latency": csr_time(A100, 10**6, 1, 64, 0),
    }
    assert tuple(unlike) == BOUNDS
    assert {name: time.bound for name, time in unlike.items()} == {name: name for name in unlike}


def test_a_call_adds_a_copy_of_the_dense_operand_zeros_and_the_host():
    kernel = csr_time(A100, 3072, 196, 768, 0.5)
    call = spmm_call_time(A100, 3072, 196, 768, 0.5)
    moved = (2 * 768 + 3072) * 196 * 4 / 1769e3
    added = 2 * COSTS.launch_us + COSTS.host_us + moved
    assert call.total_us - kernel.total_us == pytest.approx(added)
    bare = spmm_call_time(A100, 3072, 196, 768, 0.5, costs=COSTS._replace(host_us=0.0))
    assert bare.total_us == pytest.approx(call.total_us - COSTS.host_us)


@pytest.mark.parametrize("size", [(3072, 196, 768), (64, 1, 5000), (5000, 3000, 64)])
def test_sparser_is_never_slower_and_never_gains_more_than_its_elements(size):
    times = [csr_time(A100, *size, density).total_us for density in (1, 0.5, 0.25, 0.01, 0)]
    assert all(sparser <= denser for denser, sparser in pairwise(times))
    assert times[1] <= 2 * times[2]


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ShapeError, match="expected sizes of 1 or more and a density of 0 to 1"):
        csr_time(A100, 64, 64, 64, 1.5)
    with pytest.raises(ShapeError):
        csr_time(A100, 64, 0, 64, 0.5)
    bare = A100.model_copy(update={"formats": A100.formats[:1]})
    with pytest.raises(SpecError, match="fp32"):
        csr_time(bare, 64, 64, 64, 0.5)


def test_table_19_ranks_gpus_as_printed():
    usual = next(iter(csr_kernels.CALLS))
    gpus = {
        name: {pattern: entry[usual] for pattern, entry in of.items()}
        for name, of in csr_kernels.measure_csr()["gpus"].items()
    }
    # The faster the GPU, the more of the time is fixed.
    for pattern in ("1:4", "1:8", "1:16", "1:32", "1:128"):
        v100, a100, gh200 = (gpus[name][pattern]["speedup"] for name in ("V100", "A100", "GH200"))
        assert v100 > a100 > gh200
    assert all(of["2:4"]["speedup"] == 1 for of in gpus.values())


def test_the_page_shows_table_19_as_computed():
    page = Path(__file__).parents[1] / "docs" / "gpus.md"
    assert csr_kernels.markdown() in page.read_text(encoding="utf-8")
