"""Scenarios: what a network is run for, and how many tokens that makes it read.

A layer says its rows as a number or as a *word*, which stands for other numbers in other scenarios.
With T tokens (`Sequence.tokens` to train or infer, `Sequence.prompt` to prefill), C tokens of
context and a target of G:

========= ============ ======= ========================== =================================
word      train, infer prefill decode                     meaning
========= ============ ======= ========================== =================================
sequence  T            T       1                          tokens that one pass reads
context   T            T       C + 1                      these, and those read before
predicted T            1       1                          tokens whose successor is wanted
source    T            T       none: it is not run again  read by an encoder
target    G            1       1                          read by the decoder behind it
========= ============ ======= ========================== =================================

Behind an encoder ``predicted`` is ``target``. Attention over a word's tokens is over all that are
there: C + 1 of the sequence or the target when decoding, T of the source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BeforeValidator, Field, model_validator

from nmsim.errors import SpecError
from nmsim.gemm import PHASES, Phase
from nmsim.network.learning import WHOLE, Learning
from nmsim.registry import unknown_name
from nmsim.spec import Spec

__all__ = [
    "SCENARIOS",
    "TRAINING",
    "Positions",
    "Reading",
    "Rows",
    "Scenario",
    "ScenarioName",
    "Sequence",
    "Word",
]

ScenarioName = Literal["train", "infer", "prefill", "decode"]

SCENARIOS: tuple[ScenarioName, ...] = get_args(ScenarioName)

Word = Literal["sequence", "context", "predicted", "source", "target"]
"""What a layer may say in place of a number of rows."""

WORDS: tuple[Word, ...] = get_args(Word)

_MOST = 1 << 31


def _said(least: int) -> BeforeValidator:
    """Refuses in one line what is neither a number from ``least`` on nor a word."""

    def check(value: Any) -> Any:
        number = isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MOST
        if number or value is None or value in WORDS:
            return value
        raise ValueError(f"expected an integer from {least} to {_MOST}, or {', '.join(WORDS)}")

    return BeforeValidator(check)


Rows = Annotated[int | Word, _said(0)]
"""A layer's rows per sample: a number, 0 for a layer without any, or a word."""

Positions = Annotated[int | Word, _said(1)]
"""Queries or keys per sample: a number or a word."""

_PROMPT = 2048
"""Tokens of a prompt, and of the context of one more, where a network's sequence is as long."""

_SAMPLES = {"train": 32, "decode": 16}


@dataclass(frozen=True)
class Scenario:
    """What is asked of a network.

    Parameters
    ----------
    name
        "train": forward, backward and update; the others forward alone. "infer" is all tokens at
        once, "prefill" a prompt of which the last token's successor is wanted, "decode" one more
        token after a context.
    tokens
        That a sample has; when decoding, read at once (behind an encoder: of the source). None: as
        the network says.
    context
        Tokens that were read before, when decoding. None: as the network says.
    learning
        What learns in a step, and how the step is run; adapters in any scenario.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist, a context where nothing is decoded, or what is said of a
        training step where there is none.
    """

    name: str = "train"
    tokens: int | None = None
    context: int | None = None
    learning: Learning = WHOLE

    def __post_init__(self) -> None:
        if self.name not in SCENARIOS:
            raise unknown_name("scenario", str(self.name), SCENARIOS)
        for field, least, most in (("tokens", 1, _MOST), ("context", 0, _MOST - 1)):
            value = getattr(self, field)
            if value is not None and (not isinstance(value, int) or value < least):
                raise SpecError(f"{field} is {value!r}, expected an integer of {least} or more")
            if value is not None and value > most:
                raise SpecError(f"{field} is {value}, expected {most} at most")
        if self.context is not None and self.name != "decode":
            raise SpecError(f"context is {self.context}, expected none in scenario {self.name}")
        said = {} if self.trains else self.learning.said
        said.pop("adapters", None)
        for field, value in said.items():
            raise SpecError(f"{field} is {value}, expected none in scenario {self.name}")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases that are run."""
        return PHASES if self.trains else ("forward",)

    @property
    def trains(self) -> bool:
        """Whether it has a training step."""
        return self.name == "train"

    @property
    def samples(self) -> int:
        """Samples of a step of a network where nothing says how many."""
        return _SAMPLES.get(self.name, 1)

    @property
    def generates(self) -> bool:
        """Whether it wants the next token alone."""
        return self.name in ("prefill", "decode")


TRAINING = Scenario()
"""The scenario of a network of which nothing is said."""

Positive = Annotated[int, Field(ge=1, le=_MOST)]


class Sequence(Spec):
    """How many tokens a network reads; ``sequence: 4096`` in a file is short for its ``tokens``."""

    tokens: Positive = Field(description="of a sample, in training and inference")
    target: Positive | None = Field(
        None, description="tokens of the decoder behind an encoder, whose tokens are the above"
    )
    prompt: Positive | None = Field(
        None, description=f"tokens of a prompt (prefill); default: tokens, {_PROMPT} at most"
    )
    context: Annotated[int, Field(ge=0)] | None = Field(
        None, description=f"read before (decode); default: one less than tokens, {_PROMPT} at most"
    )

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_number(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"tokens": value}
        if isinstance(value, Mapping | cls):
            return value
        raise ValueError("expected a number of tokens, or tokens and other fields")

    def reading(self, scenario: Scenario) -> "Reading":
        """What every word stands for in a scenario."""
        whole, decoded = self._whole(scenario), scenario.name == "decode"
        if self.target is not None:
            read = 1 if scenario.generates else self.target
            held = self._before(scenario) + 1 if decoded else read
            return Reading(
                {"source": 0 if decoded else whole, "target": read, "predicted": read},
                {"source": whole, "target": held},
            )
        read = (scenario.tokens or 1) if decoded else whole
        held = self._before(scenario) + read if decoded else read
        predicted = 1 if scenario.name == "prefill" else read
        return Reading(
            {"sequence": read, "context": held, "predicted": predicted}, {"sequence": held}
        )

    def _whole(self, scenario: Scenario) -> int:
        prompt = min(_PROMPT, self.tokens) if self.prompt is None else self.prompt
        return scenario.tokens or (prompt if scenario.generates else self.tokens)

    def _before(self, scenario: Scenario) -> int:
        """Tokens that were read before the one that is decoded."""
        if scenario.context is not None:
            return scenario.context
        return min(_PROMPT, self.tokens - 1) if self.context is None else self.context


class Reading(NamedTuple):
    """What words stand for.

    Parameters
    ----------
    read
        Tokens that a pass reads, by word.
    held
        Tokens that attention reads of those that are there, by word.
    """

    read: Mapping[str, int] = {}
    held: Mapping[str, int] = {}

    def rows(self, said: int | str | None) -> int:
        """Rows per sample of a layer that says a number, a word or nothing.

        Raises
        ------
        SpecError
            for a word that the network's sequence does not have.
        """
        return _number(said, self.read) if said is not None else self.read.get("sequence", 1)

    def keys(self, said: int | str) -> int:
        """Keys of attention over the tokens of a word, or so many."""
        return _number(said, self.held)


def _number(said: int | str, known: Mapping[str, int]) -> int:
    if isinstance(said, int):
        return said
    if said not in known:
        expected = f"a number or {', '.join(known)}" if known else "a number: it has no sequence"
        raise SpecError(f"{said!r} stands for no tokens of this network, expected {expected}")
    return known[said]
