"""A plug-in of pytest that gives up on tests that take long, and notes how long the others took.

``NMSIM_PATIENCE`` is the wall time in seconds that a test may take with its fixtures;
``NMSIM_SECONDS`` is the file that receives the seconds of every test that passed within it (JSON).
A campaign over interpreted kernels takes from it the tests that are quick enough to be repeated.
``NMSIM_EXAMPLES`` also bounds the examples of those tests that say themselves how many they draw.
"""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import Phase, is_hypothesis_test, settings

PATIENCE = float(os.environ.get("NMSIM_PATIENCE", "0"))
SECONDS = os.environ.get("NMSIM_SECONDS")
EXAMPLES = int(os.environ.get("NMSIM_EXAMPLES", "0"))


class TooLong(BaseException):
    """The time of a test is up; no ``Exception``, which hypothesis would try to reproduce."""


def _give_up(number, frame):
    raise TooLong


class Record:
    """The seconds of the tests that passed in time."""

    def __init__(self):
        self.seconds = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        self.begun, self.failed = time.perf_counter(), False
        try:
            done = yield
        except TooLong:
            return True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if not self.failed:
            self.seconds[item.nodeid] = time.perf_counter() - self.begun
            if SECONDS:  # at once: a file whose tests take too long together is cut short
                Path(SECONDS).write_text(json.dumps(self.seconds), "utf-8")
        return done

    def pytest_runtest_logreport(self, report):
        self.failed |= not report.passed


def pytest_collection_modifyitems(items):
    """Draw few examples, and do not look for the smallest that fails."""
    for item in items:
        test = getattr(item, "obj", None)
        if EXAMPLES and is_hypothesis_test(test):
            test = getattr(test, "__func__", test)
            own = test._hypothesis_internal_use_settings
            few = min(own.max_examples, EXAMPLES)
            test._hypothesis_internal_use_settings = settings(
                own, max_examples=few, phases=(Phase.explicit, Phase.generate)
            )


def pytest_configure(config):
    """Watch over the tests if a campaign asks for it."""
    if PATIENCE:
        config.pluginmanager.register(Record())
