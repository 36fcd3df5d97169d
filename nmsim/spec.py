"""Things declared in YAML: read once, validated strictly, frozen; and the catalogs they stand in.

YAML is version 1.2 (ruamel.yaml), in which an unquoted ``2:4`` is a string; in 1.1 it is 124.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from nmsim.errors import NmsimError, SpecError
from nmsim.registry import unknown_name

__all__ = [
    "Catalog",
    "Spec",
    "first_error",
    "override",
    "parse_scalar",
    "read_yaml",
    "reason",
    "validate",
]


class Spec(BaseModel):
    """Base of everything declared in YAML: strict, frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, document: Any) -> Any:
        # YAML has no tuples, and strict fields take no list for one.
        if not isinstance(document, Mapping):
            return document
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in document.items()
        }


S = TypeVar("S", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML 1.2 file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: expected a YAML text file, found binary data") from error
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read ({reason(error)})") from error
    try:
        document = _parse(text)
    except _NOT_YAML as error:
        raise SpecError(f"{path}: {_problem(error)}") from error
    if not isinstance(document, dict):
        what = "nothing" if document is None else f"a {type(document).__name__}"
        raise SpecError(f"{path}: expected a mapping of fields, found {what}")
    return document


def parse_scalar(text: str) -> Any:
    """A value as YAML 1.2 would read it: "32" is an int, "2:4" a string, "null" is None."""
    try:
        return _parse(text)
    except _NOT_YAML as error:
        raise SpecError(f"value {_shown(text)}: expected a YAML value") from error


# What the constructors of explicit tags let through besides YAMLError: !!int "", !!bool 3, !!omap.
_NOT_YAML = (
    YAMLError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def _parse(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(StringIO(text))


def _problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or next(iter(str(error).splitlines()), "")
    return f"{where}not YAML ({problem or type(error).__name__})"


def reason(error: Exception) -> str:
    """What the operating system says, without the path."""
    return getattr(error, "strerror", None) or str(error)


def _field(location: Sequence[int | str]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def validate(cls: type[S], document: Mapping[str, Any], where: str) -> S:
    """Check a mapping against its schema; the first error becomes one line.

    Raises
    ------
    SpecError
        ``where``, the field and what was expected.
    """
    try:
        return cls.model_validate(dict(document))
    except ValidationError as error:
        raise SpecError(f"{where}: {first_error(cls, error)}") from error
    except NmsimError as error:
        raise SpecError(f"{where}: {error}") from error


def first_error(cls: type[BaseModel], error: ValidationError) -> str:
    """What is first wrong with a document, in one line: the field and what was expected."""
    rest = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    # A misspelt field is an unknown one and a missing one: the former says more.
    errors = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    return f"{_explain(cls, errors[0])}{rest}"


def _explain(cls: type[BaseModel], error: Any) -> str:
    # Tags of a discriminated union stand in the location but not in the file.
    location = [part for part in error["loc"] if part not in _tags(cls)]
    field = _field(location) or ("" if error["type"] == "value_error" else "the file")
    if error["type"] == "extra_forbidden":
        own = str(location[-1])
        text = str(unknown_name("field", own, _siblings(cls, error["loc"])))
        return text.replace(repr(own), repr(field), 1)
    if error["type"] == "missing":
        return f"{field} is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = error["input"]
    if not field and error["type"] == "value_error":  # fields that do not go together
        return message
    if isinstance(value, tuple):  # a list in the file
        value, message = list(value), message.replace("tuple", "list")
    return f"{field} is {_shown(value)}: {message}"


def _tags(cls: type[BaseModel]) -> set[str]:
    definitions = cls.model_json_schema().get("$defs", {})
    kinds = [d.get("properties", {}).get("type", {}).get("const") for d in definitions.values()]
    return {kind for kind in kinds if kind}


def _siblings(cls: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names of the fields that may stand where an unknown one was found."""
    schema = cls.model_json_schema()
    definitions = schema.get("$defs", {})
    if len(location) == 1:
        return list(schema.get("properties", {}))
    tag = location[-2]
    for name, definition in definitions.items():
        properties = definition.get("properties", {})
        if tag in (properties.get("type", {}).get("const"), name.lower()):
            return list(properties)
    return []


def override(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a mapping with the field at a dotted path replaced: ``dram.gbps``."""
    if not all(path.split(".")):
        raise SpecError(f"field {path!r}: expected names with single dots between them")
    head, _, rest = path.partition(".")
    copy = dict(document)
    if not rest:
        copy[head] = value
        return copy
    inner = copy.get(head)
    if inner is not None and not isinstance(inner, Mapping):
        raise SpecError(f"field {path!r}: {head!r} has no fields of its own")
    copy[head] = override(inner or {}, rest, value)
    return copy


class Catalog(Generic[S]):
    """The YAML files of a folder, by stem; also opens any path to a file of the same schema.

    Parameters
    ----------
    kind
        What its entries are called in messages, singular: "model".
    folder
        Where the files stand.
    schema
        What they are validated against.
    """

    def __init__(self, kind: str, folder: Path, schema: type[S]) -> None:
        self.kind = kind
        self.folder = folder
        self.schema = schema

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self.folder.glob("*.yaml")))

    def path(self, name: str | Path) -> Path:
        """The file of a catalog entry, or the file at a path.

        Raises
        ------
        UnknownName
            if it is neither a name in the catalog nor a path.
        """
        text = str(name)
        if text in set(self):
            return self.folder / f"{text}.yaml"
        if Path(text).suffix in (".yaml", ".yml") or os.sep in text:
            return Path(text)
        raise unknown_name(self.kind, text, self)

    def document(self, name: str | Path) -> dict[str, Any]:
        """The fields of an entry or file, not yet validated."""
        return read_yaml(self.path(name))

    def load(self, name: str | Path) -> S:
        """Read and validate an entry or file."""
        path = self.path(name)
        return validate(self.schema, read_yaml(path), str(path))
