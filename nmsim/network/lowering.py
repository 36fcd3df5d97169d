"""How the products of a layer are laid out as GEMMs: a name for each phase of a training step.

A convolution gathers (forward: windows over its input) or spreads (backward: what its input had a
part in); a transposed one does so the other way round. What gathers is one GEMM in any lowering,
whose rows are read through windows. What spreads is

- ``implicit``: a GEMM over the pixels that come out, which gathers for each of them what it had a
  part in. Pixels that leave the same rest by the stride meet the same taps: they are a part of the
  launch, as in cuDNN and CUTLASS, whose kernels for strided input gradients go through them.
- ``columns``: a GEMM whose every row is a window's worth of products, and then a pass over memory
  that adds them up where windows overlap (col2im).
"""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from nmsim.errors import SpecError
from nmsim.gemm import PHASES, Phase
from nmsim.registry import unknown_name

__all__ = ["IMPLICIT", "LOWERINGS", "Lowering", "LoweringName"]

LoweringName = Literal["implicit", "columns"]

LOWERINGS: tuple[LoweringName, ...] = get_args(LoweringName)


@dataclass(frozen=True)
class Lowering:
    """The lowering of each phase.

    Examples
    --------
    >>> Lowering.parse("backward=columns")
    Lowering(forward='implicit', backward='columns', update='implicit')
    >>> print(Lowering.parse("columns"), Lowering.parse("backward=columns"))
    columns forward=implicit,backward=columns,update=implicit
    """

    forward: LoweringName = "implicit"
    backward: LoweringName = "implicit"
    update: LoweringName = "implicit"

    @classmethod
    def parse(cls, text: "str | Lowering") -> "Lowering":
        """Read ``columns``, for all phases, or ``backward=columns``, several with commas between.

        Phases that are not named are ``implicit``.

        Raises
        ------
        UnknownName, SpecError
            for a phase or lowering that does not exist, or one phase named twice.
        """
        if isinstance(text, Lowering):
            return text
        if "=" not in str(text):
            every = _lowering(str(text))
            return cls(every, every, every)
        named: dict[str, LoweringName] = {}
        for one in str(text).split(","):
            phase, _, name = one.partition("=")
            if phase.strip() not in PHASES:
                raise unknown_name("phase of a lowering", phase.strip(), PHASES)
            if phase.strip() in named:
                raise SpecError(f"lowering is {text!r}, expected each phase once")
            named[phase.strip()] = _lowering(name.strip())
        return cls(*(named.get(phase, "implicit") for phase in PHASES))

    def of(self, phase: Phase) -> LoweringName:
        """The lowering of a phase."""
        name: LoweringName = getattr(self, phase)
        return name

    def __str__(self) -> str:
        """As ``parse`` reads it: one name for all phases, or that of each."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        if len(set(named.values())) == 1:
            return self.forward
        return ",".join(f"{phase}={name}" for phase, name in named.items())


IMPLICIT = Lowering()
"""As libraries run convolutions."""


def _lowering(name: str) -> LoweringName:
    for known in LOWERINGS:
        if known == name:
            return known
    raise unknown_name("lowering", name, LOWERINGS)
