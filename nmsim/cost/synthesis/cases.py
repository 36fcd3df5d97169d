"""The structures that the committed table holds: each is synthesised and counted."""

from collections.abc import Mapping
from typing import Any

from nmsim.cost.pe.structure import PeStructure

__all__ = ["CASES", "MACS"]


def _one_operand(
    bits: int, dataflow: str, groups: tuple[tuple[int, int], ...], *, floating: bool = False
) -> dict[str, Any]:
    """Dense, and one MAC a PE by patterns."""
    own: dict[str, Any] = {"operand_bits": bits, "dataflow": dataflow, "floating": floating}
    name = f"{dataflow}-{_format(bits, floating=floating)}"
    found = {name: PeStructure(**own)}
    for keep, group in groups:
        found[f"{name}-{keep}:{group}"] = PeStructure.selecting(keep, group, **own)
    return found


def _format(bits: int, *, floating: bool) -> str:
    return f"bf{bits}" if floating else f"int{bits}"


def _shared(bits: int, keep: int, group: int, **fields: Any) -> dict[str, PeStructure]:
    """N MACs that share a group, and as many of a dense PE."""
    own: dict[str, Any] = {"operand_bits": bits, "macs": keep, **fields}
    name = f"ws-{_format(bits, floating=bool(fields.get('floating')))}-{keep}-macs"
    return {
        name: PeStructure(**own),
        f"{name}-{keep}:{group}": PeStructure.selecting(keep, group, macs_per_group=keep, **own),
    }


def _intersecting(bits: int, group: int, depth: int, **fields: Any) -> dict[str, PeStructure]:
    return {
        f"intersecting-int{bits}-{group}-depth-{depth}"
        + "-buses" * (fields.get("passes") == "none"): PeStructure.intersecting(
            group, depth, operand_bits=bits, **fields
        )
    }


CASES: Mapping[str, PeStructure] = {
    **_one_operand(8, "ws", ((1, 2), (2, 4), (1, 4), (4, 8), (8, 16), (16, 32))),
    **_one_operand(8, "os", ((2, 4), (4, 8), (8, 16))),
    **_one_operand(16, "ws", ((2, 4), (4, 8), (8, 16))),
    **_one_operand(16, "os", ((2, 4),)),
    "ws-int8-2:4-ordered": PeStructure.selecting(2, 4, selection="ordered"),
    "ws-int8-4:8-ordered": PeStructure.selecting(4, 8, selection="ordered"),
    "ws-int8-2:4-fixed": PeStructure.selecting(2, 4, selection="fixed"),
    "ws-int8-4:8-selected": PeStructure.selecting(4, 8, passes="selected"),
    **_shared(8, 2, 4),
    **_shared(8, 4, 8),
    **_shared(8, 8, 16),
    **_shared(16, 2, 4),
    **_one_operand(16, "ws", ((2, 4), (4, 8)), floating=True),
    **_shared(16, 4, 8, floating=True),
    "ws-int8-2-macs-2:4-ordered": PeStructure.selecting(
        2, 4, macs=2, macs_per_group=2, selection="ordered"
    ),
    **_intersecting(8, 4, 1),
    **_intersecting(8, 4, 4),
    **_intersecting(8, 4, 8),
    **_intersecting(8, 8, 1),
    **_intersecting(8, 8, 4),
    **_intersecting(8, 4, 4, passes="none"),
    **_intersecting(16, 4, 4),
}
"""By name. A dense one of the same width, dataflow and number of MACs is what others add to."""

MACS: tuple[PeStructure, ...] = (
    *(PeStructure(operand_bits=bits) for bits in (2, 4, 8, 12, 16)),
    *(PeStructure(operand_bits=bits, sum_bits=bits) for bits in (8, 16)),
    PeStructure(operand_bits=8, sum_bits=24),
    PeStructure(operand_bits=16, sum_bits=48),
    PeStructure(operand_bits=24, sum_bits=64),
    PeStructure(operand_bits=32, sum_bits=64),
    *(PeStructure(macs=lanes) for lanes in (2, 4, 8, 16)),
    PeStructure(operand_bits=4, macs=4),
    *(PeStructure(operand_bits=16, macs=lanes) for lanes in (2, 4, 8)),
    *(PeStructure(operand_bits=16, floating=True, macs=lanes) for lanes in (1, 2, 4, 8)),
)
"""Of which the MAC alone is synthesised."""
