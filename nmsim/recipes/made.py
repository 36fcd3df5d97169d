"""Bits of masks that were made, as many as fit: another phase or machine asks for them again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from nmsim.mask.words import Words

__all__ = ["MADE", "Made"]


class Made:
    """Bits by who makes them; the longest unasked for go first.

    Parameters
    ----------
    most
        Bytes that are kept; of a mask that is larger alone, it and no other.
    """

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._found: OrderedDict[Hashable, Words] = OrderedDict()

    def of(self, maker: Hashable, make: Callable[[], Words]) -> Words:
        """The bits of a maker, made if they are not here."""
        found = self._found.pop(maker, None)
        if found is None:
            found = make()
            self._bytes += found.nbytes
        self._found[maker] = found
        while self._bytes > self._most and len(self._found) > 1:
            _, gone = self._found.popitem(last=False)
            self._bytes -= gone.nbytes
        return found

    @property
    def bytes(self) -> int:
        """Bytes of all that are here."""
        return self._bytes


MADE = Made(1 << 27)
"""Those of this process."""
