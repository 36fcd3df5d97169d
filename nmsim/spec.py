"""Things declared in YAML: read once, validated strictly, frozen; and the catalogs they stand in.

YAML is version 1.2 (ruamel.yaml), in which an unquoted ``2:4`` is a string; in 1.1 it is 124.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import ruamel.yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from nmsim.errors import NmsimError, SpecError, reason
from nmsim.files import once_per_content, rests_on
from nmsim.files.kept import kept
from nmsim.importing import Gives, imported
from nmsim.registry import unknown_name

__all__ = [
    "Catalog",
    "Spec",
    "catalog_files",
    "catalog_path",
    "edit_yaml",
    "entry_position",
    "field_keys",
    "first_error",
    "override",
    "parse_scalar",
    "read_document",
    "read_list",
    "read_text",
    "read_yaml",
    "summary_of",
    "validate",
    "yaml_value",
]


class Spec(BaseModel):
    """Base of everything declared in YAML: strict, frozen, no unknown fields."""

    # Validators are built when the first file is read, not when all schemas are imported.
    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True
    )

    replaced: ClassVar[Mapping[str, str]] = {}
    """Fields of earlier versions, which are refused, and what says the same now."""

    @model_validator(mode="before")
    @classmethod
    def _none_replaced(cls, document: Any) -> Any:
        for old, new in cls.replaced.items() if isinstance(document, Mapping) else ():
            if old in document:
                raise ValueError(f"{old} is now {new}")
        return document

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


@once_per_content
def read_yaml(path: Path) -> Mapping[str, Any]:
    """The mapping in a YAML 1.2 file, parsed once and shared: to be read, not to be changed."""
    text = read_text(path)
    document: Mapping[str, Any] = kept(
        _HOW, text.encode(), lambda: _mapping(path, text, YAML(typ="safe", pure=True))
    )
    return document


_HOW = f"YAML {ruamel.yaml.__version__}"


def read_document(path: Path, gives: Gives) -> Mapping[str, Any]:
    """The fields in a YAML file, or those that a file of another tool stands for; shared.

    Raises
    ------
    SpecError
        if it is neither, or holds something else than what is wanted.
    """
    found = imported(path, (gives,))
    document: Mapping[str, Any] = read_yaml(path) if found is None else found.content
    return document


def edit_yaml(path: Path, edit: Callable[[dict[str, Any]], None]) -> str:
    """The text of a YAML 1.2 file after ``edit`` has changed its mapping; comments are kept."""
    yaml = YAML()
    yaml.width = 4096  # lines stay as long as they are
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = _mapping(path, read_text(path), yaml)
    edit(document)
    out = StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def yaml_value(value: Any, *, in_list: bool = False) -> Any:
    """A value as ``edit_yaml`` takes it: lists for tuples, a list's mappings in one line each."""
    if isinstance(value, Mapping):
        mapping = CommentedMap((name, yaml_value(one)) for name, one in value.items())
        if in_list:
            mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, tuple | list):
        return [yaml_value(one, in_list=True) for one in value]
    return value


