"""Settings that all tests share."""

from hypothesis import HealthCheck, settings

collect_ignore = ["campaigns"]  # scripts that are run by hand

# numba compiles on first use, which no deadline survives; the same examples are drawn every time.
settings.register_profile(
    "nmsim",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("nmsim")

collect_ignore = ["kinds"]  # a kind of machine registers itself where it is imported
