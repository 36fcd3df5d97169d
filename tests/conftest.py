"""Settings that all tests share."""

import os

from hypothesis import HealthCheck, settings

# Scripts that are run by hand, and kinds of machine, which register themselves where imported.
collect_ignore = ["campaigns", "kinds"]

# numba compiles on first use, which no deadline survives; the same examples are drawn every time.
settings.register_profile(
    "nmsim",
    deadline=None,
    max_examples=int(os.environ.get("NMSIM_EXAMPLES", "100")),  # fewer with interpreted kernels
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("nmsim")
