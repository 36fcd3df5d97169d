"""Output stationary, as SCALE-Sim defines it (Samajdar et al., ISPASS 2020, section III)."""

from nmsim.dataflow import DATAFLOWS, Dataflow

__all__: list[str] = []

DATAFLOWS.add(
    "os",
    Dataflow(
        name="os",
        rows="m",
        cols="n",
        time="k",
        preloads=False,
        drains=True,
        summary="outputs stay: every PE accumulates one element of C while A and B stream past",
        source="Samajdar et al., ISPASS 2020, section III",
    ),
)
