"""What ``nmsim show`` says of machines: fields, what differs from a base, and their files' schema.

A schema is of a whole file, or of one of what differs from another machine.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from nmsim.machines import HARDWARE, KINDS, Machine, kind_of, load_hardware
from nmsim.machines.document import OWN
from nmsim.machines.step import usual
from nmsim.registry import Facts, Listing

__all__ = ["LISTING", "machine_schema"]

Schema = dict[str, Any]

_SAID = (
    " A file with based_on holds what differs from that machine: summary and source are required, "
    "every other field is optional, in groups too; a mapping in place of a list changes entries, "
    "by position or by a text of theirs."
)

_OF_A_CHANGE = ".changed"
"""Ends the name of a definition whose fields may all be left out."""


class _Shown(NamedTuple):
    """A field, or an entry of a list: its dotted path, what it sets, and what it means."""

    path: str
    parts: tuple[str, ...]
    meaning: str = ""

    @property
    def text(self) -> str:
        """What ``nmsim show`` prints of the field: its value and, in brackets, what it means."""
        said = ", ".join(self.parts)
        return f"{said}   [{self.meaning}]" if self.meaning else said


def _facts(name: str) -> Facts:
    """All fields of a machine, whatever file they stand in, and how it differs from its base."""
    machine = load_hardware(name)
    peak = ("peak MACs", f"{machine.peak_macs:,} per cycle")
    fields = [(one.path, one.text) for one in _fields(machine)]
    return [*fields, peak, *kind_of(machine).facts(machine), *_differences(name, machine)]


def _differences(name: str, machine: Machine) -> Facts:
    base = HARDWARE.base(HARDWARE.path(name), machine.based_on)
    if base is None:
        return []
    ours, theirs = _inheritable(machine), _inheritable(load_hardware(base))
    facts = []
    for path in {**ours, **theirs}:
        own, other = ours.get(path, ()), theirs.get(path, ())
        if own != other:
            here, there = _beyond(own, other), _beyond(other, own)
            facts.append((f"differs: {path}", f"{here}, in {machine.based_on} {there}"))
    return facts


def _inheritable(machine: Machine) -> dict[str, tuple[str, ...]]:
    return {
        one.path: one.parts for one in _fields(machine) if one.path.partition(".")[0] not in OWN
    }


def _beyond(parts: tuple[str, ...], others: tuple[str, ...]) -> str:
    return ", ".join(part for part in parts if part not in others) or "none"


def _fields(value: BaseModel, prefix: str = "") -> Iterator[_Shown]:
    for name, field in type(value).model_fields.items():
        item: Any = getattr(value, name)
        path = f"{prefix}{name}"
        if isinstance(item, BaseModel):
            yield from _fields(item, f"{path}.")
        elif isinstance(item, tuple) and any(isinstance(one, BaseModel) for one in item):
            for at, one in enumerate(item):
                yield _Shown(f"{path}.{at}", tuple(_said(one)))
        else:
            shown = ", ".join(map(str, item)) or "none" if isinstance(item, tuple) else str(item)
            plain = name in ("name", "summary", "source")
            yield _Shown(path, (shown,), "" if plain else field.description or "")


def _said(value: BaseModel, prefix: str = "") -> Iterator[str]:
    """What an entry of a list sets, without what it leaves open."""
    for name in type(value).model_fields:
        item: Any = getattr(value, name)
        if isinstance(item, BaseModel):
            yield from _said(item, f"{prefix}{name}.")
        elif item not in (None, (), "", False):
            yield f"{prefix}{name} {_listed(item) if isinstance(item, tuple) else item}"


def _listed(items: tuple[Any, ...]) -> str:
    return " ".join(
        " ".join(_said(one)) if isinstance(one, BaseModel) else str(one) for one in items
    )


def machine_schema(*kinds: str) -> Schema:
    """The schema of a file of a kind of machine; of one of several kinds, the first that fits."""
    files, definitions = [], {}
    for kind in kinds:
        whole = KINDS[kind].schema.model_json_schema(ref_template=f"#/$defs/{kind}.{{model}}")
        own = whole.pop("$defs", {})
        files.append(_file(whole))
        for name, definition in own.items():
            definitions[f"{kind}.{name}"] = definition
            definitions[f"{kind}.{name}{_OF_A_CHANGE}"] = _change(definition)
    schema = files[0] if len(files) == 1 else {"anyOf": files}
    return {**schema, "$defs": definitions}


def _file(whole: Schema) -> Schema:
    about = {"title": whole.pop("title"), "type": whole["type"]}
    change = _change(whole)
    properties, required = whole["properties"], whole["required"]
    for name in usual():  # fields of these may be left out of a whole file too
        properties[name] = change["properties"][name]
    return {
        **about,
        "description": whole.pop("description", "") + _SAID,
        "if": {"required": ["based_on"]},
        "then": {**change, "required": [name for name in required if name in OWN]},
        "else": {**whole, "required": [name for name in required if name not in usual()]},
    }


def _change(schema: Any) -> Any:
    """A schema of what may be laid over a value: fields and entries may be left out."""
    if isinstance(schema, list):
        return [_change(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {**schema, "$ref": schema["$ref"] + _OF_A_CHANGE}
    if schema.get("type") == "array":
        entries = {"type": "object", "additionalProperties": _change(schema["items"])}
        return {"anyOf": [schema, entries]}
    return {
        key: {name: _change(field) for name, field in value.items()}
        if key == "properties"
        else _change(value)
        for key, value in schema.items()
        if key != "required"
    }


LISTING = Listing(lambda: HARDWARE, HARDWARE.summary, _facts)
