"""What tables of measured times call a machine."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from nmsim.spec import Spec

__all__ = ["MeasuredAs", "letters"]


def letters(text: str) -> str:
    """The letters and digits of a text, in capitals: what names are compared by.

    Examples
    --------
    >>> letters("NVIDIA A100-SXM4-80GB")
    'NVIDIAA100SXM480GB'
    """
    return re.sub(r"[^A-Z0-9]", "", text.upper())


def _named(text: str) -> str:
    if not letters(text):
        raise ValueError("expected letters or digits")
    return text


Part = Annotated[str, AfterValidator(_named)]


class MeasuredAs(Spec):
    """Names under which tables of measured times, and drivers, tell of a machine.

    Compared are letters and digits alone. Of the machines that a name fits, the most specific is
    meant: that with the longest ``gpu``, then with the most of ``variant``.
    """

    gpu: Part = Field(description="that the GPU's name holds: A100")
    variant: tuple[Part, ...] = Field((), description="that name and variant hold beside it: PCIe")
    without: tuple[Part, ...] = Field(
        (), description="that name and variant do not hold: of GPUs that are others, or of no file"
    )

    def fits(self, gpu: str, variant: str) -> bool:
        """Whether a GPU and its variant, as a table writes them, may be this machine."""
        known, whole = letters(self.gpu), letters(f"{gpu} {variant}")
        beside = whole.replace(known, "")
        return (
            known in letters(gpu)
            and all(letters(part) in beside for part in self.variant)
            and not any(letters(part) in whole for part in self.without)
        )

    @property
    def specificity(self) -> tuple[int, int]:
        """How much of a name it fixes: letters of the GPU's, then of its variant's."""
        return len(letters(self.gpu)), sum(len(letters(part)) for part in self.variant)
