"""What a learned residual costs: the closed form and its correction, on all cores."""

import numpy as np
import pytest

from nmsim.machines import Call, kind_of, load_hardware, with_residual
from nmsim.measured.predict import IN_TURN

GEMMS = 100_000


@pytest.mark.parametrize("name", ["a100-sxm4-80gb", "h100-sxm"])
def test_two_hundred_thousand_gemms_a_second(benchmark, name):
    draw = np.random.default_rng(0)
    sizes = np.ones((GEMMS, 4))
    sizes[:, :3] = 2 ** np.round(draw.uniform(6, 13, (GEMMS, 3)))
    machine = with_residual(load_hardware(name), name)
    kind, call = kind_of(machine), Call("bf16", library="cublas", in_turn=IN_TURN)

    def corrected():
        found = kind.learned.corrected(machine, call, sizes)
        return found.physics * found.factors

    found = benchmark.pedantic(corrected, rounds=5, warmup_rounds=1)
    assert (found > 0).all()
    assert benchmark.stats.stats.min < GEMMS / 200_000
