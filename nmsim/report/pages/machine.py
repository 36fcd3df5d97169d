"""Every field of a machine, its unit and meaning, and where its figures come from.

What a field means stands in the schema of its kind; a manifest that is older or newer than that,
or of a kind that is not installed, is shown without.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from nmsim.machines import KINDS
from nmsim.report.pages.markup import Cell, Head, Safe, el, fields, joined, sheet

__all__ = ["machine_section", "machines_section"]

Fields = Mapping[str, Any]

_TOLD = ("name", "summary", "source")
"""What stands above the table."""

_LONG = 160
"""Characters of a value from which on it is no setting to look up but a list to read."""


def machine_section(name: str, machine: Fields) -> Safe:
    """A machine: what it is, its settings with their meanings, and what is longer than a line."""
    kind = str(machine.get("kind"))
    schema = KINDS[kind].schema if kind in KINDS else None
    meanings = dict(_meanings(schema)) if schema else {}
    shown = fields({key: value for key, value in machine.items() if key not in _TOLD})
    short = [pair for pair in shown if len(pair[1]) <= _LONG and not _listed(pair[0])]
    long = [pair for pair in shown if pair not in short]
    return el(
        "section",
        el("h3", name),
        el("p", machine.get("summary", ""), class_="lead"),
        sheet(
            (Head("field"), Head("value"), Head("unit and meaning")),
            ([Cell(path), Cell(text), Cell(_meaning(meanings, path))] for path, text in short),
            "fields",
        ),
        el("p", f"Source: {machine['source']}", class_="caption") if machine.get("source") else "",
        _rest(long, meanings),
    )


def _rest(long: list[tuple[str, str]], meanings: Mapping[str, str]) -> Safe:
    if not long:
        return Safe("")
    rows = ([Cell(path), Cell(text), Cell(_meaning(meanings, path))] for path, text in long)
    heads = (Head("entry"), Head("says"), Head("meaning"))
    return el(
        "details", el("summary", f"Its lists: {len(long)} entries"), sheet(heads, rows, "fields")
    )


def _listed(path: str) -> bool:
    """Whether a path is of an entry of a list, which is one of many alike."""
    return any(part.isdigit() for part in path.split("."))


def _meaning(meanings: Mapping[str, str], path: str) -> str:
    """What a field means; of an entry of a list, what the list does."""
    return meanings.get(".".join(part for part in path.split(".") if not part.isdigit()), "")


def _meanings(
    schema: type[BaseModel], prefix: str = "", deep: int = 0
) -> Iterator[tuple[str, str]]:
    """Descriptions of fields by dotted path, of those in groups and in entries of lists too."""
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}", field.description or ""
        for inner in _models(field.annotation):
            if deep < _DEEPEST:
                yield from _meanings(inner, f"{prefix}{name}.", deep + 1)


_DEEPEST = 4


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field's type names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)


def machines_section(found: Mapping[str, Fields]) -> Safe:
    """All machines of a page: of many, the fields in which they differ, side by side."""
    if len(found) <= _FULL:
        return joined(machine_section(name, machine) for name, machine in found.items())
    first, machine = next(iter(found.items()))
    return joined((_differences(found), machine_section(first, machine)))


_FULL = 4
"""Machines that are told one by one; of more, the first, and what differs."""


def _differences(found: Mapping[str, Fields]) -> Safe:
    told = {name: dict(fields(dict(machine))) for name, machine in found.items()}
    paths = list(dict.fromkeys(path for one in told.values() for path in one))
    said = ("name", "summary", "aliases", "source")
    differ = [p for p in paths if p not in said and len({one.get(p) for one in told.values()}) > 1]
    heads = [Head("machine"), *map(Head, differ)]
    rows = ([Cell(n), *(Cell(one.get(p) or "none") for p in differ)] for n, one in told.items())
    lead = f"{len(found)} machines; the fields in which they differ, then the first in full."
    return joined((el("p", lead, class_="lead"), sheet(heads, rows, "sortable")))
