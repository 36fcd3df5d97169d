"""The JSON Schema of a machine's file: a whole one, or one of what differs from another machine."""

from typing import Any

from nmsim.machines import KINDS
from nmsim.machines.document import OWN
from nmsim.machines.step import usual

__all__ = ["machine_schema"]

Schema = dict[str, Any]

_SAID = (
    " A file with based_on holds what differs from that machine: summary and source are required, "
    "every other field is optional, in groups too; a mapping in place of a list changes entries, "
    "by position or by a text of theirs."
)

_OF_A_CHANGE = ".changed"
"""Ends the name of a definition whose fields may all be left out."""


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
