"""Numbers of a machine that no machine has: refused in a line, or run, and never a crash."""

import math

import pytest
from pydantic import BaseModel

from nmsim.errors import NmsimError
from nmsim.machines import FIDELITIES, load_hardware
from nmsim.run.point import Point, rows

EXTREMES = (1e308, 1e30, 2**62, 1e-300, 0, -1)
MACHINES = ("systolic-128x128-intersecting", "a100-sxm4-80gb")


def numbers(model, path=""):
    """Dotted paths of the numbers of a machine; of lists those at both ends."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from numbers(value, f"{path}{name}.")
        elif isinstance(value, tuple):
            for place in sorted({0, len(value) - 1}) if value else ():
                if isinstance(one := value[place], BaseModel):
                    yield from numbers(one, f"{path}{name}.{place}.")
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield f"{path}{name}"


def outcome(name, point):
    """The numbers of a run, or why it is refused."""
    try:
        (row,) = rows(Point("gemm:256x128x512", hardware=name, **point))
    except NmsimError as error:
        return str(error)
    return [one for one in row.values() if isinstance(one, float)]


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_an_extreme_number_is_refused_or_runs(name):
    refused = ran = 0
    for path in numbers(load_hardware(name)):
        for value in EXTREMES:
            for fidelity in FIDELITIES:
                point = {"overrides": {path: value}, "fidelity": fidelity, "recipe": "asp"}
                found = outcome(name, point)
                if isinstance(found, str):
                    refused += 1
                    assert "\n" not in found
                    continue
                ran += 1
                assert all(map(math.isfinite, found)), (path, value, fidelity)
    assert min(refused, ran) > 20
