"""What ``nmsim.simulate`` gives: the rows of a run as a table that says what they come to."""

import html
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from rich.console import Console

from nmsim import report
from nmsim.errors import SpecError
from nmsim.machines import COLUMNS
from nmsim.report.step import step_name, step_sheet, step_table
from nmsim.report.terminal.explanation import explanation_text
from nmsim.run.answer import answer, sums
from nmsim.run.explanation import explain
from nmsim.run.keyword import Keyword, taking
from nmsim.run.manifest import manifest
from nmsim.run.point import Point, rows
from nmsim.run.rows.frame import frame

__all__ = ["Figures", "Simulation", "simulate"]

_SHOWN = ("layer", "phase", "m", "n", "k", "a_pattern", "b_pattern", "time_us", "bound", "speedup")
"""Columns of the table that is printed."""

_MOST = 20
"""Rows of the table that is printed; of more, the first and the last half of them."""

_WIDTH = 100


class Figures:
    """The figures of a run, as they stand on its page, each a plotly figure of its own.

    >>> import nmsim
    >>> found = nmsim.simulate("gemm:64x64x256", recipe="asp", phases="forward")
    >>> found.plot.speedup().layout.xaxis.title.text
    'speed-up of the GEMM [×]'
    """

    def __init__(self, table: pd.DataFrame, about: Mapping[str, Any]) -> None:
        self._table, self._about = table, about

    def __call__(self) -> dict[str, Any]:
        """Draw all figures that the run has data for, by name."""
        return report.figures(self._table, self._about)

    def speedup(self) -> Any:
        """Speed-up of every GEMM over its dense run, beside what its masks promise."""
        return self._one("speedup")

    def bandwidth(self) -> Any:
        """DRAM bandwidth of every GEMM against what the machine has, GB/s."""
        return self._one("bandwidth")

    def macs(self) -> Any:
        """MACs of every GEMM: dense, issued and useful."""
        return self._one("macs")

    def layer_time(self) -> Any:
        """Time of every GEMM, the machine at work and waiting for memory."""
        return self._one("layer-time")

    def waterfall(self) -> Any:
        """From the promise of the masks to what is left of it, part by part of the time."""
        return self._one("waterfall")

    def roofline(self) -> Any:
        """Every GEMM under the peak and the bandwidth of the machine."""
        return self._one("roofline")

    def phase_time(self) -> Any:
        """Time of every phase, dense and as run, with masks and what is no GEMM."""
        return self._one("phase-time")

    def _one(self, name: str) -> Any:
        drawn = self()
        if name not in drawn:
            raise SpecError(f"figure {name}: the run has no dense run (compare), expected one")
        return drawn[name]


@dataclass(frozen=True, eq=False)
class _Run:
    """A run, what it found, and what it must say of itself, as it was when it was run."""

    point: Point
    rows: list[dict[str, Any]]
    manifest: dict[str, Any]

    @classmethod
    def of(cls, point: Point) -> "_Run":
        found = list(rows(point))
        return cls(point, found, manifest(point, "nmsim.simulate").document())

    @cached_property
    def total(self) -> dict[str, dict[str, Any]]:
        """Sums per phase and for all."""
        return sums(self.rows, self.manifest)


