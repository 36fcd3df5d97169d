"""What is simulated: a network, a trace, a table of GEMMs, or one GEMM; as sparse GEMMs."""

import csv
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from nmsim.errors import ShapeError, SpecError
from nmsim.gemm import Gemm
from nmsim.mask import SparseGemm
from nmsim.network.catalog import load_model
from nmsim.network.layer import Bare, Layer
from nmsim.recipes.masking import Setting, sparse_gemms
from nmsim.registry import unknown_name
from nmsim.run.trace import Trace, verify
from nmsim.run.trace import load as load_trace
from nmsim.spec import reason

__all__ = ["Model", "Workload", "load_workload", "read_gemms"]

Model = str | Path | Sequence[Gemm]
"""A network's name, a path (YAML, CSV, safetensors), ``gemm:MxNxK``, or GEMMs."""

_ONE_GEMM = re.compile(r"gemm:([0-9]{1,18})x([0-9]{1,18})x([0-9]{1,18})")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_COLUMNS = {"layer", "m", "n", "k", "count"}


class Workload:
    """GEMMs that wait for masks (a network, bare GEMMs) or have them (a trace).

    Parameters
    ----------
    name
        As the user spelt it.
    source
        Where its shapes come from.
    layers
        Layers or bare GEMMs.
    trace
        A trace instead.
    """

    def __init__(
        self,
        name: str,
        source: str,
        layers: Sequence[Layer | Bare] = (),
        trace: Trace | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.layers = layers
        self.trace = trace

    def sparse_gemms(
        self, setting: Setting, *, phases: Sequence[str] | None = None, names: str = "*"
    ) -> Iterator[SparseGemm]:
        """The GEMMs and their masks; a trace brings its own, whatever the setting.

        Raises
        ------
        UnknownName
            if no layer's name matches the glob.
        SpecError
            if those that do have no GEMM in the phases.
        """
        known = [w.gemm.layer for w in self.trace.gemms] if self.trace else self._names
        if not any(fnmatchcase(name, names) for name in known):
            raise unknown_name("layer", names, set(known))
        found = False
        for work in self._selected(setting, phases, names):
            found = True
            yield work
        if not found:
            raise SpecError(f"model {self.name}: layers {names!r} have no {_or(phases)} GEMM")

    def _selected(
        self, setting: Setting, phases: Sequence[str] | None, names: str
    ) -> Iterator[SparseGemm]:
        if self.trace is None:
            yield from sparse_gemms(self.layers, setting, phases=phases, names=names)
            return
        for work in self.trace.gemms:
            wanted = phases is None or work.gemm.phase in phases
            if wanted and fnmatchcase(work.gemm.layer, names):
                verify(work)
                yield work

    @property
    def _names(self) -> list[str]:
        return [layer.name for layer in self.layers]


def _or(phases: Sequence[str] | None) -> str:
    return " or ".join(phases or ())


def load_workload(model: Model) -> Workload:
    """Find out what is to be simulated.

    Raises
    ------
    UnknownName, SpecError, TraceError
        for a name that does not exist or a file that cannot be used.
    """
    if not isinstance(model, str | Path):
        if not model or not all(isinstance(gemm, Gemm) for gemm in model):
            raise SpecError("model: expected a name, a path, or a list of one Gemm or more")
        return Workload("gemms", "given as GEMMs", [Bare(gemm) for gemm in model])
    text = str(model)
    if text.startswith("gemm:"):
        return Workload(text, "given as M x N x K", [Bare(_one_gemm(text))])
    suffix = Path(text).suffix.lower()
    if suffix == ".csv":
        return Workload(text, "a table of GEMMs", [Bare(gemm) for gemm in read_gemms(Path(text))])
    if suffix == ".safetensors":
        trace = load_trace(Path(text))
        return Workload(text, "a trace", trace=trace)
    network = load_model(model)
    return Workload(network.name, network.source, network.layers)


def _one_gemm(text: str) -> Gemm:
    match = _ONE_GEMM.fullmatch(text)
    if match is None:
        raise SpecError(f"model {text!r}: expected gemm:MxNxK, such as gemm:512x512x1024")
    m, n, k = map(int, match.groups())
    return Gemm(m, n, k)


def read_gemms(path: Path) -> list[Gemm]:
    """The forward GEMMs in a CSV file with columns layer, m, n, k and optionally count.

    Raises
    ------
    SpecError
        naming the line and the column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            twice = [name for name in columns if columns.count(name) > 1]
            if twice:
                raise SpecError(f"{path}: column {twice[0]!r} stands there twice")
            missing = sorted(_COLUMNS - {"count"} - set(columns))
            if missing:
                raise SpecError(
                    f"{path}: column {missing[0]!r} is missing (expected layer, m, n, k and "
                    "optionally count)"
                )
            gemms = [_gemm(path, reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecError(f"{path}: expected a CSV text file ({error})") from error
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({reason(error)})") from error
    if not gemms:
        raise SpecError(f"{path}: no rows, expected at least one GEMM")
    return gemms


def _gemm(path: Path, line: int, row: dict[str, str]) -> Gemm:
    def size(column: str) -> int:
        text = (row.get(column) or "").strip()
        if column == "count" and not text:
            return 1
        if not _INTEGER.fullmatch(text):
            raise SpecError(
                f"{path}: line {line}: {column} is {text[:40]!r}, expected an integer of 1 or more"
            )
        return int(text)

    if None in row:
        raise SpecError(f"{path}: line {line}: more fields than the header has columns")

    layer = (row["layer"] or "").strip() or f"line {line}"
    sizes = size("m"), size("n"), size("k"), size("count")
    try:
        return Gemm(*sizes, layer)
    except ShapeError as error:
        raise SpecError(f"{path}: line {line}: {error}") from error
