"""Names of plug-ins: a package is scanned, each of its files registers what it offers.

It is scanned when a name is first asked for, and of a package that says its name beforehand not
before that very name is: what a command does not use it does not load.

Users bring more of them: in a file of their own, which is run again once its content is another,
in a notebook's cell, or in an installed package, by an entry point that is loaded when asked for.
"""

import difflib
import hashlib
import importlib
import linecache
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

from nmsim.errors import NmsimError, SpecError, UnknownName, reason
from nmsim.files import forget, rests_on

__all__ = ["Facts", "Listing", "Origin", "Registry", "unknown_name"]

T = TypeVar("T")

_PACKAGE = __name__.partition(".")[0]


_FEW = 14
"""So many names are told whole; of more, those that are near."""

_LISTED = {
    "column": "the first line of --format csv",
    "hardware": "nmsim list hardware",
    "model": "nmsim list models",
    "pruner": "nmsim list pruners",
    "recipe": "nmsim list recipes",
}
"""What lists all that there is of a kind: a command, mostly."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a miss: what was meant where one name is close, and what exists.

    Of many names those of the same family are told, and how to list them all.

    Examples
    --------
    >>> str(unknown_name("fidelity", "cylce", ["analytical", "cycle"]))
    "unknown fidelity 'cylce'; did you mean 'cycle'? (known: analytical, cycle)"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return UnknownName(f"unknown {kind} {name[:80]!r}{hint} ({_near(kind, name, names, close)})")


def _near(kind: str, name: str, names: list[str], close: list[str]) -> str:
    """Names that there are: all if they are few, else those of the family of the missed one."""
    if len(names) <= _FEW:
        return f"known: {', '.join(names) or 'none'}"
    family = re.split(r"[-_.:@ ]", name.lower(), maxsplit=1)[0]
    akin = [one for one in names if family and family in one.lower() and one not in close]
    if not akin and not close:
        akin = difflib.get_close_matches(name.lower(), names, n=4, cutoff=0.4)
    told = [one for one in akin if one not in close][:6]
    among = f"among them {', '.join(told)}" if told else ""
    where = f"see {_LISTED[kind]}" if kind in _LISTED else ""
    return ", ".join(filter(None, (f"{len(names)} are known", among, where)))


Facts = list[tuple[str, str]]
"""Labels and texts, as ``nmsim show`` prints them."""


@dataclass(frozen=True)
class Listing:
    """Things that one can list and show: networks, dataflows, sets of kernels.

    Parameters
    ----------
    names
        Of all that there are.
    summary, facts
        Of one, by name: a line, and what ``nmsim show`` prints.
    schema
        Of its YAML file, if it has one.
    """

    names: Callable[[], Iterable[str]]
    summary: Callable[[str], str]
    facts: Callable[[str], Facts]
    schema: type[Any] | None = None


class Origin(NamedTuple):
    """Where a thing that is not of this package comes from: its source, and a hash of that."""

    file: str
    sha256: str


class _File(NamedTuple):
    """A file of somebody's own, as it was run: its content's hash, and what it registered."""

    sha256: str
    names: tuple[str, ...]


class Registry(Generic[T]):
    """Things of one kind by name, filled when one is first asked for.

    Parameters
    ----------
    kind
        What the things are called in messages, singular: "pruner".
    group
        Of entry points by which installed packages offer more of them; empty: there is none such.
    """

    def __init__(self, kind: str, group: str = "") -> None:
        self.kind = kind
        self.group = group
        self._things: dict[str, T] = {}
        self._makers: dict[str, Any] = {}
        self._files: dict[Path, _File] = {}
        self._modules: dict[str, str] = {}
        self._packages: list[ModuleType] = []
        self._filling = RLock()

    def add(self, name: str, thing: T, maker: Any = None) -> T:
        """Register a thing.

        Parameters
        ----------
        maker
            The function or class that it was made of: whoever defines that anew, in the same place
            or in a notebook, replaces the thing.

        Raises
        ------
        SpecError
            if another thing has the name.
        """
        if maker is not None and _is_foreign(maker):
            self._fill()
        if name in self._things:
            if not _is_anew(self._makers.get(name), maker):
                raise SpecError(f"{self.kind} {name!r} is taken, expected another name")
            forget()
        self._makers[name] = maker
        self._things[name] = thing
        return thing

    def register(self, name: str) -> Callable[[T], T]:
        """Register what is decorated, as ``add`` does."""
        return lambda thing: self.add(name, thing)

    def scan(self, package: ModuleType) -> None:
        """Have every module of a package imported, so that each registers, once a name is asked."""
        self._packages.append(package)

    def later(self, name: str, module: str) -> None:
        """Have a module imported once a name is asked for, which it registers.

        Raises
        ------
        SpecError
            if another thing has the name.
        """
        if name in self._things:
            raise SpecError(f"{self.kind} {name!r} is taken, expected another name")
        self._modules[name] = module

    def _fill(self) -> None:
        """Import the modules of packages that wait to be scanned, in alphabetical order."""
        with self._filling:
            while self._packages:
                package = self._packages.pop()  # what its modules ask for, they find as it is
                try:
                    names = sorted(one.name for one in pkgutil.iter_modules(package.__path__))
                    for name in names:
                        importlib.import_module(f"{package.__name__}.{name}")
                except BaseException:  # interrupted: the next who asks goes on
                    self._packages.append(package)
                    raise

    def read(self, path: Path) -> tuple[str, ...]:
        """Run a file of somebody's own that registers things; again once its content is another.

        Returns
        -------
        tuple of str
            Names of what it registers. A file that is edited takes back what it registered before.

        Raises
        ------
        SpecError
            naming the file: it cannot be read or run, registers nothing, or a name that is taken.
        """
        rests_on(path)
        content = _content(path)
        sha256 = hashlib.sha256(content).hexdigest()
        here = path.absolute()
        before = self._files.get(here)
        if before is None:  # a copy elsewhere is the same
            before = next((one for one in self._files.values() if one.sha256 == sha256), None)
        if before is None or before.sha256 != sha256:
            before = _File(sha256, self._run(path, content, before.names if before else ()))
        self._files[here] = before
        return before.names

    def _run(self, path: Path, content: bytes, before: Iterable[str]) -> tuple[str, ...]:
        """Names that a file registers when it is run, in place of those that it had before."""
        self._fill()
        kept = dict(self._things), dict(self._makers)
        for name in before:
            self._things.pop(name, None)
        others = dict(self._things)
        try:
            _run(path, content)
        except SpecError as error:
            self._things, self._makers = kept
            raise SpecError(f"{path}: {error}") from error
        names = tuple(one for one, thing in self._things.items() if others.get(one) is not thing)
        if not names:
            self._things, self._makers = kept
            what = self.kind
            raise SpecError(f"{path}: defines no {what}, expected one under @{what}(...)")
        return names

    def is_own(self, name: str) -> bool:
        """Whether a thing is somebody's own: it comes from elsewhere than this package."""
        maker = self._makers.get(name)
        return maker is not None and _is_foreign(maker)

    def origin(self, name: str) -> Origin | None:
        """Where a thing comes from; None: this package.

        Of a notebook's cell the file is what Python calls the cell.
        """
        if not self.is_own(name):
            return None
        for path, file in self._files.items():
            if name in file.names:
                return Origin(str(path), file.sha256)
        source = self._makers[name].__code__.co_filename
        text = "".join(linecache.getlines(source))
        return Origin(source, hashlib.sha256(text.encode()).hexdigest())

    def _offered(self) -> dict[str, EntryPoint]:
        """Entry points of installed packages, by name."""
        return {one.name: one for one in entry_points(group=self.group)} if self.group else {}

    def _load(self, one: EntryPoint) -> None:
        """Import what an entry point names, which must register a thing of its name."""
        package = one.dist.name if one.dist else "a package"
        where = f"entry point {one.name!r} of {package} ({one.value})"
        try:
            one.load()
        except NmsimError as error:
            raise SpecError(f"{where}: {error}") from error
        except Exception as error:  # whatever a stranger's module raises
            raise SpecError(f"{where}: cannot be imported ({_told(error)})") from error
        if one.name not in self._things:
            raise SpecError(f"{where}: registers no {self.kind} {one.name!r}")

    def __getitem__(self, name: str) -> T:
        self._fill()
        if name not in self._things and name in self._modules:
            importlib.import_module(self._modules[name])
        if name not in self._things and name in (offered := self._offered()):
            self._load(offered[name])
        try:
            return self._things[name]
        except KeyError:
            known = {*self._things, *self._modules, *self._offered()}
            raise unknown_name(self.kind, name, known) from None

    def __iter__(self) -> Iterator[str]:
        self._fill()
        for name, one in self._offered().items():
            if name not in self._things:
                self._load(one)
        return iter(sorted({*self._things, *self._modules}))

    def __contains__(self, name: object) -> bool:
        self._fill()
        return name in self._things or name in self._modules or name in self._offered()

    def __len__(self) -> int:
        self._fill()
        return len({*self._things, *self._modules})


