"""What joins several machines that share a network, and what an exchange over it takes.

A ring of N machines adds up S bytes in 2 (N - 1) steps of S / N bytes, and collects S bytes that
stand in parts in N - 1. A library has protocols that trade bandwidth for latency and takes the
fastest: the fields are those of NCCL's own model of itself.
"""

from typing import Annotated, Literal

from pydantic import Field

from nmsim.spec import Spec

__all__ = ["Exchange", "Link", "Protocol"]

Exchange = Literal["all-reduce", "all-gather"]

Microseconds = Annotated[float, Field(ge=0, le=1e6)]

_ROUNDS: dict[str, int] = {"all-reduce": 2, "all-gather": 1}
"""How often every byte goes round the ring."""


class Protocol(Spec):
    """A way to send over a link: how soon the first byte is there, and how fast the others come."""

    name: str = Field(description="as the library calls it")
    start_us: Microseconds = Field(description="of an exchange, however many machines there are")
    step_us: Microseconds = Field(description="of every step from one machine to the next")
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        description="of the link's bandwidth that its bytes get"
    )
    most_gbps: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        None, description="1e9 bytes per second at most, whatever the link; null: no such bound"
    )


class Link(Spec):
    """The link between machines that share a network; each sends to its neighbour in a ring."""

    gbps: Annotated[float, Field(gt=0, le=1e9)] = Field(
        description="from a machine to the next, 1e9 bytes per second each way"
    )
    joins: Annotated[int, Field(ge=2, le=1 << 16)] = Field(
        description="machines that it joins at most"
    )
    protocols: tuple[Protocol, ...] = Field(min_length=1, description="the fastest is taken")
    source: str = Field(description="where the figures come from")

    def us(self, exchange: Exchange, size: float, machines: int) -> float:
        """Microseconds of one exchange among so many machines.

        Parameters
        ----------
        size
            Bytes of the sum, or of the whole that is collected.
        """
        steps = _ROUNDS[exchange] * (machines - 1)
        if not steps:
            return 0.0
        return min(
            one.start_us + steps * one.step_us + steps * size / machines / (1e3 * self._rate(one))
            for one in self.protocols
        )

    def _rate(self, protocol: Protocol) -> float:
        rate = self.gbps * protocol.share
        return rate if protocol.most_gbps is None else min(rate, protocol.most_gbps)
