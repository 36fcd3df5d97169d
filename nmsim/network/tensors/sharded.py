"""Tensors that several files hold together: by an index of names, or all files of a folder."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.network.tensors.archive import Archive, Rows

__all__ = ["is_index", "of_folder", "of_index"]

Open = Callable[[Path], Archive]

_SUFFIXES = (".safetensors", ".bin")
"""Files of a folder that are read without an index, those of the first suffix that it has."""


def is_index(path: Path) -> bool:
    """Whether a file says which of several files has which tensor."""
    return path.name.endswith(".index.json")


def of_index(path: Path, opened: Open) -> Archive:
    """The tensors of an index, such as model.safetensors.index.json, and of the files it names.

    Raises
    ------
    SpecError
        for an index that says something else, or a file without a tensor that it should have.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: expected JSON ({str(error).splitlines()[0]})") from error
    places = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(places, dict) or not all(isinstance(one, str) for one in places.values()):
        raise SpecError(f"{path}: weight_map: expected an object of tensors and their files")
    for name in dict.fromkeys(places.values()):
        within = name == Path(name).name and not is_index(Path(name))
        if not within or not (path.parent / name).is_file():
            raise SpecError(f"{path}: weight_map: {name!r}, expected a file beside the index")
    files = {name: opened(path.parent / name) for name in dict.fromkeys(places.values())}
    for key, name in places.items():
        if key not in files[name].held:
            raise SpecError(f"{path}: weight_map: {key} is not in {name}, expected it there")
    return _together(path, {key: files[name] for key, name in places.items()})


def of_folder(folder: Path, opened: Open) -> Archive:
    """The tensors of a folder: by its index, or of all its files.

    Raises
    ------
    SpecError
        for a folder with several indexes, without tensors, or with one tensor in two files.
    """
    for suffix in _SUFFIXES:
        indexes = sorted(folder.glob(f"*{suffix}.index.json"))
        if len(indexes) > 1:
            names = ", ".join(one.name for one in indexes)
            raise SpecError(f"{folder}: expected one index of tensors, found {names}")
        if indexes:
            return opened(indexes[0])
        if files := sorted(folder.glob(f"*{suffix}")):
            return _together(folder, _each_once(folder, map(opened, files)))
    raise SpecError(f"{folder}: expected model.safetensors.index.json or files of tensors in it")


def _each_once(folder: Path, files: Iterable[Archive]) -> dict[str, Archive]:
    places: dict[str, Archive] = {}
    for file in files:
        for key in file.held:
            if key in places:
                both = f"{places[key].path.name} and {file.path.name}"
                raise SpecError(f"{folder}: {key} is in {both}, expected it in one file")
            places[key] = file
    return places


def _together(path: Path, places: Mapping[str, Archive]) -> Archive:
    def load(key: str, rows: Rows = None) -> NDArray[Any]:
        return places[key].read(key, rows)

    return Archive(path, {key: file.held[key] for key, file in places.items()}, load)
