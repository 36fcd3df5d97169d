"""The tables of the page: accuracies, and speed-ups of the traces by phase."""

from collections.abc import Mapping
from typing import Any

from nmsim.report.pages.markup import Cell, Head, Safe, sheet
from reports.digits.digits_claims import NETWORKS, interval, paired

__all__ = ["TABLES"]

Figures = Mapping[str, Any]


def _number(text: str, key: float) -> Cell:
    return Cell(text, key=key)


def accuracies(figures: Figures) -> Safe:
    """Test accuracy of every run, and its difference from dense training."""
    heads = [Head("recipe"), Head("pattern", "N:M")]
    for name in NETWORKS.values():
        heads += [
            Head(f"{name}, accuracy", "%, 450 digits", "mean and 95% interval", number=True),
            Head(f"{name}, less dense", "points", "paired by seed", number=True),
            Head(f"{name}, last loss", "training", "mean of the last epoch", number=True),
        ]
    runs = figures["runs"]
    rows = []
    for run in next(iter(runs.values())):
        recipe, pattern = run.split(" ")
        cells = [Cell(recipe), Cell("–" if recipe == "dense" else pattern)]
        for network in NETWORKS:
            of, dense = runs[network][run], runs[network]["dense 2:4"]
            found = interval(of["accuracy"])
            away = paired(of["accuracy"], dense["accuracy"])
            loss = interval([losses[-1] for losses in of["losses"]])
            cells += [
                _number(found.shown(".2f", 100), found.mean),
                Cell("–") if recipe == "dense" else _number(away.shown("+.2f", 100), away.mean),
                _number(loss.shown(".4f"), loss.mean),
            ]
        rows.append(cells)
    return sheet(heads, rows, "")


def speedups(figures: Figures) -> Safe:
    """Speed-up, ideal and cycles by machine, network, phase and fidelity."""
    heads = [
        Head("machine"),
        Head("network"),
        Head("layers"),
        Head("phase"),
        Head("cycles", "cycle", number=True),
        Head("speed-up", "cycle", "dense cycles over these", number=True),
        Head("cycles", "analytical", number=True),
        Head("speed-up", "analytical", "dense cycles over these", number=True),
        Head("ideal", "MAC ratio", "dense over useful MACs", number=True),
        Head("of peak", "%, cycle", "MAC slots issued over those there were", number=True),
    ]
    rows = [
        _speedup_row(machine, network, label, phase, of, part)
        for machine, networks in figures["machines"].items()
        for network, of in networks.items()
        for part, label in (("weighted", "with a weight"), ("all", "all"))
        for phase in of["cycle"][part]
        if part == "weighted" or of["cycle"]["all"] != of["cycle"]["weighted"]
    ]
    return sheet(heads, rows, "")


def _speedup_row(
    machine: str, network: str, label: str, phase: str, of: Figures, part: str
) -> list[Cell]:
    cycle, closed = of["cycle"][part][phase], of["analytical"][part][phase]
    cells = [Cell(machine), Cell(NETWORKS[network]), Cell(label), Cell(phase)]
    for values in (cycle, closed):
        cells += [
            _number(f"{values['cycles']:,}", values["cycles"]),
            _number(f"{values['speedup']:.2f}×", values["speedup"]),
        ]
    share = 100 * cycle["utilization"]
    ideal = cycle["speedup_ideal"]
    return [*cells, _number(f"{ideal:.2f}×", ideal), _number(f"{share:.2g}", share)]


TABLES = {"training": accuracies, "step": speedups}
