"""What a processing element (PE) is built of, in plain fields, and the registers that follow.

A PE multiplies words of two operands and adds the products to a sum. Of the operands one may be
*held* (ws, is), or both *move* through it (os). An operand is *followed* if its mask tells the PE
which elements of the other one to take: it comes as slots, each with an index, and the other one
comes by whole groups, one for all multipliers that share it. A PE *intersects* if it takes the
pairs of which both are kept, from a queue of groups.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from nmsim.cost.multiplexer import Multiplexer

__all__ = ["Dataflow", "Passes", "PeStructure", "Queue", "Registers", "Selection"]

Dataflow = Literal["ws", "is", "os"]
Passes = Literal["group", "selected", "none"]
Selection = Literal["any", "ordered", "fixed", "intersect"]

_PLACES = {"os": ("", "ab"), "ws": ("b", "a"), "is": ("a", "b")}
"""Operands that a PE holds, and that it hands on, by dataflow."""


class Registers(NamedTuple):
    """The registers of a PE, in words of operands and bits; queues of PEs that intersect are apart.

    Parameters
    ----------
    held, passed
        Words of operands that stay, a second set included that waits for its fold; and that go on
        to the neighbours.
    word_bits
        Of an operand.
    metadata_bits
        Which elements of their groups the words are that a mask left.
    accumulator_bits
        Of sums, those included that wait to leave.
    valid_bits
        Whether there is anything in a register, and where a fold begins.
    """

    held: int
    passed: int
    word_bits: int
    metadata_bits: int
    accumulator_bits: int
    valid_bits: int

    @property
    def bits(self) -> int:
        """Bits of all registers of a PE: its flip-flops."""
        words = (self.held + self.passed) * self.word_bits
        return words + self.metadata_bits + self.accumulator_bits + self.valid_bits


class Queue(NamedTuple):
    """The queue of a PE that intersects: groups of both operands, with a flag for every pair."""

    depth: int
    entry_bits: int

    @property
    def bits(self) -> int:
        """Bits that it stores."""
        return self.depth * self.entry_bits


@dataclass(frozen=True, kw_only=True)
class PeStructure:
    """A processing element.

    Parameters
    ----------
    operand_bits, sum_bits
        Widths of A and B, and of sums.
    floating
        Its MACs are floating point; else integers in two's complement.
    dataflow
        What stays in it: B (ws), A (is), the sum (os).
    macs
        Products that it sums in a cycle.
    macs_per_group
        Of these, so many share a group.
    group
        M of the widest group that it selects from; 1: it selects nothing.
    inputs
        Of each multiplexer: M, or M - N + 1 where kept elements stay in order; 1 where there is
        none.
    follows
        Operands whose masks it follows.
    index_bits
        Of a slot's metadata.
    selection
        How it selects.
    passes
        What it hands on of the operand that it selects from.
    holds_groups
        It holds all that is kept of whole groups, of which its multipliers take some in each beat.
    waiting_operands, waiting_sums
        A second set of held operands waits for its fold; of sums, to leave.
    marks
        Bits that say where a fold begins, beside one for what each neighbour is handed.
    depth
        Groups in the queue of a PE that intersects; None: without limit.
    """

    operand_bits: int = 8
    sum_bits: int = 32
    floating: bool = False
    dataflow: Dataflow = "ws"
    macs: int = 1
    macs_per_group: int = 1
    group: int = 1
    inputs: int = 1
    follows: Literal["", "a", "b", "ab"] = ""
    index_bits: int = 0
    selection: Selection = "any"
    passes: Passes = "group"
    holds_groups: bool = False
    waiting_operands: bool = False
    waiting_sums: bool = False
    marks: int = 0
    depth: int | None = 0

    @classmethod
    def selecting(cls, keep: int, group: int, **fields: object) -> "PeStructure":
        """A PE that follows the mask of B, N:M; one slot for each of its multipliers.

        Examples
        --------
        >>> PeStructure.selecting(2, 4).registers.bits, PeStructure().registers.bits
        (75, 49)
        """
        selection = fields.get("selection", "any")
        if group == 1 or selection == "fixed":
            return cls(**{"follows": "b" if group > 1 else "", "group": group, **fields})  # type: ignore[arg-type]
        inputs = group - keep + 1 if selection == "ordered" else group
        index = Multiplexer(inputs, 1).select_bits
        chosen = fields.get("passes") == "selected"
        said = {
            "group": group,
            "inputs": inputs,
            "follows": "b",
            "index_bits": 0 if chosen else index,
        }
        return cls(**{**said, **fields})  # type: ignore[arg-type]

    @classmethod
    def intersecting(cls, group: int, depth: int | None, **fields: object) -> "PeStructure":
        """A PE that takes the pairs of which both elements are kept, under os."""
        said = {"group": group, "inputs": group, "depth": depth, "selection": "intersect"}
        return cls(**{"dataflow": "os", **said, **fields})  # type: ignore[arg-type]

    @property
    def dense(self) -> "PeStructure":
        """The same PE without anything that follows a mask: what the others are held against."""
        return PeStructure(
            operand_bits=self.operand_bits,
            sum_bits=self.sum_bits,
            floating=self.floating,
            dataflow=self.dataflow,
            macs=self.macs,
            passes="none" if self.passes == "none" else "group",
            waiting_operands=self.waiting_operands,
            waiting_sums=self.waiting_sums,
            marks=self.marks,
        )

    @property
    def intersects(self) -> bool:
        """Whether it takes pairs of which both elements are kept."""
        return self.selection == "intersect"

    @property
    def held(self) -> str:
        """Operands that it holds."""
        return _PLACES[self.dataflow][0]

    @property
    def moving(self) -> str:
        """Operands that it hands on."""
        return _PLACES[self.dataflow][1]

    @property
    def groups(self) -> int:
        """Groups that it selects from in a cycle."""
        return self.macs // self.macs_per_group

    @property
    def multiplexer(self) -> Multiplexer:
        """One of those that pick an operand's element; of one input where there is none."""
        return Multiplexer(self.inputs, self.operand_bits)

    @property
    def multiplexers(self) -> int:
        """How many there are: for each multiplier one an operand that is selected from.

        Where PEs are handed what others chose, those at the array's edge alone have any.
        """
        if self.inputs == 1:
            return 0
        if self.intersects:
            return 2 * self.macs
        chosen = self.passes == "selected"
        from_held = sum(one in self.moving for one in self.follows) if self.held else 0
        from_moving = len(self.follows) - from_held
        return self.macs * (from_held + (0 if chosen else from_moving))

    @property
    def beats(self) -> int:
        """Cycles that a whole group of the other operand stays; 1 where no groups are held."""
        return self.group // self.macs_per_group if self.holds_groups else 1

    @cached_property
    def queue(self) -> Queue | None:
        """The queue of a PE that intersects; None if it has none, or one without limit."""
        if not self.intersects or self.depth is None:
            return None
        return Queue(self.depth, self.group * (2 * self.operand_bits + 1))

    @cached_property
    def registers(self) -> Registers:
        """The registers of the PE, its queue apart."""
        held = self._copies * sum(self._words(one, held=True) for one in self.held)
        passed = sum(self._words(one, held=False) for one in self.moving)
        moving = sum(
            self.index_bits * self._slots(one)
            for one in self.follows
            if one in self.moving and self.passes != "none"
        )
        return Registers(
            held=held,
            passed=passed,
            word_bits=self.operand_bits,
            metadata_bits=self.held_metadata_bits + moving + self._flags,
            accumulator_bits=self.sum_bits * (2 if self.waiting_sums and not self.held else 1),
            valid_bits=self.marks + (0 if self.passes == "none" else len(self.moving)),
        )

    @property
    def held_metadata_bits(self) -> int:
        """Of the registers, those of the indices of slots that are held."""
        slots = sum(self._slots(one) for one in self.follows if one in self.held)
        return self._copies * self.index_bits * slots

    def moving_bits(self, operand: str) -> int:
        """Bits a cycle of an operand that moves, as a PE takes it: words, indices and flags."""
        words = self._words(operand, held=False) or self.macs
        index = self.index_bits * self._slots(operand) if operand in self.follows else 0
        return words * self.operand_bits + index + (self.group if self.intersects else 0)

    @property
    def _copies(self) -> int:
        """Sets of held operands: one that waits, too, where there is one."""
        return 2 if self.waiting_operands and self.held else 1

    @property
    def _flags(self) -> int:
        """Of a PE that intersects, a bit for every element that it hands on: it was kept or not."""
        return 0 if not self.intersects or self.passes == "none" else 2 * self.group

    def _words(self, operand: str, *, held: bool) -> int:
        """Words of an operand, those of a whole group if the other one's mask is followed."""
        if not held and self.passes == "none":
            return 0
        if self.intersects:
            return self.group
        other = "b" if operand == "a" else "a"
        chosen = self.selection == "fixed" or (self.passes == "selected" and not held)
        if other in self.follows and not chosen:
            return self.groups * self.group
        return self._slots(operand)

    def _slots(self, operand: str) -> int:
        """Words of an operand that a PE is given as slots."""
        whole = self.holds_groups and operand in self.held
        return self.groups * self.group if whole else self.macs
