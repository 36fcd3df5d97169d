"""What stands below the figures of a page."""

from collections.abc import Mapping

from nmsim.report.space import Kind

__all__ = ["RUN", "SPACE", "SPEEDUP"]

_WAITING = (
    "The hatched part is time that an array waits for memory, or that a GPU's tensor cores idle."
)
_IDEAL = (
    "Ticks are what the masks promise to a machine that skips every pruned MAC and waits for "
    "nothing: dense over useful MACs."
)
_ROOF = (
    "A point is a GEMM, larger where it takes longer. The roof is what rows tell of the machine: "
    "its peak, and DRAM's bandwidth up to it. MACs are those that the machine issues."
)
_LONGEST = "Lines of most time first; what is beyond them is one line."

RUN: Mapping[str, str] = {
    "waterfall": "Promised is every GEMM's dense time over its own MAC ratio: another gain than "
    "the ratio of all MACs, where times differ from MACs. Dark: what GEMMs lose of what their "
    "masks promise, by the parts of their cycles. What the dense run spends beside useful MACs, "
    "over the promise, is taken off the parts in proportion: rows tell its cycles, not its parts.",
    "phase-time": "Each phase, masks included where making them takes time, what is no GEMM where "
    f"it was estimated, and the dense run on the same machine. {_WAITING}",
    "layer-time": f"Where the time goes, all copies and repeats of a layer together. {_LONGEST} "
    f"{_WAITING} A click on a bar shows its row in the table, and the other way about.",
    "roofline": _ROOF,
    "speedup": "Of each GEMM, without the making of its masks: dense cycles over these cycles, "
    f"same machine, same fidelity. {_IDEAL} Crosses are masks that could be used and are not, as "
    "the GEMM is no slower dense: dense cycles over those that it would take with them.",
    "bandwidth": "Bytes read from and written to DRAM over time, against what the machine has.",
    "macs": "Dense M·N·K in grey, the slots that the machine spends in colour, ticks at the pairs "
    "whose mask bits are both set. What lies between colour and tick is padding and empty slots.",
}
"""Of the figures of a run."""

SPEEDUP: Mapping[Kind, str] = {
    "point": f"The point, phase by phase. {_IDEAL}",
    "groups": f"A dot for each point; lines in order of their best. {_IDEAL}",
    "lines": "A line for each combination of what is no number; marks are points that were run.",
    "heat map": "A cell for each point; a click shows it in the table.",
    "parallel": "A line for each point. Drag along an axis to choose points, click it to let them "
    "go; the table follows.",
}
"""Of the figure that a design space gets, by its kind."""

SPACE: Mapping[str, str] = {
    "front": "Points that no other is as good as in both measures, and better in one. Costs and "
    "machine fields count as better where they are less.",
    "importance": "Share of the variance that the means at each value of a field explain (the "
    "correlation ratio). What is left is told by fields together.",
    "layers": "Dense cycles over these, all points of a pattern together.",
    "roofline": _ROOF,
}
"""Of the other figures of a design space."""
