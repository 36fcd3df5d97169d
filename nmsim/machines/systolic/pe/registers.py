"""Which shape the processing elements (PEs) of an array have, and what that takes in registers."""

from typing import Literal, NamedTuple

from nmsim.machines.systolic.schema import SystolicArray

__all__ = ["Registers", "registers_of", "selecting_pes", "shape_of"]

Shape = Literal["dense", "K shrinks", "the stream shrinks", "both operands' zeros are skipped"]


class Registers(NamedTuple):
    """The registers of a PE, in words of operands and bits.

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


def shape_of(machine: SystolicArray) -> Shape:
    """What a mask that the selectors support saves on an array."""
    if machine.intersecting is not None:
        return "both operands' zeros are skipped"
    if machine.group == 1:
        return "dense"
    return "the stream shrinks" if machine.holds_groups else "K shrinks"


def registers_of(machine: SystolicArray) -> Registers:
    """The registers of a PE of an array; queues of PEs that intersect are apart.

    An operand comes to a PE by whole groups, one for all multipliers that share it, if the other
    operand's mask is followed; what is followed comes as slots, each with its index.
    """
    holds, moves = _places(machine)
    copies = 1 if machine.fold_period in ("exposed", "uncounted") else 2
    held = copies * sum(_words(machine, operand, held=True) for operand in holds)
    passed = sum(_words(machine, operand, held=False) for operand in moves)
    indexed = _index_bits(machine)
    metadata = sum(
        indexed * (copies if operand in holds else 1) * _slots(machine, operand)
        for operand in _followed(machine)
        if operand in holds or machine.passes != "none"
    )
    waits = machine.drain in ("overlapped", "back_to_back") and not holds
    return Registers(
        held=held,
        passed=passed,
        word_bits=machine.operand_bits,
        metadata_bits=metadata,
        accumulator_bits=machine.accumulator_bits * (2 if waits else 1),
        valid_bits=_valid_bits(machine, len(moves)),
    )


def selecting_pes(machine: SystolicArray) -> int:
    """PEs with multiplexers: all, or those at the edge where the others are given what they chose.

    0 where elements are known beforehand.
    """
    if machine.selection == "fixed":
        return 0
    holds, _ = _places(machine)
    if machine.passes != "selected" or (holds and _followed(machine) != holds):
        return machine.rows * machine.cols  # a PE that holds groups chooses for each slot anew
    edges = {"a": machine.cols, "b": machine.rows}  # A comes in at the rows, where B's mask is used
    return machine.rows if holds else sum(edges[operand] for operand in _followed(machine))


def _places(machine: SystolicArray) -> tuple[str, str]:
    """The operands that a PE holds, and that it hands on."""
    return {"os": ("", "ab"), "ws": ("b", "a"), "is": ("a", "b")}[machine.dataflow]


def _followed(machine: SystolicArray) -> str:
    """The operands whose masks the selectors follow."""
    if machine.group == 1 or machine.intersecting is not None:
        return ""
    return "ab" if machine.sparse_operand == "either" else machine.sparse_operand


def _words(machine: SystolicArray, operand: str, *, held: bool) -> int:
    """Words of an operand in a PE, those of a whole group if the other one's mask is followed."""
    if not held and machine.passes == "none":
        return 0
    other = "b" if operand == "a" else "a"
    chosen = machine.selection == "fixed" or (machine.passes == "selected" and not held)
    if other in _followed(machine) and not chosen:
        return machine.groups_per_pe * machine.group
    return _slots(machine, operand)


def _slots(machine: SystolicArray, operand: str) -> int:
    """Words of an operand that a PE is given as slots."""
    whole = machine.holds_groups and operand in _places(machine)[0]
    return machine.groups_per_pe * machine.group if whole else machine.dot_width


def _index_bits(machine: SystolicArray) -> int:
    """Bits that name an element of the widest group; none where all lanes keep the same."""
    if machine.selection == "fixed" or machine.passes == "selected":
        return 0
    own = [machine.metadata_bits(native) for native in machine.native]
    return max([*own, (machine.flexible_group - 1).bit_length() if machine.flexible_group else 0])


def _valid_bits(machine: SystolicArray, moving: int) -> int:
    """A bit for what each neighbour is handed; back to back the mark, and what waits or leaves."""
    passed = 0 if machine.passes == "none" else moving
    if machine.dataflow == "os":
        return passed + (3 if machine.drain == "back_to_back" else 0)
    return passed + (2 if machine.fold_period == "back_to_back" else 0)
