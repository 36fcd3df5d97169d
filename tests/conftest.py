"""Settings that all tests share, and how many examples a drawn test draws."""

import gc
import os
import sys

import pytest
from hypothesis import HealthCheck, Phase, settings

from nmsim import cli

# Scripts that are run by hand, and kinds of machine, which register themselves where imported.
collect_ignore = ["campaigns", "kinds"]

# numba compiles on first use, which no deadline survives; the same examples are drawn every time.
settings.register_profile(
    "nmsim",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("nmsim")

# NMSIM_EXAMPLES: the most that any test draws, or "all" that it asks for. A test that asks for
# more is marked `drawn`, so that its other examples can be run apart (`.ci/run` does).
FAST = 12
ASKED = os.environ.get("NMSIM_EXAMPLES", str(FAST))
MOST = None if ASKED == "all" else int(ASKED)


def pytest_itemcollected(item):
    """Draw no more examples than are wanted, and shrink none where kernels are interpreted."""
    test = getattr(item, "obj", None)
    own = getattr(test, "_hypothesis_internal_use_settings", None)
    if own is None:
        return
    if own.max_examples > FAST:
        item.add_marker(pytest.mark.drawn)
    if MOST is not None and own.max_examples > MOST:
        phases = [Phase.explicit, Phase.generate] if MOST < FAST else own.phases
        test._hypothesis_internal_use_settings = settings(own, max_examples=MOST, phases=phases)


def pytest_collection_finish(session):
    """Thousands of collected tests stay to the end: the collector need not walk over them."""
    gc.freeze()


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command line; its status, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nmsim", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        shown = capsys.readouterr()
        return stop.value.code or 0, shown.out, shown.err

    return run
