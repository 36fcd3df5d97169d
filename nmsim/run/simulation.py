"""What ``nmsim.simulate`` does: the rows of a point as a table.

Apart from the points, as a table is made by pandas, which takes longer to load than many a point
to run.
"""

import pandas as pd

from nmsim.run.frame import frame
from nmsim.run.keyword import taking
from nmsim.run.point import Point, rows

__all__ = ["simulate"]


@taking(Point)
def simulate(point: Point) -> pd.DataFrame:
    """Simulate a workload on a machine: a table with a row for each GEMM.

    Returns
    -------
    pandas.DataFrame
        One row per GEMM; columns, units and meanings in ``nmsim.machines.COLUMNS``.

    Raises
    ------
    NmsimError
        for anything that its user can mend; one line.
    """
    return frame(rows(point))
