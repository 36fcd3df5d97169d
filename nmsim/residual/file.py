"""The file of a residual: numbers by name in a compressed ``.npz``, nothing that is executed.

A residual corrects what a closed form says of dense GEMMs, in one number format after the other. It
stands beside the machine's file, ``NAME.residual.npz``, and says what it was fitted to.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.files import once_per_content, rests_on, write_file
from nmsim.residual.region import Region
from nmsim.residual.trees import Trees, predicted

__all__ = [
    "Correction",
    "Residual",
    "beside",
    "of_attention",
    "read_residual",
    "write_residual",
]

SCHEMA = 1

_ARRAYS = ("feature", "threshold", "leaf", "low", "high", "points")

_PROBED = ((5,), (10,))
"""Columns of a probe: sizes of a GEMM or of an attention, and microseconds."""


@dataclass(frozen=True, eq=False)
class Correction:
    """The residual of dense GEMMs in one number format, or of fused attention, by one library.

    Parameters
    ----------
    library
        Whose kernels were measured.
    trees, region
        What was learned of log time, and where it holds.
    in_turn
        B that launches of the measured series go through: the account is of these.
    probe
        GEMMs x 5: M, N, K, copies, and the microseconds of the closed form when it was fitted; of
        attention calls x 10, by ``AttentionCalls.shapes``.
    """

    library: str
    trees: Trees
    region: Region
    in_turn: int
    probe: NDArray[np.float64]

    def factors(
        self, features: NDArray[np.float32], where: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """By what the closed form's times are to be multiplied; exactly 1 beyond the region."""
        found: NDArray[np.float64] = np.exp(
            self.region.weight(where) * predicted(self.trees, features)
        )
        return found


@dataclass(frozen=True, eq=False)
class Residual:
    """Corrections by number format, the features that they look at, and the report of the fit.

    Parameters
    ----------
    name
        The machine that it is of.
    features
        Names of the features, in order.
    corrections
        By number format; of attention by library.
    report
        Of the fit: tables, rows, errors; plain values.
    """

    name: str
    features: tuple[str, ...]
    corrections: Mapping[str, Correction]
    report: Mapping[str, Any]


def beside(machine: Path) -> Path:
    """Where the residual of a machine stands: beside its file."""
    return machine.with_name(f"{machine.stem}.residual.npz")


def of_attention(residual: Path) -> Path:
    """Where the residual of fused attention stands: beside that of GEMMs.

    Examples
    --------
    >>> of_attention(Path("h200.residual.npz")).name
    'h200.attention.residual.npz'
    """
    return residual.with_name(
        f"{residual.name.removesuffix('.residual.npz')}.attention.residual.npz"
    )


def write_residual(path: Path, residual: Residual) -> None:
    """Write a residual; the same one gives the same bytes."""
    about = {
        "schema": SCHEMA,
        "name": residual.name,
        "features": residual.features,
        "corrections": {
            dtype: {"library": one.library, "in_turn": one.in_turn}
            for dtype, one in residual.corrections.items()
        },
        "report": residual.report,
    }
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about))}
    for dtype, one in residual.corrections.items():
        values = (*one.trees, one.region.low, one.region.high, one.region.points)
        arrays |= {f"{dtype}.{name}": v for name, v in zip(_ARRAYS, values, strict=True)}
        arrays[f"{dtype}.points"] = one.region.points.astype(np.float16)
        arrays[f"{dtype}.probe"] = one.probe

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_file(path, write)


@once_per_content
def read_residual(path: Path) -> Residual:
    """Read a residual; a file that was read before is not read again.

    Raises
    ------
    SpecError
        naming the file, and what of it is not as a residual has it.
    """
    rests_on(path)
    try:
        # Opened here: numpy leaves a file open that is cut short.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _residual(arrays)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        why = next(iter(str(error).splitlines()), "")
        raise SpecError(
            f"{path}: expected a residual as `nmsim calibrate --residual` writes it ({why})"
        ) from error


def _residual(arrays: Any) -> Residual:
    about = json.loads(str(arrays["about"]))
    if about["schema"] != SCHEMA:
        raise ValueError(f"schema is {about['schema']}, expected {SCHEMA}")
    features = tuple(map(str, about["features"]))
    corrections = {
        dtype: _correction(dtype, one, arrays, len(features))
        for dtype, one in about["corrections"].items()
    }
    return Residual(str(about["name"]), features, corrections, about["report"])


def _correction(dtype: str, about: Mapping[str, Any], arrays: Any, known: int) -> Correction:
    feature, threshold, leaf, low, high, points = (
        np.asarray(arrays[f"{dtype}.{name}"]) for name in _ARRAYS
    )
    probe = np.asarray(arrays[f"{dtype}.probe"], np.float64)
    trees = Trees(feature.astype(np.uint8), threshold.astype(np.float32), leaf.astype(np.float32))
    region = Region(low.astype(float), high.astype(float), points.astype(float))
    whole = (
        trees.feature.ndim == 2
        and trees.feature.shape == trees.threshold.shape == (len(leaf), leaf.shape[1] - 1)
        and leaf.shape[1] == 2**trees.depth
        and int(feature.max(initial=0)) < known
        and np.isfinite(leaf).all()
        and not np.isnan(threshold).any()
        and region.low.shape == region.high.shape
        and points.shape[1:] == (3,)
        and probe.shape[1:] in _PROBED
    )
    if not whole:
        raise ValueError(f"{dtype}: trees, region and probe do not match")
    return Correction(str(about["library"]), trees, region, int(about["in_turn"]), probe)
