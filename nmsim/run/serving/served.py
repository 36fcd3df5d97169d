"""What a batch of requests takes: until the first token, for every further one, and in all."""

from dataclasses import dataclass
from typing import Any

from nmsim.run.answer import against, subject

__all__ = ["Served", "Stage"]


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
        further = (
            f", each further one {against(self.per_token.us, self.per_token.dense_us, recipe)}"
        )
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
