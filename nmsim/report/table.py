"""The result table as it is read back from a folder."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from nmsim.csv_table import Rules, Table, read_csv
from nmsim.errors import SpecError
from nmsim.files.strict_json import parse_json
from nmsim.gemm import PHASES
from nmsim.machines import COLUMNS
from nmsim.report.files import MANIFEST, RESULTS
from nmsim.report.rows import unquoted
from nmsim.report.validation_manifest import Shown
from nmsim.report.validation_table import read_validation
from nmsim.run.experiment.axes import values_by_field
from nmsim.run.manifest import check_manifest, what_is_wrong
from nmsim.run.rows.columns import FLAGS, INTEGERS, OPTIONAL, REALS
from nmsim.run.rows.frame import frame, typed_frame
from nmsim.run.store import Stored, has_store
from nmsim.run.store.frame import column_names, stored_frame

__all__ = ["MANIFEST", "RESULTS", "holds_sweep", "read_results", "read_shown", "read_sweep"]

_RULES = Rules(
    columns=[column.name for column in COLUMNS if not column.optional],
    missing="no column {!r}",
    ended=True,
)


def read_results(folder: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table and the manifest that `nmsim.report.write_report` left in a folder.

    A sweep's come from its store, whether or not the sweep has ended.

    Raises
    ------
    SpecError
        in one line that names the file, and the line, column or key, when a file is missing, empty,
        cut short, no CSV or JSON, of a newer schema, or lacks something.
    """
    if holds_sweep(Path(folder)):
        return _read_store(Path(folder))
    manifest = _read_manifest(Path(folder) / MANIFEST)
    path = Path(folder) / RESULTS
    validated = manifest["kind"] == "validate"
    df = read_validation(path) if validated else _read_table(path)
    expected = manifest.get("rows", len(df))
    if expected != len(df):
        raise SpecError(f"{path}: {len(df)} rows, expected {expected} as {MANIFEST} says")
    for name in ("model", "recipe", "pattern", "batch", "fidelity"):
        if manifest["kind"] == "sweep" and len(df) and name not in df:
            raise SpecError(f"{path}: no column {name!r}, which a sweep has")
    return df, manifest


def read_shown(folder: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What the page of a folder shows, and the manifest: as `read_results`, or sums of points.

    Raises
    ------
    SpecError
        as `read_results` does.
    """
    return read_sweep(Path(folder)) if holds_sweep(Path(folder)) else read_results(folder)


def _with_flags(df: pd.DataFrame, document: dict[str, Any]) -> pd.DataFrame:
    """A table whose fields of yes and no are these again: a store has them as 1 and 0."""
    said = values_by_field(document.get("vary") or {})
    flags = {name for name, values in said.items() if {type(v) for v in values} == {bool}}
    found = [name for name in map(str, df.columns) if name.partition(".")[2] in flags]
    found += [name for name in flags if name in df]
    return df.assign(**{name: df[name].astype(bool) for name in found})


def holds_sweep(folder: Path) -> bool:
    """Whether the results of a folder are those of the store in it, not of a later simulation."""
    if not has_store(folder):
        return False
    path = folder / MANIFEST
    return not path.is_file() or _read_manifest(path)["kind"] == "sweep"


def read_sweep(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What the page of the last sweep in a folder's store shows, whatever stands beside it.

    A sweep that kept no rows of GEMMs has the sums of each phase of its points, a row each
    (`nmsim.report.summary.of_sums`).

    Raises
    ------
    SpecError
        naming the store: it is damaged, or holds no sweep.
    """
    with Stored.opened(folder) as stored:
        document = _manifest_of(stored)
        if stored.keep() == "rows":
            table = stored_frame(stored, column_names(stored))
        else:
            table = pd.DataFrame(list(stored.sums()), dtype=object)
        return _with_flags(table, document), document


def _read_store(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    with Stored.opened(folder) as stored:
        if stored.keep() != "rows":
            raise SpecError(f"{stored.path}: keeps {stored.keep()} alone, expected rows of GEMMs")
    return read_sweep(folder)


def _manifest_of(stored: Stored) -> dict[str, Any]:
    document = stored.manifest()
    check_manifest(document, f"{stored.path}: manifest")
    return document


def _read_manifest(path: Path) -> dict[str, Any]:
    document = parse_json(_read_text(path), str(path))
    if not isinstance(document, dict):
        raise SpecError(f"{path}: expected a JSON object")
    check_manifest(document, str(path))
    wrong = what_is_wrong(Shown, document) if document["kind"] == "validate" else ""
    if wrong:
        raise SpecError(f"{path}: {wrong}")
    return document


def _read_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 text (byte {error.start})") from error
    if not text.strip():
        raise SpecError(f"{path}: empty")
    return text


def _read_table(path: Path) -> pd.DataFrame:
    table = read_csv(path, _RULES)
    rows = [
        {
            name: _cell(table, number, name, cell)
            for name, cell in zip(table.header, cells, strict=True)
        }
        for number, cells in enumerate(table.rows)
    ]
    if not {"dense_cycles", "dense_time_us"} & set(table.header):
        rows = [{**row, **_dense_run(row)} for row in rows]
    return frame(rows) if rows else typed_frame(list(table.header), [])


def _dense_run(row: dict[str, Any]) -> dict[str, Any]:
    """The dense run of a row that tells it by its speed-up alone, as those of version 0.1 do."""
    gain = row.get("speedup")
    if gain is None:
        return {}
    return {"dense_cycles": round(gain * row["cycles"]), "dense_time_us": gain * row["time_us"]}


def _cell(table: Table, row: int, name: str, cell: str) -> Any:
    try:
        return _value(name, cell)
    except ValueError as error:
        raise table.fault(row, f"{name} is {cell[:40]!r}, expected {error}") from None


def _value(name: str, cell: str) -> Any:
    """What a cell of a column holds; a ValueError says what was expected."""
    if cell == "" and name in OPTIONAL:
        return None
    if name == "phase" and cell not in PHASES:
        raise ValueError(f"one of {', '.join(PHASES)}")
    if name in FLAGS:
        return _flag(cell)
    if name in INTEGERS:
        return _number(cell, int, "an integer")
    if name in REALS:
        return _number(cell, float, "a number")
    return unquoted(cell)


def _flag(cell: str) -> bool:
    if cell not in {"True", "False"}:
        raise ValueError("True or False")
    return cell == "True"


def _number(cell: str, kind: type[int] | type[float], spoken: str) -> float:
    try:
        value = kind(cell)
    except ValueError:
        raise ValueError(spoken) from None
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{spoken} of 0 or more")
    return value
