"""Weight stationary, as SCALE-Sim defines it (Samajdar et al., ISPASS 2020, section III)."""

from nmsim.dataflow import DATAFLOWS, Dataflow

__all__: list[str] = []

DATAFLOWS.add(
    "ws",
    Dataflow(
        name="ws",
        rows="k",
        cols="n",
        time="m",
        preloads=True,
        drains=False,
        summary="weights stay: B is shifted in, A streams along rows, sums run down columns",
        source="Samajdar et al., ISPASS 2020, section III",
    ),
)
