"""What an array is built of, as ``nmsim.cost`` counts it: its PE's structure, edges and buffers."""

from nmsim.cost.chip import Buffer, Chip
from nmsim.cost.multiplexer import Multiplexer, fan_in
from nmsim.cost.pe.structure import PeStructure
from nmsim.machines.systolic.schema import SystolicArray

__all__ = ["chip_of", "pe_of"]


def pe_of(machine: SystolicArray) -> PeStructure:
    """The structure of a PE of an array."""
    pe = machine.intersecting
    follows = "" if pe is not None or machine.group == 1 else machine.sparse_operand
    return PeStructure(
        operand_bits=machine.operand_bits,
        sum_bits=machine.accumulator_bits,
        floating=machine.floating,
        dataflow=machine.dataflow,  # type: ignore[arg-type]
        macs=machine.dot_width,
        macs_per_group=machine.pe.macs_per_group,
        group=machine.group,
        inputs=_inputs(machine),
        follows="ab" if follows == "either" else follows,
        index_bits=_index_bits(machine),
        selection=machine.selection,
        passes=machine.passes,
        holds_groups=machine.holds_groups,
        waiting_operands=machine.fold_period not in ("exposed", "uncounted"),
        waiting_sums=machine.drain in ("overlapped", "back_to_back"),
        marks=_marks(machine),
        depth=None if pe is None or pe.lookahead is None else pe.lookahead + 1,
    )


def _marks(machine: SystolicArray) -> int:
    """Back to back, bits that mark where a fold begins, and what waits or leaves."""
    if machine.dataflow == "os":
        return 3 if machine.drain == "back_to_back" else 0
    return 2 if machine.fold_period == "back_to_back" else 0


def _inputs(machine: SystolicArray) -> int:
    """Of the multiplexer that the pattern needs which needs most."""
    if machine.intersecting is not None:
        return machine.intersecting.group
    if machine.selection == "fixed" or machine.group == 1:
        return 1
    ordered = machine.selection == "ordered"
    own = [fan_in(native, ordered=ordered) for native in machine.native]
    return max([*own, machine.flexible_group, 1])


def _index_bits(machine: SystolicArray) -> int:
    """Bits that name an input of the multiplexer: an element of the widest group, as metadata does.

    Kept in order, one of the few that a slot may take; none where all lanes keep the same.
    """
    if machine.selection == "fixed" or machine.passes == "selected":
        return 0
    if machine.selection == "ordered":
        return Multiplexer(_inputs(machine), 1).select_bits
    own = [machine.metadata_bits(native) for native in machine.native]
    return max([*own, (machine.flexible_group - 1).bit_length() if machine.flexible_group else 0])


def chip_of(machine: SystolicArray) -> Chip:
    """The arrays of a machine and their buffers."""
    pe = pe_of(machine)
    edges = _edges(machine, pe)
    buffers = machine.arrays if machine.buffers == "private" else 1
    return Chip(
        pe=pe,
        rows=machine.rows,
        cols=machine.cols,
        arrays=machine.arrays,
        density=_density(machine),
        edge_rows="a" in edges,
        edge_cols="b" in edges,
        buffers=tuple(
            Buffer(name.upper(), getattr(machine.sram, f"{name}_kib"), buffers) for name in "abc"
        ),
        memory=machine.dram.memory,
    )


def _edges(machine: SystolicArray, pe: PeStructure) -> str:
    """Operands that are chosen from where they come in, at the rows (a) or the columns (b).

    Under ws and is what moves comes in at the rows.
    """
    if machine.passes != "selected" or pe.inputs == 1:
        return ""
    chosen = {"a": "b", "b": "a"}
    found = [chosen[one] for one in pe.follows if chosen[one] in pe.moving]
    return "a" if found and pe.held else "".join(found)


def _density(machine: SystolicArray) -> float | None:
    """Of the sparsest mask that the PEs are made for; None where they take any, or two."""
    if machine.intersecting is not None or machine.flexible_group:
        return None
    return min([1.0, *(native.density for native in machine.native)])
