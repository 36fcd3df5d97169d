"""The errors that nmsim raises on purpose, one class for each kind of mistake.

``NmsimError`` is a mistake that its user can mend: its text is one line that names the place, what
stood there and what was expected. The command line prints that line and exits with status 2.

- NmsimError
    - PatternError: an N:M pattern that cannot be
    - CapacityError: a buffer that cannot hold what a GEMM needs at least
    - ShapeError: arrays, masks or GEMMs whose sizes do not fit together
    - UnknownName: a name that no catalog or registry holds
    - RecipeError: a recipe that offers a mask which a phase cannot use
    - SpecError: a YAML, CSV or tensor file that does not say what it must
    - MeasureError: a GPU that is not there, or a GEMM that it does not run
    - MissingExtra: an optional dependency that is not installed
    - TraceError: a trace that is truncated, altered or of a newer schema
"""

import re

__all__ = [
    "CapacityError",
    "MeasureError",
    "MissingExtra",
    "NmsimError",
    "PatternError",
    "RecipeError",
    "ShapeError",
    "SpecError",
    "TraceError",
    "UnknownName",
    "reason",
    "shortened",
]


_LONG = re.compile(r"\S{500,}")
"""What a user wrote, or a file holds, by mistake: no name, and no path of a folder one works in."""


def shortened(text: str) -> str:
    """A message of which no word goes on and on: of those that do, both ends."""
    return _LONG.sub(lambda word: f"{word[0][:80]}...{word[0][-20:]}", text)


class NmsimError(Exception):
    """A mistake that the user can mend; ``str()`` is one line, of which no word goes on and on."""

    def __str__(self) -> str:
        return shortened(super().__str__())


class PatternError(NmsimError, ValueError):
    """An N:M pattern that cannot be, such as 5:4."""


class ShapeError(NmsimError, ValueError):
    """Arrays, masks or GEMMs whose sizes do not fit together."""


class CapacityError(NmsimError, ValueError):
    """A buffer that cannot hold what a GEMM needs at least: says what would do."""


class UnknownName(NmsimError, LookupError):
    """A name that no catalog or registry holds."""


class SpecError(NmsimError, ValueError):
    """A file that does not say what it must: names the file, the field and what was expected."""


class RecipeError(NmsimError, ValueError):
    """A recipe that offers a mask which a phase cannot use: says why, and by how much."""


class TraceError(NmsimError, ValueError):
    """A trace that is truncated, altered or of a newer schema."""


class MeasureError(NmsimError, RuntimeError):
    """A GPU that is not there, or a GEMM that it does not run."""


class MissingExtra(NmsimError, ImportError):
    """An optional dependency that is not installed, or does not load: says what to install."""


def reason(error: Exception) -> str:
    """What the operating system says, without the path."""
    return getattr(error, "strerror", None) or str(error)
