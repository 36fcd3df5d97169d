"""Groups of options in ``--help``: the same words for the same things, whatever the command."""

__all__ = ["BY_KEYWORD", "HARDWARE", "ORDER", "OUTPUT", "PRUNING", "RUN", "WORKERS", "WORKLOAD"]

WORKLOAD = "Workload"
PRUNING = "Pruning"
HARDWARE = "Hardware"
RUN = "Simulation"
WORKERS = "Workers"
OUTPUT = "Output"

ORDER = (WORKLOAD, PRUNING, HARDWARE, RUN, WORKERS, OUTPUT)
"""Groups as they stand below one another; what is in none comes last."""

_KEYWORDS = {
    WORKLOAD: (
        *("model", "scenario", "batch", "tokens", "context", "generate", "phases", "layers"),
        *("lowering", "learn", "recompute", "reentrant", "adapters", "micro_batches"),
    ),
    PRUNING: ("recipe", "pattern", "plugins", "tensors", "tensor_names", "seed"),
    HARDWARE: ("hardware", "overrides", "stack", "library", "kernel", "tp", "technology"),
    RUN: (
        *("fidelity", "compare", "elementwise", "residual", "sample", "cost"),
        "optimizer",
    ),
}

BY_KEYWORD = {name: panel for panel, names in _KEYWORDS.items() for name in names}
"""The group of a run's keyword."""