def read_text(path: Path) -> str:
    """The text of a file; SpecError if it cannot be read, or is none."""
    rests_on(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: expected a YAML text file, found binary data") from error
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read ({reason(error)})") from error


def read_list(path: Path) -> list[Any]:
    """The list in a YAML 1.2 file; SpecError if it holds something else."""
    document = _document(path, read_text(path), YAML(typ="safe", pure=True))
    if not isinstance(document, list):
        raise SpecError(f"{path}: expected a list, found a {type(document).__name__}")
    return document


def _document(path: Path, text: str, yaml: YAML) -> Any:
    try:
        return yaml.load(StringIO(text))
    except _NOT_YAML as error:
        raise SpecError(f"{path}: {_problem(error)}") from error


def _mapping(path: Path, text: str, yaml: YAML) -> dict[str, Any]:
    document = _document(path, text, yaml)
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
    """What is first wrong with a document, in one line; other fields that are wrong by name."""
    found = error.errors(include_url=False)
    # A list whose only entry is wrong is called empty too.
    found = [one for one in found if one["type"] != "too_short" or not _holds_another(one, found)]
    # A misspelt field is an unknown one and a missing one: the former says more.
    first, *others = sorted(found, key=_says_little)
    if first["type"] == "missing":
        return _missing([_place(cls, one) for one in found])
    also = list(dict.fromkeys(_place(cls, one) or "the whole" for one in others))
    rest = f" (and {len(also)} more: {_few(also)})" if also else ""
    return f"{_explain(cls, first)}{rest}"


def _says_little(error: Any) -> int:
    """How late an error is told: misspelt fields first, missing ones last."""
    return {"extra_forbidden": 0, "missing": 2}.get(error["type"], 1)


def _missing(fields: list[str]) -> str:
    """Every field that a document lacks, in one line."""
    *most, last = dict.fromkeys(fields)
    return f"{', '.join(most)} and {last} are missing" if most else f"{last} is missing"


def _few(names: list[str]) -> str:
    """Names one after the other; of more than a dozen the first."""
    return ", ".join(names[:12] + ["..."] * (len(names) > 12))


def _place(cls: type[BaseModel], error: Any) -> str:
    """The field that an error is of, as it stands in a file; "" for fields together."""
    return _field(_location(cls, error))


def _location(cls: type[BaseModel], error: Any) -> list[Any]:
    """Where an error is; a union's tags, and the names of checks, do not stand in the file."""
    place = [None, *error["loc"]]
    return [
        part
        for before, part in pairwise(place)
        if not (isinstance(before, int) and part in _tags(cls))
    ]


def _holds_another(one: Any, found: Sequence[Any]) -> bool:
    place = one["loc"]
    return any(len(e["loc"]) > len(place) and e["loc"][: len(place)] == place for e in found)


def _explain(cls: type[BaseModel], error: Any) -> str:
    location = _location(cls, error)
    field = _field(location) or ("" if error["type"] == "value_error" else "the file")
    if error["type"] == "extra_forbidden":
        own = str(location[-1])
        text = str(unknown_name("field", own, _siblings(cls, error["loc"])))
        return text.replace(repr(own), repr(field), 1)
    if error["type"].startswith("union_tag"):
        return _explain_tag(field, error["ctx"])
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = error["input"]
    if not field and error["type"] == "value_error":  # fields that do not go together
        return message
    if isinstance(value, Mapping) and error["type"] == "value_error":  # as above, of an entry
        return f"{field}: {message}"
    if isinstance(value, tuple):  # a list in the file
        value, message = [_as_in_file(one) for one in value], message.replace("tuple", "list")
    expected = message.removeprefix("input should be ")
    if expected != message:
        return f"{field} is {_shown(value)}, expected {_said(expected)}"
    return f"{field} is {_shown(value)}: {message}"


_WORDS = (
    (r"^a valid (?=[aeiou])", "an "),
    (r"^a valid ", "a "),
    (r"greater than or equal to (\S+)", r"\1 or more"),
    (r"less than or equal to (\S+)", r"\1 at most"),
    (r"greater than (\S+)", r"more than \1"),
    (r"^a dictionary", "fields and their values"),
    (r"^a tuple", "a list"),
)
"""What a validator expects, as the rest of the messages say it."""


def _said(expected: str) -> str:
    for pattern, words in _WORDS:
        expected = re.sub(pattern, words, expected)
    return expected


def _explain_tag(field: str, about: Mapping[str, str]) -> str:
    """What is wrong with the field that says which of several kinds an entry is."""
    named = f"{field}.{about['discriminator'].strip(chr(39))}"
    if "tag" not in about:
        return f"{named} is missing"
    return f"{named} is {about['tag']!r}: expected one of {about['expected_tags']}"


def _as_in_file(value: Any) -> Any:
    """A list for a tuple, as the file has it."""
    return list(value) if isinstance(value, tuple) else value


@lru_cache(maxsize=64)
def _schema(cls: type[BaseModel]) -> dict[str, Any]:
    return cls.model_json_schema()


def _tags(cls: type[BaseModel]) -> set[str]:
    definitions = _schema(cls).get("$defs", {})
    kinds = [d.get("properties", {}).get("type", {}).get("const") for d in definitions.values()]
    return {kind for kind in kinds if kind}


def _siblings(cls: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names of the fields that may stand where an unknown one was found."""
    schema = _schema(cls)
    definitions = schema.get("$defs", {})
    if len(location) == 1:
        return list(schema.get("properties", {}))
    tag = location[-2]
    for name, definition in definitions.items():
        properties = definition.get("properties", {})
        if tag in (properties.get("type", {}).get("const"), name.lower()):
            return list(properties)
    owner = schema.get("properties", {}).get(tag, {})
    refs = [part.get("$ref", "") for part in (owner, *owner.get("anyOf", ()))]
    named = [definitions[ref.rpartition("/")[2]] for ref in refs if ref]
    return [field for definition in named for field in definition.get("properties", {})]


def override(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a mapping with the field at a dotted path replaced: ``dram.gbps``.

    An entry of a list stands under its position, from 0, or under any text of its fields that no
    other entry has: ``libraries.cusparselt.timing.wave_us``.

    Raises
    ------
    SpecError
        if the path leads nowhere.
    """
    copy: dict[str, Any] = _replaced(document, _names(path), path, value)
    return copy


def field_keys(document: Mapping[str, Any], path: str) -> tuple[str | int, ...]:
    """Keys and list positions on the way to a field that is there, as ``override`` reads a path.

    Raises
    ------
    SpecError
        if the path leads nowhere.
    """
    keys: list[str | int] = []
    inner: Any = document
    for name in _names(path):
        if _is_list(inner):
            key: str | int = entry_position(inner, name, path)
        elif isinstance(inner, Mapping) and name in inner:
            key = name
        else:
            known = inner if isinstance(inner, Mapping) else ()
            raise SpecError(f"field {path!r}: {unknown_name('field', name, known)}")
        keys.append(key)
        inner = inner[key]
    return tuple(keys)


def _names(path: str) -> list[str]:
    names = path.split(".")
    if not all(names):
        raise SpecError(f"field {path!r}: expected names with single dots between them")
    return names


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def entry_position(entries: Sequence[Any], name: str, path: str) -> int:
    """Position of the entry of a list that a dotted path calls so: by position, or by a text of it.

    Raises
    ------
    SpecError
        if no entry or more than one is called so.
    """
    if name.isdecimal() and int(name) < len(entries):
        return int(name)
    texts = [
        [value for value in entry.values() if isinstance(value, str)]
        if isinstance(entry, Mapping)
        else []
        for entry in entries
    ]
    called = [position for position, own in enumerate(texts) if name in own]
    if len(called) == 1:
        return called[0]
    if called:
        which = ", ".join(map(str, called))
        raise SpecError(f"field {path!r}: entries {which} are called {name!r}, expected a position")
    known = [text for own in texts for text in own] or map(str, range(len(entries)))
    raise SpecError(f"field {path!r}: {unknown_name('entry', name, known)}")


def _replaced(document: Any, names: list[str], path: str, value: Any) -> Any:
    if not names:
        return value
    head, *rest = names
    if _is_list(document):
        entries = list(document)
        position = entry_position(entries, head, path)
        entries[position] = _replaced(entries[position], rest, path, value)
        return entries
    copy = dict(document)
    inner = copy.get(head)
    if rest and inner is not None and not isinstance(inner, Mapping) and not _is_list(inner):
        raise SpecError(f"field {path!r}: {head!r} has no fields of its own")
    copy[head] = _replaced({} if inner is None else inner, rest, path, value)
    return copy


def catalog_path(kind: str, name: str | Path, files: Mapping[str, Path]) -> Path:
    """The file of a catalog entry by its name, or the file at a path.

    Parameters
    ----------
    kind
        What the entries are called in messages, singular: "model".
    files
        Of the catalog, by name.

    Raises
    ------
    UnknownName
        if it is neither a name in the catalog nor a path.
    """
    text = str(name)
    if text in files:
        return files[text]
    if os.sep in text or _FILE_NAME.fullmatch(text) or os.path.isfile(text):  # noqa: PTH113
        return Path(text)
    raise unknown_name(kind, text, files)


_FILE_NAME = re.compile(r".+\.(ya?ml|csv|cfg|json|onnx)", re.IGNORECASE)
"""What is meant as a file, whether or not it is there."""


def summary_of(path: Path) -> str:
    """The ``summary`` of a YAML file, of which nothing else is validated.

    Raises
    ------
    SpecError
        if it is no text.
    """
    summary = read_yaml(path).get("summary", "")
    if not isinstance(summary, str):
        raise SpecError(f"{path}: summary is {_shown(summary)}, expected a text")
    return summary


@once_per_content
def catalog_files(folder: Path) -> Mapping[str, Path]:
    """The YAML files of a folder by stem, in alphabetical order; listed anew once it changes.

    A folder that is not there holds none.
    """
    rests_on(folder)
    return {file.stem: file for file in sorted(folder.glob("*.yaml"), key=lambda file: file.stem)}


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
    gives
        What a file of another tool must hold to be one of them; None: there is none such.
    """

    def __init__(
        self, kind: str, folder: Path, schema: type[S], gives: Gives | None = None
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.schema = schema
        self.gives = gives

    def __iter__(self) -> Iterator[str]:
        return iter(catalog_files(self.folder))

    def path(self, name: str | Path) -> Path:
        """The file of a catalog entry, or the file at a path.

        Raises
        ------
        UnknownName
            if it is neither a name in the catalog nor a path.
        """
        return catalog_path(self.kind, name, catalog_files(self.folder))

    def document(self, name: str | Path) -> Mapping[str, Any]:
        """The fields of an entry or file, not yet validated; shared, not to be changed."""
        return read_yaml(self.path(name))

    def summary(self, name: str) -> str:
        """What an entry says of itself in a line, which its other fields need not be right for."""
        return summary_of(self.path(name))

    def load(self, name: str | Path) -> S:
        """Read and validate an entry or file; the same object until the file is edited."""
        loaded: S = _loaded(self.schema, self.path(name), self.gives)
        return loaded


@once_per_content
def _loaded(schema: type[S], path: Path, gives: Gives | None) -> S:
    document = read_yaml(path) if gives is None else read_document(path, gives)
    return validate(schema, document, str(path))
