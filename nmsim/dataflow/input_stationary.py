"""Input stationary, as SCALE-Sim defines it (Samajdar et al., ISPASS 2020, section III)."""

from nmsim.dataflow import DATAFLOWS, Dataflow

__all__: list[str] = []

DATAFLOWS.add(
    "is",
    Dataflow(
        name="is",
        rows="k",
        cols="m",
        time="n",
        preloads=True,
        drains=False,
        summary="inputs stay: A is shifted in, B streams along rows, sums run down columns",
        source="Samajdar et al., ISPASS 2020, section III",
    ),
)