class Simulation(pd.DataFrame):
    """The table of a run, a row for each GEMM, that also says what the run comes to.

    What is taken of it, sorted or copied is a table alone, as ``rows`` is.
    """

    _metadata = ["_run"]  # noqa: RUF012  (of pandas: attributes that are no columns)
    _run: _Run

    @classmethod
    def of(cls, point: Point) -> "Simulation":
        """Run a point."""
        run = _Run.of(point)
        table = cls(frame(run.rows))
        table._run = run
        return table

    @property
    def rows(self) -> pd.DataFrame:
        """The table alone; ``attrs["units"]`` and ``attrs["meanings"]`` tell of its columns."""
        table = pd.DataFrame(self)
        known = [column for column in COLUMNS if column.name in table.columns]
        table.attrs["units"] = {column.name: column.unit for column in known}
        table.attrs["meanings"] = {column.name: column.meaning for column in known}
        return table

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run must say to be reproduced."""
        return deepcopy(self._run.manifest)

    @property
    def total(self) -> dict[str, dict[str, Any]]:
        """Sums per phase and for ``all``, as ``total`` of the command line's JSON."""
        return deepcopy(self._run.total)

    @property
    def step(self) -> dict[str, Any]:
        """Sums of the whole step: ``total["all"]``."""
        return dict(self._run.total["all"])

    @property
    def speedup(self) -> float | None:
        """Dense cycles of all GEMMs over their cycles; None without dense runs."""
        found: float | None = self.step["speedup"]
        return found

    @property
    def step_speedup(self) -> float | None:
        """Speed-up of the step, with masks and what is no GEMM; None without dense runs."""
        found: float | None = self.step.get("step_speedup")
        return found

    @property
    def ideal(self) -> float | None:
        """Speed-up that the masks promise: dense MACs over those that they leave."""
        found: float | None = self.step["speedup_ideal"]
        return found

    @property
    def answer(self) -> str:
        """What the run says in a sentence or two: which speed-up, of what, and what limits it."""
        return answer(self._run.rows, self._run.manifest)

    @property
    def plot(self) -> Figures:  # type: ignore[override]  # of pandas: an accessor
        """Figures of the run: ``result.plot.speedup()``; ``result.plot()`` draws all."""
        return Figures(self.rows, self.manifest)

    def explain(self, layers: str = "", phases: str = "") -> str:
        """Explain where the cycles of GEMMs go, and what would mend it, as ``nmsim explain`` does.

        Parameters
        ----------
        layers
            A glob over the names of layers; none: the GEMM that takes most time.
        phases
            Of one phase; none: of those that were run.
        """
        asked = replace(
            self._run.point,
            layers=layers or self._run.point.layers,
            phases=(phases,) if phases else self._run.point.phases,
        )
        return "\n\n".join(explanation_text(one.document()) for one in explain(asked))

    def save(self, folder: str | Path) -> None:
        """Write ``results.csv``, ``manifest.json`` and ``index.html`` into a folder, all or none.

        Raises
        ------
        SpecError
            if it cannot be written.
        """
        report.write_report(Path(folder), self.rows, self.manifest)

    def __repr__(self) -> str:
        """The answer, the table cut to what matters, and the step."""
        if not len(self) or "_run" not in vars(self):
            return repr(pd.DataFrame(self))
        console = Console(width=_WIDTH, highlight=False, markup=False, color_system=None)
        with console.capture() as shown:
            console.print(step_table(self.total, step_name(self.manifest)))
        table = self._shown.to_string(max_rows=_MOST, index=False)
        return f"{self.answer}\n\n{table}\n{shown.get()}"

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        if not len(self) or "_run" not in vars(self):
            return str(pd.DataFrame(self).to_html(max_rows=_MOST))
        table = self._shown.to_html(max_rows=_MOST, index=False)
        return f"<p>{html.escape(self.answer)}</p>{table}{step_sheet(self.total)}"

    @property
    def _shown(self) -> pd.DataFrame:
        table = pd.DataFrame(self)[list(_SHOWN)].round({"time_us": 1, "speedup": 2})
        return table.rename(columns={"time_us": "time [µs]", "speedup": "speed-up of GEMMs"})


@dataclass(frozen=True, kw_only=True)
class _Saved(Point):
    """A run, and the folder that it is written into."""

    out: Annotated[
        str | Path | None,
        Keyword(
            "Write results.csv, manifest.json and index.html here.", apart="a sweep has its own"
        ),
    ] = None


@taking(_Saved)
def simulate(point: _Saved) -> Simulation:
    """Simulate a workload on a machine: a table with a row for each GEMM.

    Returns
    -------
    Simulation
        A pandas.DataFrame with one row per GEMM; columns, units and meanings in
        ``nmsim.machines.COLUMNS`` and in ``rows.attrs``. ``answer``, ``speedup``, ``step_speedup``,
        ``ideal``, ``total`` and ``manifest`` say what the run comes to, ``explain()`` where its
        cycles go, ``plot`` draws it, ``save`` writes it.

    Raises
    ------
    NmsimError
        for anything that its user can mend; one line.
    """
    found = Simulation.of(point)
    if point.out is not None:
        found.save(point.out)
    return found
