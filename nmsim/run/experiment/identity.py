"""What determines a point, as a hash: results under one key are results under any equal one.

In it go the resolved machine with the files that its kind reads, those that its energy is priced by
where that is asked for, the content of the model's file, the recipe and its pruners' code, the
content of a file of tensors, the value of every other keyword, what is kept, the code of engines by
its closure of imports, and the version of nmsim.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from nmsim import cost
from nmsim.errors import SpecError
from nmsim.files import once_per_content, remembered, rested_on, rests_on
from nmsim.jit.closure import Unknown, files_of
from nmsim.machines import Machine, kind_of
from nmsim.pruning import PRUNERS, pruner_of
from nmsim.recipes.recipe import Recipe
from nmsim.run import point as simulated
from nmsim.run.experiment.fields import RUN
from nmsim.run.point import CHOSEN, Point
from nmsim.run.rows.energy import pricing

__all__ = [
    "OF_MACHINE",
    "OF_MASKS",
    "OF_REST",
    "OF_WORKLOAD",
    "key_of",
    "machine_digest",
    "masks_digest",
    "rest_digest",
    "workload_digest",
]

OF_MACHINE = ("hardware", *CHOSEN, "residual", "tp", "cost", "technology")
OF_WORKLOAD = (
    *("model", "scenario", "tokens", "context", "tp"),
    *("learn", "recompute", "reentrant", "adapters", "micro_batches"),
)
OF_MASKS = ("recipe", "plugins", "pattern", "tensors", "tensor_names", "tp")
"""Keywords of a run that determine its machine (with the fields that are replaced), what it is to
run, and what masks are made of."""

OF_REST = tuple(name for name in RUN if name not in (*OF_MACHINE, *OF_WORKLOAD, *OF_MASKS))
"""All others."""

_RESOLVED = ("batch", "phases")
"""Keywords that stand for something else where they are left out: that is hashed instead."""


def key_of(parts: Iterable[bytes], samples: int, phases: Iterable[str], keep: str) -> bytes:
    """The key of a point, 16 bytes: of the hashes of its parts, and what else there is to say."""
    said = f"{samples} {' '.join(phases)} {keep}"
    return hashlib.sha256(b"".join(parts) + said.encode()).digest()[:16]


def machine_digest(point: Point) -> bytes:
    """Of the machine of a point as it is resolved, and of the code that runs it."""
    machine = point.machine
    return _digest(
        machine.model_dump_json(),
        *(_content(path) for path in kind_of(machine).files(machine)),
        *_prices(machine, point.priced),
        _kind_code(type(machine)),
        _code(simulated.__name__),
        _version(),
    )


def _prices(machine: Machine, technology: str) -> list[str]:
    """The files that energy is priced by, and the tables of cells that they are laid over."""
    if not technology:
        return []
    _, files = rested_on(lambda: pricing(machine, technology))
    return ["priced", *map(_content, sorted(files)), *_data(Path(cost.__file__).parent)]


def workload_digest(point: Point) -> bytes:
    """Of what is to be run: the content of the files that it is read from, and what is asked."""
    workload, files = rested_on(lambda: point.workload)
    own = Path(str(point.model))
    read = {path for path in (*files, own) if path.is_file()}
    contents = (_content(path) for path in sorted(read))
    return _digest(workload.name, _values(point, OF_WORKLOAD[1:]), *contents)


def masks_digest(point: Point) -> bytes:
    """Of the recipe, the code of its pruners, and the content of a file of tensors."""
    recipe = point.setting.recipe
    return _digest(
        recipe.model_dump_json(),
        str(point.setting.pattern),
        str(point.tensor_names),
        *_pruners(recipe, point),
        *([_content(Path(str(point.tensors)))] if point.tensors else []),
    )


def rest_digest(point: Point) -> bytes:
    """Of all other keywords."""
    return _digest(_values(point, [name for name in OF_REST if name not in _RESOLVED]))


def _values(point: Point, names: Iterable[str]) -> str:
    return json.dumps([getattr(point, name) for name in names], default=str)


@lru_cache(maxsize=1)
def _version() -> str:
    return version("nmsim")


def _digest(*parts: str) -> bytes:
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogateescape")
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.digest()


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
    code = [_code(package.__name__)] if hasattr(package, "__path__") else []
    own = _code(schema.__module__)
    return _digest(own, *code, *_data(folder)).hex()


def _data(folder: Path) -> list[str]:
    """Content of what stands in a folder and is neither code nor found by name."""
    known = (".py", ".pyc", ".yaml")
    return [
        _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in known
    ]
