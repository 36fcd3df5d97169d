"""Times that contradict each other: who is named, and that kernels agree with plain Python."""

import numpy as np
import pytest

from nmsim.measured import plausible
from nmsim.measured.plausible import GROWTH, not_growing
from nmsim.measured.tables import COLUMNS, read_measured, read_shipped

ROW = "me,A100,SXM4-80GB,cublas,dense,,bf16,fp32,{},{},{},1,{}"


def found(path, *rows):
    """Of a table of (m, n, k, time), the rows that are named."""
    path.write_text("\n".join([",".join(COLUMNS), *(ROW.format(*row) for row in rows), ""]))
    measured = read_measured(path)
    return not_growing(measured, np.arange(len(measured)))


def test_a_larger_gemm_that_is_far_faster_is_named(tmp_path):
    rows = [(64, 512, 1024, 80.0), (64, 512, 2048, 9.9), (64, 512, 4096, 10.1)]
    named = found(tmp_path / "t.csv", *rows)
    assert named == {1: "time_us is 9.9, but 64x512x1024 (line 2), no larger, took 80"}


def test_the_odd_one_out_is_named_and_not_those_around_it(tmp_path):
    rows = [(m, 512, 512, 10 + m / 64) for m in (1, 2, 4, 8, 16, 32, 64)]
    rows[3] = (8, 512, 512, 150.0)
    assert list(found(tmp_path / "t.csv", *rows)) == [3]
    rows[3] = (8, 512, 512, 1.2)
    assert list(found(tmp_path / "t.csv", *rows)) == [3]


def test_what_is_not_smaller_in_every_size_says_nothing(tmp_path):
    rows = [(64, 512, 1024, 80.0), (32, 512, 4096, 5.0), (64, 256, 4096, 5.0)]
    rows += [(64, 512, 1024, 5.0), (64, 512, 1023, 200.0)]  # its own size; not aligned
    assert not found(tmp_path / "t.csv", *rows)


def plain(sizes, times):
    """Rows to drop, by looking at every pair: the one with most contradictions first."""
    rows = range(len(times))

    def contradict(slow, fast):
        smaller = (sizes[slow] <= sizes[fast]).all() and (sizes[slow] != sizes[fast]).any()
        return smaller and times[slow] > GROWTH * times[fast]

    pairs = {(slow, fast) for slow in rows for fast in rows if contradict(slow, fast)}
    too_fast = {fast for _, fast in pairs}
    dropped = []
    while pairs:
        against = [2 * sum(row in pair for pair in pairs) + (row in too_fast) for row in rows]
        dropped.append(int(np.argmax(against)))
        pairs = {pair for pair in pairs if dropped[-1] not in pair}
    return dropped, too_fast


@pytest.mark.parametrize(("bins", "most"), [(512, 1000), (3, 1000), (512, 0)])
def test_kernels_name_the_rows_that_plain_python_names(monkeypatch, bins, most):
    monkeypatch.setattr(plausible, "BINS", bins)
    monkeypatch.setattr(plausible, "MOST", most)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sizes = rng.choice([8.0, 16.0, 24.0, 64.0, 128.0, 512.0], (30, 3))
        sizes = sizes[np.argsort(sizes[:, 0], kind="stable")]
        times = np.exp(rng.normal(3, 1.2, 30))
        dropped, too_fast = plain(sizes, times)
        named = [row for row, _ in plausible.contradicting(sizes, times)]
        assert named == dropped if most else set(named) == too_fast
        assert named


def test_no_shipped_time_contradicts_another():
    """Though on an L40S some are close to it: what is let pass is not let pass for nothing."""
    named = {}
    for name in ("a100-dense-int8", "l40s-dense-bf16"):
        rows = read_shipped(name)
        assert not not_growing(rows, np.arange(len(rows)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plausible, "GROWTH", 6.0)
            named[name] = len(not_growing(rows, np.arange(len(rows))))
    assert named["a100-dense-int8"] == 0
    assert named["l40s-dense-bf16"] > 20
