"""What of a network learns in a training step, and how the step is run: as a user says it.

Names are globs over layers, each block of which has its own number: ``model.layers.[01].*``. What
becomes of a network's layers by it is `nmsim.network.running`'s to say.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple, TypedDict

from nmsim.errors import SpecError

__all__ = ["WHOLE", "Adapters", "Learning", "Step", "any_matches"]

_ADAPTERS = re.compile(r"\s*([1-9]\d{0,8})\s*:(.+)")


class Adapters(NamedTuple):
    """Adapters of one rank (Hu et al., ICLR 2022): beside W [O, I], A [rank, I] and B [O, rank]."""

    rank: int
    globs: tuple[str, ...]
    said: str

    @classmethod
    def parse(cls, text: str) -> "Adapters":
        """Read ``16:*.q_proj,*.v_proj``.

        Raises
        ------
        SpecError
            for a rank that is no integer of 1 or more, or no glob.
        """
        found = _ADAPTERS.fullmatch(str(text))
        if found is None:
            raise SpecError(
                f"adapters is {text!r}, expected RANK:GLOB with a rank of 1 or more, such as "
                "16:*.q_proj"
            )
        return cls(int(found[1]), _split("adapters", found[2]), text)


class Step(TypedDict, total=False):
    """Keywords of what learns, and of how a step is run."""

    learn: str | Sequence[str]
    recompute: str | Sequence[str]
    adapters: str | Sequence[str]
    micro_batches: int
    reentrant: bool


@dataclass(frozen=True)
class Learning:
    """What learns in a step, what is computed twice, what carries adapters, in how many passes.

    Parameters
    ----------
    learn
        Globs of layers that learn; none: all, or of a network with adapters these alone.
    recompute
        Globs of layers whose forward is computed again on the way back.
    adapters
        ``RANK:GLOB`` each.
    micro_batches
        Into which a step's samples are divided.
    reentrant
        Whole blocks are computed again; otherwise up to what the way back reads last.
    """

    learn: tuple[str, ...] = ()
    recompute: tuple[str, ...] = ()
    adapters: tuple[Adapters, ...] = ()
    micro_batches: int = 1
    reentrant: bool = False

    @classmethod
    def of(
        cls,
        learn: str | Sequence[str] = (),
        recompute: str | Sequence[str] = (),
        adapters: str | Sequence[str] = (),
        micro_batches: int = 1,
        reentrant: bool = False,
    ) -> "Learning":
        """What is asked for, of globs in a list or with commas between them.

        Raises
        ------
        SpecError
            for what cannot be read.
        """
        if type(micro_batches) is not int or micro_batches < 1:
            raise SpecError(f"micro_batches is {micro_batches!r}, expected an integer of 1 or more")
        if reentrant and not _listed(recompute):
            raise SpecError("reentrant is true, expected recompute beside it")
        return cls(
            tuple(glob for text in _listed(learn) for glob in _split("learn", text)),
            tuple(glob for text in _listed(recompute) for glob in _split("recompute", text)),
            tuple(map(Adapters.parse, _listed(adapters))),
            micro_batches,
            reentrant,
        )

    @property
    def plain(self) -> bool:
        """Whether every layer learns, once a step, as it is."""
        return self == WHOLE

    @property
    def said(self) -> dict[str, str]:
        """What is asked for by name, for people; nothing of what is left as it is."""
        found = {
            "learn": ",".join(self.learn),
            "recompute": ",".join(self.recompute),
            "adapters": " ".join(one.said for one in self.adapters),
            "micro_batches": str(self.micro_batches) if self.micro_batches > 1 else "",
        }
        return {name: value for name, value in found.items() if value}

    @property
    def told(self) -> str:
        """What is asked for, behind a comma, for the first line of a result; "" if nothing is."""
        return "".join(f", {name.replace('_', '-')} {one}" for name, one in self.said.items())

    def samples(self, batch: int) -> int:
        """Samples of a micro-batch.

        Raises
        ------
        SpecError
            if the batch is not so many of one size.
        """
        if batch % self.micro_batches:
            raise SpecError(
                f"micro_batches is {self.micro_batches}, expected a divisor of the batch, {batch}"
            )
        return batch // self.micro_batches


WHOLE = Learning()
"""Every layer learns, once a step, as it is."""


def _listed(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _split(field: str, text: str) -> tuple[str, ...]:
    globs = tuple(glob.strip() for glob in str(text).split(","))
    if not all(globs):
        raise SpecError(f"{field} is {text!r}, expected globs over the names of layers")
    return globs


def any_matches(globs: Sequence[str], name: str) -> bool:
    """Whether one of the globs matches a name."""
    return any(fnmatchcase(name, glob) for glob in globs)
