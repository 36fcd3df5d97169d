"""What determines a point, as a hash: results under one key are results under any equal one.

In it go the resolved machine with the files that its kind reads, the content of the model's file,
the recipe and its pruners' code, the content of a file of tensors, the value of every other
keyword, what is kept, the code of engines by its closure of imports, and the version of nmsim.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from nmsim.errors import SpecError
from nmsim.files import once_per_content, remembered, rested_on, rests_on
from nmsim.jit.closure import Unknown, files_of
from nmsim.machines import Machine, kind_of, residual_path
from nmsim.pruning import PRUNERS, pruner_of
from nmsim.recipes.recipe import Recipe
from nmsim.run import point as simulated
from nmsim.run.experiment.fields import RUN
from nmsim.run.point import CHOSEN, Point

__all__ = ["key_of", "machine_digest", "run_digest"]

OF_MACHINE = ("hardware", *CHOSEN, "residual")
"""Keywords of a run that determine the machine alone, together with fields that are replaced."""

_RESOLVED = ("model", "recipe", "plugins", "pattern", "batch", "phases", "tensors")
"""Keywords that stand for something else, which is hashed in their place."""


def key_of(machine: bytes, run: bytes, keep: str) -> bytes:
    """The key of a point: 16 bytes."""
    return hashlib.sha256(machine + run + keep.encode()).digest()[:16]


def machine_digest(point: Point) -> bytes:
    """Of the machine of a point as it is resolved, and of the code that runs it."""
    machine = point.machine
    files = [*kind_of(machine).files(machine)]
    if point.residual:
        files.append(residual_path(point.hardware))
    return _digest(
        machine.model_dump_json(),
        *(_content(path) for path in files),
        _kind_code(type(machine)),
        _code(simulated.__name__),
        _version(),
    )


def run_digest(point: Point) -> bytes:
    """Of what a machine is given to run: everything that determines a point but its machine."""
    recipe = point.setting.recipe
    said = {name: getattr(point, name) for name in RUN if name not in (*OF_MACHINE, *_RESOLVED)}
    said |= {"pattern": str(point.setting.pattern), "batch": point.samples, "phases": point.wanted}
    return _digest(
        json.dumps(said, sort_keys=True, default=str),
        *_model(point),
        recipe.model_dump_json(),
        *_pruners(recipe, point),
        *([_content(Path(str(point.tensors)))] if point.tensors else []),
    )


@lru_cache(maxsize=1)
def _version() -> str:
    return version("nmsim")


def _digest(*parts: str) -> bytes:
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape")
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.digest()


def _model(point: Point) -> Iterable[str]:
    """The files that a workload is read from, by their content, and what it is called."""
    workload, files = rested_on(lambda: point.workload)
    own = Path(str(point.model))
    read = {path for path in (*files, own) if path.is_file()}
    return (workload.name, *(_content(path) for path in sorted(read)))


def _pruners(recipe: Recipe, point: Point) -> Iterable[str]:
    """The code of every pruner that a recipe names, those of one's own by their file's content."""
    for offer in recipe.operands:
        pruner = pruner_of(offer.pruner, offer.pattern or point.setting.pattern)
        own = PRUNERS.origin(pruner.name)
        yield _code(pruner.fill.__module__) if own is None else f"{pruner.name} {own.sha256}"


@once_per_content
def _content(path: Path) -> str:
    """Hash of a file's bytes, or of all that a folder holds."""
    whole = hashlib.sha256()
    for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if one.is_file():
            rests_on(one)
            try:
                with one.open("rb") as file:
                    whole.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise SpecError(f"{one}: cannot be read ({error.strerror or error})") from error
    return whole.hexdigest()


@remembered(maxsize=256)
def _code(module: str) -> str:
    """Hash of a module's source and of all that it imports, in turn."""
    loaded = sys.modules[module]
    file, package = getattr(loaded, "__file__", None) or "", loaded.__package__ or ""
    try:
        found = files_of(module, file, package)
        return _sources(found)
    except (Unknown, OSError) as error:
        raise SpecError(f"{error}: run the command again") from error


def _sources(files: Mapping[str, str]) -> str:
    whole = hashlib.sha256()
    for name, path in sorted(files.items()):
        whole.update(name.encode() + hashlib.sha256(Path(path).read_bytes()).digest())
    return whole.hexdigest()


@remembered(maxsize=64)
def _kind_code(schema: type[Machine]) -> str:
    """Code of a kind of machine, and the data in its folder that is no machine's file."""
    parts = schema.__module__.split(".")
    package = sys.modules[".".join(parts[:3])] if len(parts) > 3 else sys.modules[schema.__module__]
    folder = Path(package.__file__ or "").parent
    data = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".py", ".pyc", ".yaml")
    ]
    code = [_code(package.__name__)] if hasattr(package, "__path__") else []
    own = _code(schema.__module__)
    return _digest(own, *code, *(_content(path) for path in data)).hex()
