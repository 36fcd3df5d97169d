"""What L2 still holds of an earlier launch: a series that goes through few weights is faster."""

import numpy as np
import pytest

from nmsim.errors import SpecError
from nmsim.machines import Call, load_hardware
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.routines import call_times
from nmsim.machines.gpu.waves import held_of
from nmsim.measured.predict import IN_TURN, predict
from nmsim.measured.tables import COLUMNS, read_measured

A100 = load_hardware("a100-sxm4-80gb")
FIDELITIES = ("analytical", "cycle")
SMALL = (32, 4096, 512, 1)
"""B is 4 MiB: five of them take half of L2."""
LARGE = (32, 16384, 8192, 1)
VECTOR = (1, 512, 512, 1)


def time(fidelity, in_turn, *sizes):
    call = Call("bf16", library="cublas", in_turn=in_turn)
    return call_times(A100, call, np.array(sizes, np.float64), fidelity)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_the_fewer_weights_the_more_is_held(fidelity):
    ran = [time(fidelity, turns, SMALL)[0] for turns in (1, 3, 5, 9, 40)]
    assert ran == sorted(ran)
    assert ran[0] < 0.9 * ran[-1]
    assert ran[-1] <= time(fidelity, 0, SMALL)[0]


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("size", [LARGE, (8192, 8192, 8192, 1)])
def test_what_exceeds_l2_is_read_again(fidelity, size):
    assert time(fidelity, 1, size) == time(fidelity, 0, size)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_copies_share_the_cache(fidelity):
    few, many = (time(fidelity, 1, (64, 512, 512, n)) for n in (2, 2000))
    cold_few, cold_many = (time(fidelity, 0, (64, 512, 512, n)) for n in (2, 2000))
    assert few < cold_few
    assert many == cold_many


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_matrix_vector_kernel_reads_at_its_own_rate(fidelity):
    """Measured ones are no faster where L2 holds their weights."""
    assert time(fidelity, 1, VECTOR) == time(fidelity, 0, VECTOR)


def test_the_held_share_is_what_series_leave_of_the_cache():
    """By hand: A 0.5 MiB, B 2 MiB and C 1 MiB on 40 MiB."""
    found = resolve(A100, Call("bf16", library="cublas", in_turn=4))
    held = held_of(found.cycle_chip, found.form, (512, 1024 * 2, 512, 1))
    a, b, c = 0.5, 2.0, 2.0
    by_hand = a * (1 - (a + b + c) / 40) + b * (1 - (a + 4 * b + c) / 40)
    assert held == pytest.approx(by_hand / (a + b))
    cold = found.form._replace(in_turn=0.0)
    assert held_of(found.cycle_chip, cold, (512, 2048, 512, 1)) == 0


def csv_of(path, **extra):
    row = ["x", "A100", "SXM4-80GB", "cublas", "dense", "", "bf16", "fp32", 32, 2048, 1024, 1, 6.0]
    lines = [[*COLUMNS, *extra], [*row, *extra.values()]]
    path.write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n")
    return path


def predicted(path):
    return predict([read_measured(path)], fidelity="analytical").table["predicted_us"].item()


def test_a_file_says_how_many_weights_it_goes_through(tmp_path):
    unsaid = predicted(csv_of(tmp_path / "unsaid.csv"))
    assert unsaid == predicted(csv_of(tmp_path / "said.csv", in_turn=IN_TURN))
    assert unsaid == predicted(csv_of(tmp_path / "empty.csv", in_turn=""))
    assert unsaid < predicted(csv_of(tmp_path / "cold.csv", in_turn=0))


@pytest.mark.parametrize("bad", ["-1", "x", "1.5", "99999999999"])
def test_a_number_of_weights_that_cannot_be_is_refused(tmp_path, bad):
    with pytest.raises(SpecError, match=r"line 2: in_turn is"):
        read_measured(csv_of(tmp_path / "bad.csv", in_turn=bad))
