"""Requests as a model serves them: a prompt is prefilled, then tokens are decoded one by one.

All requests of a batch start together and end together (a static batch). The first token comes of
the prefill; each further one of a decode step whose context is a token longer.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from nmsim.errors import SpecError
from nmsim.network.scenario import SCENARIOS
from nmsim.result import totals
from nmsim.run.asked import counted
from nmsim.run.keyword import Keyword, taking
from nmsim.run.manifest import manifest
from nmsim.run.memory import held
from nmsim.run.point import Job, Point, rows
from nmsim.run.serving.decoding import Steps, of_job
from nmsim.run.serving.served import Served, Stage

__all__ = ["Requests", "serve", "served"]

_MOST = 1 << 20
"""Tokens that are generated at most."""


@dataclass(frozen=True, kw_only=True)
class Requests(Job):
    """The keywords of requests: a job's, whose tokens are the prompt's, and what they ask."""

    scenario: Annotated[
        str,
        Keyword(
            "Of a request, prefill and decode: no other is asked for.",
            choices=SCENARIOS,
            apart="it is both",
        ),
    ] = "prefill"
    generate: Annotated[
        int, Keyword("Tokens that every request generates.", metavar="G", least=1)
    ] = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scenario != "prefill" or self.context is not None:
            raise SpecError(
                "scenario and context: expected none, requests are prefilled and decoded"
            )
        if self.generate > _MOST:
            raise SpecError(f"generate is {self.generate}, expected {_MOST} at most")


@taking(Requests)
def serve(requests: Requests) -> Served:
    """Serve requests: a prompt is read, then tokens are generated one by one.

    Raises
    ------
    NmsimError
        for anything that its user can mend; one line.
    """
    return served(requests, "nmsim.serve")


def served(requests: Requests, command: str) -> Served:
    """What serving a batch of requests takes.

    Raises
    ------
    SpecError
        for a network whose prompt and tokens are not one sequence.
    """
    batch = requests.batch or 1
    prompt = of_job(requests, "prefill", tokens=requests.tokens, batch=batch)
    tokens = _prompt(prompt)
    read = totals(rows(prompt))["all"]
    steps = Steps.of(requests, batch, tokens, tokens + requests.generate - 2)
    return Served(
        prefill=Stage(read["step_us"], read["dense_step_us"]),
        decode=steps.all(),
        first=steps.at(steps.start),
        last=steps.at(steps.end),
        once_us=read["once_us"],
        prompt=tokens,
        generate=requests.generate,
        batch=batch,
        about=_about(prompt, steps.last, tokens, requests.generate, command),
    )


def _prompt(point: Point) -> int:
    """Tokens of a prompt."""
    sequence = point.workload.sequence
    if sequence is None or sequence.target is not None:
        raise SpecError(
            f"model {point.workload.name}: expected a decoder alone, whose prompt and tokens are "
            "one sequence"
        )
    return sequence.reading(point.asked).read["sequence"]


def _about(prompt: Point, last: Point, tokens: int, generate: int, command: str) -> dict[str, Any]:
    """The manifest: that of the last step, with what all requests ask; memory at its largest."""
    about = manifest(last, command).document()
    kept = (about["memory_bytes"], held(prompt).memory_bytes)
    said = (
        f"{counted(prompt.samples, 'request')} of {counted(tokens, 'token')} of prompt and "
        f"{generate:,} generated"
    )
    return about | {
        "kind": "serve",
        "step": said,
        "tokens": tokens,
        "generate": generate,
        "memory_bytes": None if None in kept else max(one for one in kept if one is not None),
    }
