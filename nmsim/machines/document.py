"""The fields of a machine's file before they are validated, and how one file is laid over another.

A file that is based on another machine holds what differs. What it says replaces what the base
says, field by field within groups; a list is replaced whole, unless the file has a mapping in its
place: that changes single entries, each called as a dotted path calls it (``nmsim.spec.override``).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nmsim.spec import entry_position

__all__ = ["OWN", "inherited", "laid_over"]

OWN = (
    *("name", "aliases", "summary", "source", "based_on"),
    *("measured_as", "fitted", "calibration"),
    "capacity_gib",  # a card of another size says its own, or nobody knows it
)
"""Fields that a file does not take from its base: what they say is said of that one file."""


def inherited(base: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a base that a file based on it takes over where it names none itself."""
    return {name: value for name, value in base.items() if name not in OWN}


def laid_over(under: Any, over: Any, path: str = "") -> Any:
    """A value with what another says of it laid on top; neither is changed.

    Parameters
    ----------
    under, over
        Groups are merged field by field, and a mapping over a list entry by entry; anything else
        on top replaces what it lies on, null too.
    path
        Of the field, for messages.

    Raises
    ------
    SpecError
        for an entry that a list has not; for a name that several entries have.

    Examples
    --------
    >>> laid_over({"dram": {"gbps": 450, "latency_ns": 500}}, {"dram": {"gbps": 100}})
    {'dram': {'gbps': 100, 'latency_ns': 500}}
    >>> laid_over([{"pattern": "2:6", "bits": 4}], {"2:6": {"bits": 2}})
    [{'pattern': '2:6', 'bits': 2}]
    """
    if not isinstance(over, Mapping):
        return over
    if isinstance(under, Mapping):
        return {**under, **_changed(under, over.items(), path)}
    if isinstance(under, list | tuple):
        entries = list(under)
        for name, value in over.items():
            own = _join(path, name)
            position = entry_position(entries, str(name), own)
            entries[position] = laid_over(entries[position], value, own)
        return entries
    return over


def _changed(
    under: Mapping[str, Any], over: Iterable[tuple[str, Any]], path: str
) -> dict[str, Any]:
    return {name: laid_over(under.get(name), value, _join(path, name)) for name, value in over}


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
