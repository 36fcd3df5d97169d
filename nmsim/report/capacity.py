"""What a run keeps in memory against what its machine has, as a headline says it."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from nmsim.report.evidence import measured_on
from nmsim.report.notation import grouped

__all__ = ["beyond", "headline", "memory_said", "on", "rests_on", "unfitted"]

_GIB = 2**30


def beyond(about: Mapping[str, Any]) -> bool:
    """Whether a run keeps more than its machine has, as its manifest says; False: not known."""
    needed, there = about.get("memory_bytes"), about.get("capacity_bytes")
    return needed is not None and there is not None and needed > there


def memory_said(about: Mapping[str, Any]) -> str:
    """What a run keeps in memory, and what there is; empty where its manifest does not say.

    Examples
    --------
    >>> memory_said({"memory_bytes": 150 << 30, "capacity_bytes": 80 << 30})
    'does not fit: 150.0 of 80 GiB of memory'
    >>> memory_said({"memory_bytes": 3 << 29, "capacity_bytes": None})
    '1.5 GiB of memory'
    """
    needed, there = about.get("memory_bytes"), about.get("capacity_bytes")
    if needed is None:
        return ""
    amount = needed / _GIB
    size = grouped(amount, 1 if amount >= 1 else 3)
    if there is None:
        return f"{size} GiB of memory"
    said = f"{size} of {there / _GIB:g} GiB of memory"
    return f"does not fit: {said}" if beyond(about) else said


def on(about: Mapping[str, Any]) -> str:
    """The machine of a run, and what chooses among its ways where a run may set it."""
    return ", ".join(filter(None, (str(about["hardware"]), str(about.get("choices", "")))))


def headline(text: str, about: Mapping[str, Any]) -> str:
    """The head of a result: what it keeps in memory, and below that what its times rest on.

    What does not fit stands in front.
    """
    said = memory_said(about)
    if beyond(about):
        text = f"{said}; {text}"
    elif said:
        text = f"{text}, {said}"
    return "\n".join((text, *rests_on(about)))


def rests_on(about: Mapping[str, Any]) -> list[str]:
    """What the times of a run, a sweep or a training rest on, a sentence each, as far as told.

    Whose constants they are, what was measured on the machine, and what a learned residual adds.

    Examples
    --------
    >>> rests_on({"unfitted": "has constants of another", "evidence": ""})
    ['has constants of another']
    """
    return list(filter(None, (unfitted(about), measured_on(about), _corrected(about))))


def _corrected(about: Mapping[str, Any]) -> str:
    """What a manifest says of learned residuals that its machines have; empty if none has one.

    Examples
    --------
    >>> _corrected({"machine": {"residual": "/here/mine.residual.npz"}})
    'times corrected by the learned residual mine, within its data (column residual_factor)'
    """
    several = about.get("machines")
    machines = several.values() if isinstance(several, Mapping) else [about.get("machine") or {}]
    paths = dict.fromkeys(str(path) for one in machines if (path := one.get("residual")))
    if not paths:
        return ""
    names = ", ".join(PurePath(path).name.partition(".")[0] for path in paths)
    return (
        f"times corrected by the learned residual {names}, within its data (column residual_factor)"
    )


def unfitted(about: Mapping[str, Any]) -> str:
    """What a manifest says of machines whose constants were fitted to others; empty if of none."""
    machines = about.get("unfitted") or {}
    if isinstance(machines, str):
        return machines
    return "; ".join(f"{name} {said}" for name, said in machines.items() if said)
