"""Files of other tools: which importer knows one by its content, and what it makes of it.

Importers stand in ``nmsim/importers``, one file a format, above all that asks for them here: a
network, a table of GEMMs and a machine are each read through the fields of nmsim's own YAML. They
are found by scanning that folder when the first file is met that is named in place of a name.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nmsim.errors import SpecError
from nmsim.files import once_per_content, rests_on
from nmsim.registry import Registry

__all__ = [
    "IMPORTERS",
    "Gives",
    "Imported",
    "Importer",
    "Unused",
    "as_yaml",
    "import_document",
    "imported",
    "importer_of",
    "importers",
    "told_of",
]

Gives = Literal["network", "gemms", "machine"]
"""What a file of another tool holds."""

_OWN_SUFFIXES = ("", ".yaml", ".yml")
_FIELDS = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[a-z_]+:(?:[ \r\n]|$)")
"""How YAML begins that is fields: comments, and a name with its colon."""

Sizes = tuple[tuple[str, int], ...]

_HEAD = 8192
"""Bytes of a file that importers know it by."""


class Imported(NamedTuple):
    """What an importer makes of a file.

    Parameters
    ----------
    content
        Of a network or a machine the fields of its YAML file; of GEMMs a tuple of them.
    told
        What a reader must know besides, a line each.
    """

    content: Any
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Importer:
    """How files of one format are known and read.

    Parameters
    ----------
    name
        What ``nmsim import --as`` calls the format.
    what
        A file of it, for messages: "a topology of SCALE-Sim".
    gives
        What it holds.
    knows
        Whether the first bytes of a file are of the format.
    read
        Reads a file, given sizes for axes that have names instead.
    network
        Of GEMMs: the fields of a network's YAML that has them as layers.
    suffixes
        Of files of the format: by them a file is read whose content nobody knows.
    """

    name: str
    what: str
    gives: Gives
    knows: Callable[[bytes], bool]
    read: Callable[[Path, Mapping[str, int]], Imported]
    network: Callable[[Path], Imported] | None = None
    suffixes: tuple[str, ...] = ()


class Unused:
    """Names of layers, each once: of a name that was used before, the next is ``NAME#2``."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._renamed = 0

    def of(self, name: str) -> str:
        """The name, or the first of its numbered ones that nobody has."""
        if name not in self._seen:
            self._seen[name] = 1
            return name
        number = self._seen[name] + 1
        while f"{name}#{number}" in self._seen:
            number += 1
        self._seen[name], self._seen[f"{name}#{number}"] = number, 1
        self._renamed += 1
        return f"{name}#{number}"

    @property
    def told(self) -> tuple[str, ...]:
        """How many were renamed, in a line; none if none was."""
        if not self._renamed:
            return ()
        many = "1 layer has" if self._renamed == 1 else f"{self._renamed} layers have"
        return (f"{many} the name of one before: the second of a name is called NAME#2",)


IMPORTERS: Registry[Importer] = Registry("format")


def importers() -> Registry[Importer]:
    """All importers: their package fills the registry when it is imported."""
    import_module("nmsim.importers")
    return IMPORTERS


def importer_of(path: Path, name: str = "") -> Importer | None:
    """The importer of a file: by name, or the one that knows its content; None if nobody does.

    A name is of all formats that begin with it: ``scale-sim`` of topologies and configurations.

    Raises
    ------
    UnknownName
        if there is no importer of that name.
    """
    rests_on(path)
    head = _head(path)
    if not name and path.suffix.lower() in _OWN_SUFFIXES and (not head or _FIELDS.match(head)):
        return None  # a name, or nmsim's own YAML: most are, and importers take time to load
    known = importers()
    every = [known[one] for one in known if not name or one.startswith(f"{name}-")]
    if name:
        own = known[name]
        return next((one for one in every if one.knows(head) and not own.knows(head)), own)
    found = [one for one in every if head and one.knows(head)]
    return next(
        iter([*found, *(one for one in every if path.suffix.lower() in one.suffixes)]), None
    )


def _head(path: Path) -> bytes:
    """The first bytes of a file; none if it cannot be read, which whoever reads it will say."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except (OSError, ValueError):
        return b""


@once_per_content
def imported(path: Path, wanted: tuple[Gives, ...], name: str = "", sizes: Sizes = ()) -> Any:
    """What a file of another tool holds; None if no importer knows it. Shared: not to be changed.

    Parameters
    ----------
    wanted
        What may be in it.
    name
        Of the importer; empty: the one that knows the content.
    sizes
        Of axes that have names instead.

    Returns
    -------
    Imported

    Raises
    ------
    SpecError
        if it holds something else, or cannot be read as what it is.
    """
    importer = importer_of(path, name)
    if importer is None:
        return None
    if importer.gives not in wanted:
        raise SpecError(f"{path}: {importer.what}, expected {' or '.join(map(_called, wanted))}")
    rests_on(path)
    return importer.read(path, dict(sizes))


def _called(gives: Gives) -> str:
    return {"network": "a network", "gemms": "GEMMs", "machine": "a machine"}[gives]


def import_document(path: Path, name: str, sizes: Mapping[str, int]) -> tuple[Gives, Imported]:
    """The fields of the YAML that a file of another tool stands for, GEMMs as layers of a network.

    Parameters
    ----------
    name
        Of the importer; empty: the one that knows the content.
    sizes
        Of axes that have names instead.

    Raises
    ------
    UnknownName, SpecError
        if no importer knows the file, or it cannot be read as what it is.
    """
    importer = importer_of(path, name)
    if importer is None:
        if not _is_file(path):
            raise SpecError(f"{path}: cannot be read (no such file)")
        known = ", ".join(importers())
        raise SpecError(f"{path}: no format knows its content, expected one of {known}")
    if importer.network is not None:
        return "network", importer.network(path)
    return importer.gives, importer.read(path, sizes)


def told_of(names: Iterable[object]) -> list[str]:
    """What importers say of files that are named as a model or a machine, a line each."""
    paths = [Path(name) for name in names if isinstance(name, str | Path)]
    found = (imported(path, ("network", "gemms", "machine")) for path in paths if _is_file(path))
    return [line for one in found if one is not None for line in one.told]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NOT_TEXT = re.compile(r"(?i:true|false|null|yes|no|on|off|y|n|[.]inf|[.]nan)")
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def as_yaml(document: Mapping[str, Any], told: Iterable[str] = ()) -> str:
    """Fields as YAML 1.2: a line each, of a list of groups a line for each group.

    Parameters
    ----------
    told
        What is said above them, as comments.
    """
    lines = [f"# {' '.join(line.split())}" for line in told]
    for name, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines += [f"{name}:", *(f"  - {_inline(one)}" for one in value)]
        else:
            lines.append(f"{name}: {_inline(value)}")
    return "\n".join((*lines, ""))


def _inline(value: Any) -> str:
    if type(value) is int:
        return str(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_inline(one)}' for name, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and not _NOT_TEXT.fullmatch(value):
        return value
    return _UNPRINTABLE.sub(_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"
