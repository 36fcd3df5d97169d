"""Settings that all tests share."""

import os

from hypothesis import HealthCheck, Phase, settings

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

MOST = int(os.environ.get("NMSIM_EXAMPLES", "0"))


def pytest_itemcollected(item):
    """Draw no more examples than a campaign wants, and shrink none, where kernels are slow."""
    test = getattr(item, "obj", None)
    asked = getattr(test, "_hypothesis_internal_use_settings", None)
    if MOST and asked is not None:
        most = min(asked.max_examples, MOST)
        fewer = settings(asked, max_examples=most, phases=[Phase.explicit, Phase.generate])
        test._hypothesis_internal_use_settings = fewer