def _is_foreign(maker: Any) -> bool:
    """Whether a function or class comes from elsewhere than this package."""
    return bool(maker.__module__.partition(".")[0] != _PACKAGE)


def _is_anew(before: Any, now: Any) -> bool:
    """Whether one function is the next edition of another: of its place, or of the same session."""
    if before is None or now is None or before.__module__ != now.__module__:
        return False
    return bool(now.__module__ == "__main__" or before.__qualname__ == now.__qualname__)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read ({reason(error)})") from error


def _run(path: Path, content: bytes) -> None:
    """Run a file as a module of its own, from the bytes that were read: of no cache beside it."""
    place = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12]
    module = ModuleType(f"{path.stem}_{place}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # as dataclasses and typing look modules up there
    linecache.checkcache(str(path))
    try:
        exec(compile(content, str(path), "exec"), vars(module))  # noqa: S102 - that is what it is for
    except NmsimError as error:
        raise SpecError(str(error)) from error
    except (Exception, SystemExit) as error:  # whatever a user's file raises
        raise SpecError(f"cannot be imported ({_told(error, str(path))})") from error


def _told(error: BaseException, file: str = "") -> str:
    """An exception in one line, with the line of the file that it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == file]  # fmt: skip
    line = error.lineno if isinstance(error, SyntaxError) else next(reversed(lines), None)
    said = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    place = f"line {line}: " if line else ""
    return f"{place}{type(error).__name__}: {said}" if said else f"{place}{type(error).__name__}"
