"""What a piece of hardware is built of: components, each so many of a few kinds of cells.

Counts are integers that follow from a structure; what a cell takes of area, and what it leaks, is a
technology's (``nmsim.cost.technology``). Cells are those that Yosys' ``synth`` knows.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

__all__ = ["CELLS", "Bill", "Cell", "Component", "Part"]

Cell = Literal[
    "dff", "mux2", "not", "and2", "or2", "nand2", "nor2", "xor2", "xnor2", "andnot", "ornot"
]
"""A cell of one bit: a flip-flop, a two-input multiplexer, or a gate of two inputs."""

CELLS: tuple[Cell, ...] = get_args(Cell)

Part = Literal["mac", "multiplexer", "register", "metadata", "queue", "control", "sram", "wire"]
"""What a component is there for."""


@dataclass(frozen=True)
class Component:
    """So many things alike.

    Parameters
    ----------
    name
        What they are, as a table shows it.
    part
        What they are there for.
    count
        How many.
    unit
        What is counted: "flip-flops", "two-input multiplexers", "MACs", "bits".
    cells
        Cells of one of them.
    sram_kib
        KiB of a buffer, which is priced by its size and not by cells; 0: none.
    basis
        Where the count, or the cells of one, come from.
    """

    name: str
    part: Part
    count: int
    unit: str
    cells: Mapping[Cell, float] = field(default_factory=dict)
    sram_kib: float = 0.0
    basis: str = "counted from the structure"

    def times(self, pieces: int) -> "Component":
        """The same in so many pieces of hardware alike."""
        return Component(
            self.name, self.part, self.count * pieces, self.unit, self.cells, self.sram_kib,
            self.basis,
        )  # fmt: skip


@dataclass(frozen=True)
class Bill:
    """The components of a piece of hardware; those of none are left out."""

    components: tuple[Component, ...]

    @classmethod
    def of(cls, components: Iterable[Component]) -> "Bill":
        """A bill of the components that there are any of."""
        return cls(tuple(one for one in components if one.count))

    def times(self, pieces: int) -> "Bill":
        """So many pieces of hardware alike."""
        return Bill(tuple(one.times(pieces) for one in self.components))

    def plus(self, other: "Bill") -> "Bill":
        """Both together."""
        return Bill(self.components + other.components)

    def cells(self, *, without: Iterable[Part] = ()) -> dict[Cell, float]:
        """Cells by kind, those of some parts left out.

        Examples
        --------
        >>> word = Component("a word", "register", 8, "flip-flops", {"dff": 1})
        >>> Bill.of([word, word]).cells()
        {'dff': 16}
        """
        left = set(without)
        found: Counter[Cell] = Counter()
        for one in self.components:
            if one.part not in left:
                for cell, count in one.cells.items():
                    found[cell] += count * one.count  # type: ignore[assignment]
        return dict(found)

    def count(self, part: Part) -> int:
        """How many of a part there are, whatever they are."""
        return sum(one.count for one in self.components if one.part == part)
