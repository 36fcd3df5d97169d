"""Requests as a model serves them: a prompt is prefilled, then tokens are decoded one by one.

All requests of a batch start together and end together (a static batch). The first token comes of
the prefill; each further one of a decode step whose context is a token longer. What does not depend
on the context is simulated once, what does (attention over the cache) by pieces
(``nmsim.run.growing``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from nmsim.errors import SpecError
from nmsim.network.scenario import SCENARIOS
from nmsim.result import totals
from nmsim.run.answer import against, subject
from nmsim.run.asked import counted
from nmsim.run.growing import summed
from nmsim.run.keyword import Keyword, keywords, taking
from nmsim.run.manifest import manifest
from nmsim.run.memory import held
from nmsim.run.point import Job, Point, rows
from nmsim.run.workload import Workload

__all__ = ["Requests", "Served", "Stage", "serve", "served"]

_MOST = 1 << 20
"""Tokens that are generated at most."""


@dataclass(frozen=True, kw_only=True)
class Requests(Job):
    """The keywords of requests: those of a job, whose tokens are the prompt's, and what they ask."""

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
            raise SpecError("scenario and context: expected none, requests are prefilled and decoded")
        if self.generate > _MOST:
            raise SpecError(f"generate is {self.generate}, expected {_MOST} at most")


@dataclass(frozen=True)
class Stage:
    """What a part of requests takes, microseconds, as they run and dense.

    ``dense_us`` has nothing pruned and the machine's own number format.
    """

    us: float
    dense_us: float

    @property
    def speedup(self) -> float | None:
        """Dense time over this; None where nothing is run."""
        return self.dense_us / self.us if self.us else None

    def over(self, number: int) -> "Stage":
        """The stage shared by so many."""
        return Stage(self.us / number, self.dense_us / number)


@dataclass(frozen=True)
class Served:
    """What a batch of requests takes.

    Parameters
    ----------
    prefill
        Until the first token of each.
    decode
        All further tokens, one after the other.
    first, last
        The first and the last of these.
    once_us
        Pruning and packing the weights, before the first request, in none of these.
    prompt, generate, batch
        Tokens of a prompt, tokens that are generated of each, and requests.
    about
        What must be said to serve them again.
    """

    prefill: Stage
    decode: Stage
    first: Stage
    last: Stage
    once_us: float
    prompt: int
    generate: int
    batch: int
    about: dict[str, Any]

    @property
    def request(self) -> Stage:
        """From the start to the last token."""
        both = (self.prefill, self.decode)
        return Stage(sum(one.us for one in both), sum(one.dense_us for one in both))

    @property
    def per_token(self) -> Stage:
        """A decode step, on average."""
        return self.decode.over(max(self.generate - 1, 1))

    @property
    def tokens_per_s(self) -> float:
        """Tokens that all requests generate, over the whole time, by all machines together."""
        return 1e6 * self.batch * self.generate / self.request.us

    @property
    def dense_tokens_per_s(self) -> float:
        """The same, dense."""
        return 1e6 * self.batch * self.generate / self.request.dense_us

    @property
    def answer(self) -> str:
        """What serving comes to, in a sentence or two."""
        recipe = self.about["recipe"]
        whole = against(self.request.us, self.request.dense_us, recipe)
        rates = against(self.tokens_per_s, self.dense_tokens_per_s, recipe, unit="tokens/s")
        first = against(self.prefill.us, self.prefill.dense_us, recipe)
        gain = "nothing is pruned"
        if recipe != "dense":
            gain = f"speed-up {self.request.speedup:.2f} of requests by recipe {recipe}"
        further = f", each further one {against(self.per_token.us, self.per_token.dense_us, recipe)}"
        return (
            f"{subject(self.about)}: {gain}, {whole}, {rates}. The first token takes {first}"
            f"{further if self.generate > 1 else ''}."
        )

    def document(self) -> dict[str, Any]:
        """What serving comes to as one JSON object."""
        stages = ("prefill", "decode", "first", "last", "request", "per_token")
        told = {name: getattr(self, name) for name in stages}
        return {
            "answer": self.answer,
            "manifest": self.about,
            **{
                name: {"us": one.us, "dense_us": one.dense_us, "speedup": one.speedup}
                for name, one in told.items()
            },
            "once_us": self.once_us,
            "prompt_tokens": self.prompt,
            "generated_tokens": self.generate,
            "batch": self.batch,
            "tokens_per_s": self.tokens_per_s,
            "dense_tokens_per_s": self.dense_tokens_per_s,
            "memory_bytes": self.about["memory_bytes"],
            "capacity_bytes": self.about["capacity_bytes"],
        }


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
    """What serving a batch of requests takes."""
    prompt = _point(requests, "prefill", tokens=requests.tokens)
    sequence = prompt.workload.sequence
    if sequence is None or sequence.target is not None:
        raise SpecError(
            f"model {prompt.workload.name}: expected a decoder alone, whose prompt and tokens are "
            "one sequence"
        )
    tokens = sequence.reading(prompt.asked).read["sequence"]
    read = totals(rows(prompt))["all"]
    steps = _Steps.of(requests, tokens, tokens + requests.generate - 2)
    about = manifest(steps.last, command).document()
    kept = (about["memory_bytes"], held(prompt).memory_bytes)
    memory = None if None in kept else max(one for one in kept if one is not None)
    word = "request" if prompt.samples == 1 else "requests"
    said = (
        f"{prompt.samples:,} {word} of {counted(tokens, 'token')} of prompt and "
        f"{requests.generate:,} generated"
    )
    about |= {"memory_bytes": memory, "step": said, "generate": requests.generate}
    about |= {"kind": "serve", "tokens": tokens, "batch": prompt.samples}
    return Served(
        Stage(read["step_us"], read["dense_step_us"]),
        steps.all(),
        steps.at(steps.start),
        steps.at(steps.end),
        read["once_us"],
        tokens,
        requests.generate,
        prompt.samples,
        about,
    )


