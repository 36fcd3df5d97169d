"""Machines by name: one YAML file each, in the catalog of its kind; some are based on others."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from os.path import normpath
from pathlib import Path
from typing import Any

from nmsim.errors import NmsimError, SpecError, UnknownName
from nmsim.files import once_per_content, remembered, rests_on
from nmsim.machines.document import inherited, laid_over
from nmsim.machines.kind import KINDS, Machine, kind_of
from nmsim.machines.measured_as import letters
from nmsim.machines.step import usual
from nmsim.registry import unknown_name
from nmsim.residual.file import beside
from nmsim.spec import (
    catalog_files,
    catalog_path,
    override,
    read_document,
    read_text,
    read_yaml,
    summary_of,
    validate,
)

__all__ = ["HARDWARE", "Hardware", "load_hardware", "residual_path", "with_residual"]

_WORD = re.compile(r"[a-z0-9]+")


class Hardware:
    """The machines that ship with nmsim, of every kind, by the stem of their file."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._files()))

    def _files(self) -> dict[str, Path]:
        files: dict[str, Path] = {}
        for folder in KINDS.catalogs:
            for name, path in catalog_files(folder).items():
                if files.setdefault(name, path) != path:
                    raise SpecError(f"{path}: {files[name]} has that name too, expected another")
        return files

    def path(self, name: str | Path) -> Path:
        """The file of a catalog entry, by its name or another that it has, or the file at a path.

        A part of a name is asked back, never answered: ``a100`` is the start of several machines.

        Raises
        ------
        UnknownName
            if it is neither a name in the catalog nor a path; naming the machines that it may mean.
        """
        files = self._files()
        try:
            return catalog_path("hardware", name, files)
        except UnknownName as error:
            called = [own for own, names in self.called() if letters(str(name)) in names]
            if called:
                return files[called[0]]
            meant = [own for own in files if _begins(str(name), own)]
            if not meant:
                raise
            raise UnknownName(
                f"unknown hardware {str(name)!r}, expected one of {', '.join(sorted(meant))}"
            ) from error

    def summary(self, name: str) -> str:
        """What a machine says of itself in a line, whatever it is based on."""
        return summary_of(self.path(name))

    def called(self) -> Iterator[tuple[str, set[str]]]:
        """Of every machine, in letters and digits alone, what it is called."""
        for name, path in self._files().items():
            # To parse every file takes longer than most that a name is asked for.
            also = read_yaml(path).get("aliases", ()) if "aliases" in read_text(path) else ()
            yield name, {letters(text) for text in (name, *map(str, also))} - {""}

    def base(self, path: Path, based_on: object) -> Path | None:
        """The file that another says it is based on; None if on none.

        Parameters
        ----------
        path
            Of the file that says so: a path in it starts at its folder.
        based_on
            A name in the catalog, or a path; empty: none.

        Raises
        ------
        SpecError
            if it is neither a name in the catalog nor a path.
        """
        if based_on in (None, ""):
            return None
        if not isinstance(based_on, str):
            raise SpecError(f"{path}: based_on is {based_on!r}, expected a machine's name or path")
        try:
            found = self.path(based_on)
        except NmsimError as error:
            raise _in_base(path, based_on, error) from error
        return found if based_on in self._files() else path.parent / found

    def document(self, name: str | Path) -> Mapping[str, Any]:
        """All fields of an entry or file, those of its base included; not yet validated, shared.

        Raises
        ------
        SpecError
            if it or its base cannot be read, if bases go in a circle, or if the base is no machine
            of the same kind.
        """
        return _whole(self, self.path(name))

    def whole(self, path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
        """All fields of a file, of which those ``above`` it say that they are based on it."""
        own = {"name": path.stem, **read_document(path, "machine")}
        based_on = own.get("based_on")
        base = self.base(path, based_on)
        if base is None:
            # Entries that files change by name or by position must be there to be changed, or the
            # one of two names for an entry that stands last would win, whichever file it is from.
            return _laid_over(usual(), own, path)
        chain = (*above, path)
        if normpath(base) in map(normpath, chain):
            circle = " -> ".join(one.name for one in (*chain, base))
            raise SpecError(
                f"{path}: based_on is {based_on!r}: {circle} is a circle, expected a machine that "
                "is not based on this one"
            )
        try:
            under = self.whole(base, chain)
            kind = _validated(under, str(base)).kind  # a base that is none is told of here
        except NmsimError as error:
            raise _in_base(path, based_on, error) from error
        if "kind" in own and kind_named(own["kind"], str(path)) != kind:
            raise SpecError(
                f"{path}: kind is {own['kind']!r}, expected {kind!r}, that of {based_on!r}, which "
                "it is based on"
            )
        return {**_laid_over(inherited(under), own, path), "kind": kind}


@once_per_content
def _whole(hardware: Hardware, path: Path) -> Mapping[str, Any]:
    return hardware.whole(path, ())


def _laid_over(under: Mapping[str, Any], own: Mapping[str, Any], path: Path) -> dict[str, Any]:
    try:
        whole: dict[str, Any] = laid_over(under, own)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
    return whole


def _in_base(path: Path, based_on: object, error: NmsimError) -> SpecError:
    return SpecError(f"{path}: based_on is {based_on!r}: {error}")


def _begins(part: str, name: str) -> bool:
    """Whether every word of a part begins a word of a name: ``a100-80gb``, ``a100-sxm4-80gb``."""
    words = _WORD.findall(name.lower())
    return bool(own := _WORD.findall(part.lower())) and all(
        any(word.startswith(one) for word in words) for one in own
    )


HARDWARE = Hardware()
"""The machines that ship with nmsim."""


def kind_named(kind: object, where: str) -> str:
    """A kind of machine by its name, or by another that files of earlier versions call it.

    Raises
    ------
    SpecError
        naming the kinds that there are.
    """
    if not isinstance(kind, str):
        raise SpecError(f"{where}: kind is {kind!r}, expected one of {', '.join(KINDS)}")
    if kind in KINDS:
        return kind
    for name in KINDS:
        if kind in KINDS[name].other_names:
            return name
    raise SpecError(f"{where}: {unknown_name('kind', kind, KINDS)}")


def _validated(document: Mapping[str, Any], where: str) -> Machine:
    kind = kind_named(document.get("kind"), where)
    return validate(KINDS[kind].schema, {**document, "kind": kind}, where)


def load_hardware(name: str | Path | Machine, /, **fields: Any) -> Any:
    """A machine by name, path or value, with any of its fields replaced.

    Parameters
    ----------
    name
        From ``nmsim list hardware``, a path to a YAML file, or a machine.
    **fields
        Fields by name; a dotted path reaches into a group: ``**{"dram.gbps": 100}``.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist, or of which only a part is said; for a field that is
        unknown or out of range.

    Examples
    --------
    >>> load_hardware("scale-sim", rows=32, cols=16, dataflow="ws").peak_macs
    512
    """
    if isinstance(name, Machine):
        return _derived(name, _Fields(fields))
    return _loaded(str(name), _Fields(fields))


class _Fields(dict[str, Any]):
    """Fields to replace as a key: values that are written alike are the same, 1 and 1.0 are not."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(repr(self))

    def __eq__(self, other: object) -> bool:
        return repr(self) == repr(other)


@once_per_content
def _loaded(name: str, fields: Mapping[str, Any]) -> Machine:
    machine = _changed(HARDWARE.document(name), str(HARDWARE.path(name)), fields)
    for path in kind_of(machine).files(machine):
        rests_on(path)
    return machine


@remembered(maxsize=1024)
def _derived(machine: Machine, fields: Mapping[str, Any]) -> Machine:
    return _changed(machine.model_dump(), machine.name, fields)


def _changed(document: Mapping[str, Any], where: str, fields: Mapping[str, Any]) -> Machine:
    if fields:  # what was asked for is to blame, not the file of the machine
        told = ", ".join(f"{field}={value}" for field, value in fields.items())
        where = f"{Path(where).name.removesuffix('.yaml')} with {told[:100]}"
    for field, value in fields.items():
        if field == "based_on":
            raise SpecError(f"{where}: based_on is read from a file, expected another field to set")
        try:
            document = override(document, field, value)
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from error
    return _same(_validated(document, where))


@lru_cache(maxsize=1024)
def _same(machine: Machine) -> Machine:
    """Of equal machines the first: what is remembered of machines is found by identity then."""
    return machine


def residual_path(hardware: str | Path | Machine) -> Path:
    """Where the learned residual of a machine stands, or would: beside its file."""
    name = hardware.name if isinstance(hardware, Machine) else hardware
    return beside(HARDWARE.path(name))


def with_residual(machine: Machine, hardware: str | Path | Machine) -> Machine:
    """A machine, corrected by the residual that stands beside its file.

    Parameters
    ----------
    hardware
        What the machine was loaded from.

    Raises
    ------
    SpecError
        if there is none, or if it is not one of this machine.
    """
    learned, path = kind_of(machine).learned, residual_path(hardware)
    if learned is None or not path.is_file():
        raise SpecError(
            f"{machine.name}: no learned residual of it ({path.name}), expected one beside its "
            "file, as `nmsim calibrate --residual` fits it"
        )
    corrected: Machine = learned.attach(machine, path)
    return corrected
