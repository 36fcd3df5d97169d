"""What a processing element (PE) of an array is built of: multipliers, what it holds and passes.

Three shapes follow from it. *K shrinks*: a PE holds a slot for each of its multipliers, and a mask
leaves fewer slots, hence fewer folds (ws, is) or steps (os). *The stream shrinks*: a PE holds all
that is kept of whole groups and has fewer multipliers than a group has elements, so that a group of
the other operand stays for several cycles, its *beats*, of which a mask needs fewer. PEs that
intersect skip every product with a zero.
"""

from typing import Annotated, Literal

from pydantic import Field

from nmsim.spec import Spec

__all__ = ["Passes", "Pe", "Selection"]

Passes = Literal["group", "selected", "none"]
Selection = Literal["any", "ordered", "fixed", "intersect"]


class Pe(Spec):
    """A processing element, beside the ``dot_width`` products that it sums in a cycle."""

    macs_per_group: Annotated[int, Field(ge=1, le=1024)] = Field(
        1,
        description="multipliers that share a group of the operand that they select from, a "
        "divisor of dot_width; 1: each has a group of its own",
    )
    holds: Literal["slots", "group"] = Field(
        "slots",
        description="of the held operand a PE holds a slot for each multiplier, so that a mask "
        "leaves fewer folds (slots), or whole groups, as much as is kept of them, of which it "
        "makes macs_per_group products in a beat, so that a mask shortens the stream (group); "
        "under os it holds sums",
    )
    passes: Passes | None = Field(
        None,
        description="what a PE hands on to its neighbour of the operand that it selects from: the "
        "whole group, only the selected value, so that all lanes must keep the same elements, or "
        "nothing, for buses bring it; null: nothing where feed is broadcast, else the group",
    )
    selection: Selection | None = Field(
        None,
        description="a slot takes any element of its group, M inputs (any); kept elements stay in "
        "order, M - N + 1 inputs (ordered); all lanes keep the same elements, known beforehand, "
        "and no multiplexer is there (fixed); or only products of two kept elements are made "
        "(intersect); null: intersect where `intersecting` says how, else any",
    )
    arithmetic: Literal["int", "float"] = Field(
        "int",
        description="multipliers of integers, or of floating point: what they take in area and "
        "energy; times do not depend on it",
    )
