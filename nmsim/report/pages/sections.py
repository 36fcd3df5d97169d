"""The tables of a page: totals of a run, points of a sweep, every row, the glossary, machines."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nmsim.machines import COLUMNS
from nmsim.report.evidence import beyond_tile
from nmsim.report.notation import (
    MISSING,
    duration,
    grouped,
    percent,
    ratio,
    trimmed,
)
from nmsim.report.pages.markup import Cell, Head, Safe, el, sheet
from nmsim.report.pages.rows import GLOSSARY, unit_of
from nmsim.report.space import Space
from nmsim.report.summary import (
    bound_shares,
    dram_supply,
    estimated,
    gemm_rows,
    meant_speedup,
    phase_summary,
    quotient,
    step_counts,
    step_words,
)
from nmsim.report.sums import costs, speedups

__all__ = ["best_points", "glossary", "space_said", "tiles", "totals_table"]

Total = Mapping[str, Any]

_MOST_REASONS = 3


def tiles(df: pd.DataFrame, manifest: Mapping[str, Any]) -> Safe:
    """The figures that a reader looks for first, each with what to hold it against."""
    whole = phase_summary(gemm_rows(df))["all"]
    supply = dram_supply(manifest["machine"])
    shown = (
        _gain(whole),
        *([] if whole["beyond_share"] is None else [beyond_tile(whole)]),
        _time(whole),
        (
            "Stalled",
            f"{percent(quotient(whole['stall_cycles'], whole['cycles']))} %",
            f"of {grouped(whole['cycles'])} cycles",
        ),
        ("Utilisation", f"{percent(whole['utilization'])} %", "of the MAC slots in these cycles"),
        (
            "DRAM traffic",
            f"{grouped(whole['dram_gbps'], 1)} GB/s",
            f"the machine has {trimmed(supply)} GB/s" if supply else "the machine sets no limit",
        ),
    )
    return el("div", *(_tile(*tile) for tile in shown), class_="tiles")


def _gain(whole: Total) -> tuple[str, str, str]:
    """The speed-up that is meant, and what it is to be held against."""
    ideal = f"ideal of the masks {_times(whole['speedup_ideal'])}"
    gemms = _times(whole["speedup"])
    if step_counts(whole):
        shown = _times(whole["step_speedup"])
        name = f"Speed-up of the step, {step_words(whole)}"
        return name, shown, f"its GEMMs alone {gemms}; {ideal}"
    return "Speed-up of the GEMMs", gemms, ideal


def _within(text: str) -> str:
    """A text as it goes on within another one."""
    return text[:1].lower() + text[1:]


def _time(whole: Total) -> tuple[str, str, str]:
    if step_counts(whole):
        beside = f"{percent(whole['mask_share'])} % of it masks"
        if estimated(whole):
            share = percent(whole["time_us"] / whole["step_us"])
            beside = f"an estimate; {share} % of it GEMMs, {beside}"
        against = f"dense step {duration(whole['dense_step_us'])}"
        return "Time of the step", duration(whole["step_us"]), f"{beside}; {against}"
    dense = f"dense run {duration(whole['dense_time_us'])}"
    return "Time of the GEMMs", duration(whole["time_us"]), dense


def _why(total: Total) -> str:
    """What rows say of their speed-ups; a phase that no mask reaches has a reason too."""
    told = "; ".join(total["reasons"][:_MOST_REASONS])
    if told or total["speedup"] is None or total["masked"]:
        return told or MISSING
    return "no mask is offered to it" if ratio(total["speedup"]) == "1.00" else MISSING


def best_points(space: Space) -> Safe:
    """For every model of a sweep, the point whose step gains most over all phases.

    Of two fidelities the cycle-level one decides.
    """
    best: dict[str, tuple[bool, float, int]] = {}
    for number, (point, sums) in enumerate(space.points):
        speedup = meant_speedup(sums["all"])
        if speedup is not None:
            found = (point["fidelity"] == "cycle", speedup, number)
            if point["model"] not in best or found[:2] > best[point["model"]][:2]:
                best[point["model"]] = found
    ranked = sorted(best.items(), key=lambda one: -one[1][1])[:_MOST_TILES]
    shown = (_best_tile(space, model, number) for model, (*_, number) in ranked)
    return el("div", *(_tile(*tile) for tile in shown), class_="tiles")


_MOST_TILES = 6


def _best_tile(space: Space, model: str, number: int) -> tuple[str, str, str]:
    whole = space.points[number][1]["all"]
    alone = [f"its GEMMs alone {_times(whole['speedup'])}"] * step_counts(whole)
    told = [one for one in space.told(number) if one != f"model {model}"]
    title = f"{model}: highest {_within(_gain(whole)[0])}"
    return title, _times(meant_speedup(whole)), " · ".join([*told, *alone])


def space_said(space: Space) -> str:
    """The answer that a sweep gives, in a sentence or two: how much, where, and how many lose."""
    gains = space.measures.get("speedup")
    count = f"{len(space.points):,} points" if len(space.points) > 1 else "One point"
    if gains is None:
        return f"{count}, and no dense run to compare with."
    every = [(gain, number) for number, gain in enumerate(gains) if gain is not None]
    exact = [one for one in every if space.points[one[1]][0]["fidelity"] == "cycle"]
    known = exact or every
    if len(known) < len(every):
        count += f", by the {len(known):,} of fidelity cycle"
    most, best = max(known, key=lambda one: one[0])
    least = min(gain for gain, _ in known)
    of = "the step gains" if space.of_steps else "GEMMs gain"
    if len(known) == 1:
        return f"One point: {of} {_times(most)} over the dense run."
    lose = sum(ratio(gain) != "1.00" and gain < 1 for gain, _ in known)
    lost = "none loses" if not lose else f"{lose:,} lose" if lose < len(known) else "all lose"
    where = ", ".join(space.told(best)) or "all alike"
    return (
        f"Of {count}, {of} from {_times(least)} to {_times(most)} over the dense run, most "
        f"with {where}; {lost}."
    )


def _tile(what: str, much: str, more: str) -> Safe:
    parts = (("what", what), ("much", much), ("more", more))
    return el("div", *(el("div", text, class_=style) for style, text in parts), class_="tile")


def _times(speedup: float | None) -> str:
    return MISSING if speedup is None else f"{ratio(speedup)}×"


def totals_table(df: pd.DataFrame) -> Safe:
    """One line per phase and one for all: speed-ups, cycles, time, bandwidth, bound.

    MACs and bytes stand in the table of the step, under this one.
    """
    sums = phase_summary(gemm_rows(df))
    if len(sums) == 2:
        sums.pop("all")
    columns = (
        *speedups(list(sums.values())),
        *costs(list(sums.values())),
    )
    rows = [
        [
            Cell("all phases" if phase == "all" else phase, style=f"phase {phase}"),
            *(one.cell(total) for one in columns),
            Cell(bound_shares(total["bound"]) or MISSING, style="bound"),
            Cell(_why(total), style="why"),
        ]
        for phase, total in sums.items()
    ]
    why = Head("why", "GEMMs and what is said of their speed-ups", "that of most GEMMs first")
    bound = Head("bound by", "share of time", "what limits the rows of the phase")
    return sheet((Head("phase"), *(one.head for one in columns), bound, why), rows, "totals")


def _anchored(name: str) -> Cell:
    """The name of a column, which links can point at."""
    return Cell(el("span", name, id=f"column-{name}"))


def glossary(swept: bool) -> Safe:
    """What every column means, and its unit."""
    columns = (*(GLOSSARY if swept else ()), *COLUMNS)
    rows = [[_anchored(c.name), Cell(unit_of(c.name) or MISSING), Cell(c.meaning)] for c in columns]
    return sheet((Head("column"), Head("unit"), Head("meaning")), rows, "glossary")
