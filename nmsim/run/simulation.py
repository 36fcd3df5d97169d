"""What ``nmsim.simulate`` does: the rows of a point as a table.

Apart from the points, as a table is made by pandas, which takes longer to load than many a point
to run.
"""

from typing import Any

import pandas as pd

from nmsim.run.answer import answer, sums
from nmsim.run.keyword import taking
from nmsim.run.manifest import manifest
from nmsim.run.point import Point, rows
from nmsim.run.rows.frame import frame

__all__ = ["Simulation", "simulate"]


class Simulation(pd.DataFrame):
    """The table of a run, a row for each GEMM, that also says what the run comes to.

    What is taken of it, sorted or copied is a table alone.
    """

    _metadata = ["_point", "_found"]  # noqa: RUF012  (of pandas: attributes that are no columns)
    _point: Point
    _found: list[dict[str, Any]]

    @classmethod
    def of(cls, point: Point) -> "Simulation":
        """Run a point."""
        found = list(rows(point))
        table = cls(frame(found))
        table._point, table._found = point, found
        return table

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run must say to be reproduced."""
        return manifest(self._point, "nmsim.simulate").document()

    @property
    def total(self) -> dict[str, dict[str, Any]]:
        """Sums per phase and for ``all``, as ``total`` of the command line's JSON."""
        return sums(self._found, self.manifest)

    @property
    def answer(self) -> str:
        """What the run says in a sentence or two: which speed-up, of what, and what limits it."""
        return answer(self._found, self.manifest)


@taking(Point)
def simulate(point: Point) -> Simulation:
    """Simulate a workload on a machine: a table with a row for each GEMM.

    Returns
    -------
    Simulation
        A pandas.DataFrame with one row per GEMM; columns, units and meanings in
        ``nmsim.machines.COLUMNS``. Its ``answer``, ``total`` and ``manifest`` say what the run
        comes to.

    Raises
    ------
    NmsimError
        for anything that its user can mend; one line.
    """
    return Simulation.of(point)