def _point(requests: Requests, scenario: str, **said: Any) -> Point:
    own = {one.name: getattr(requests, one.name) for one in keywords(Job)}
    own |= {"scenario": scenario, "tokens": None, "batch": requests.batch or 1, **said}
    return Point(**own)


def _stage(table: Iterable[dict[str, Any]]) -> Stage:
    whole = totals(table)["all"]
    return Stage(whole["step_us"], whole["dense_step_us"])


@dataclass(frozen=True)
class _Steps:
    """Decode steps from one context to another.

    Parameters
    ----------
    fixed
        What every step has, whatever its context.
    moving
        Layers whose GEMMs do depend on it.
    """

    requests: Requests
    start: int
    end: int
    fixed: Stage
    moving: frozenset[str]

    @classmethod
    def of(cls, requests: Requests, start: int, end: int) -> "_Steps":
        ends = [_point(requests, "decode", context=one).workload for one in (start, max(end, start))]
        both = list(zip(*(one.layers for one in ends), strict=True))
        moving = frozenset(low.name for low, high in both if low != high)
        others = [low for low, _ in both if low.name not in moving]
        first = _point(requests, "decode", context=start)
        fixed = _stage(rows(first, _only(ends[0], others))) if others else Stage(0.0, 0.0)
        return cls(requests, start, end, fixed, moving)

    @property
    def last(self) -> Point:
        """The last step; where none is decoded, the first that would be."""
        return _point(self.requests, "decode", context=max(self.start, self.end))

    def at(self, context: int) -> Stage:
        """A step; nothing where no token is decoded."""
        if self.end < self.start:
            return Stage(0.0, 0.0)
        us, dense = self._moving(context)
        return Stage(self.fixed.us + us, self.fixed.dense_us + dense)

    def all(self) -> Stage:
        """All steps, one after the other."""
        if self.end < self.start:
            return Stage(0.0, 0.0)
        steps = self.end - self.start + 1
        us, dense = summed(self._moving, self.start, self.end, self._grain)
        return Stage(steps * self.fixed.us + us, steps * self.fixed.dense_us + dense)

    @property
    def _grain(self) -> float:
        """Microseconds of a cycle of every launch that depends on the context."""
        point = self.last
        repeats = sum(one.repeat for one in point.workload.layers if one.name in self.moving)
        return 2.0 * repeats / float(point.machine.clock_mhz)

    def _moving(self, context: int) -> tuple[float, float]:
        if not self.moving:
            return 0.0, 0.0
        point = _point(self.requests, "decode", context=context)
        workload = point.workload
        own = [layer for layer in workload.layers if layer.name in self.moving]
        stage = _stage(rows(point, _only(workload, own)))
        return stage.us, stage.dense_us


def _only(workload: Workload, layers: Sequence[Any]) -> Workload:
    """The workload with some of its layers alone."""
    return Workload(
        workload.name,
        workload.source,
        layers,
        scenario=workload.scenario,
        sequence=workload.sequence,
        splits=workload.splits,
    )
