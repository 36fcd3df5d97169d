"""The file of a machine's evidence: which GEMMs were measured on it, and what it was then.

It stands beside the machine's file, ``NAME.evidence.npz``: numbers by name in a compressed file,
nothing that is executed and no measured time. What was measured is held to a machine by its fields,
so that a machine of another bandwidth that has the name is not taken to be it.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.files import once_per_content, rests_on, write_file

__all__ = [
    "AttentionRecord",
    "Evidence",
    "Record",
    "Routine",
    "beside",
    "differing",
    "flat",
    "read_evidence",
    "write_evidence",
]

SCHEMA = 1


@dataclass(frozen=True)
class Routine:
    """One routine of a library that was measured, whatever its sizes.

    Parameters
    ----------
    dtype, accumulator
        Number formats of operands and sums, as they are called.
    pattern
        Of the compressed operand as it was measured, ``dense`` or N:M.
    sparse_operand
        Which one: "a", "b" or "".
    vector_length
        V of V:N:M, else 0.
    """

    dtype: str
    accumulator: str
    pattern: str
    sparse_operand: str
    vector_length: int


@dataclass(frozen=True, eq=False)
class Record:
    """Where one library's constants were measured, for one pattern and one width of operands.

    Parameters
    ----------
    key
        What they are the constants of: library, kernels, pattern of the instruction, width, rate.
    library, pattern
        Of the key, to be told by.
    rows
        Measured times; several may be of one GEMM.
    sources
        Where the times come from, most rows first.
    conditions
        What the clock did, as tables say it.
    ranges
        Least and greatest M, N, K, tiles and waves.
    bounds
        How many of the distinct GEMMs each part of the time binds, most first.
    fields
        Of the library and of its number format, by path: as they were when this was gathered.
    routines
        That were measured.
    sizes
        Distinct GEMMs x 5: M, N, K, copies in one launch, place in ``routines``.
    """

    key: str
    library: str
    pattern: str
    rows: int
    sources: tuple[str, ...]
    conditions: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]
    bounds: Mapping[str, int]
    fields: Mapping[str, Any]
    routines: tuple[Routine, ...]
    sizes: NDArray[np.uint32]

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Number formats that were measured."""
        return tuple(dict.fromkeys(one.dtype for one in self.routines))


@dataclass(frozen=True, eq=False)
class AttentionRecord:
    """Where one library's fused attention was measured, in one phase.

    Parameters
    ----------
    library, phase
        Whose kernels, and what they ran.
    rows
        Measured times; several may be of one call.
    sources
        Tables that they stand in.
    shapes
        Distinct calls x 9: batch, heads, kv_heads, queries, keys, head_dim, v_head_dim, causal,
        window.
    """

    library: str
    phase: str
    rows: int
    sources: tuple[str, ...]
    shapes: NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured on a machine.

    Parameters
    ----------
    name
        The machine.
    fields
        Its physical fields and constants, by path, as they were when this was gathered.
    records
        By library, pattern and format.
    attention
        By library and phase.
    """

    name: str
    fields: Mapping[str, Any]
    records: tuple[Record, ...]
    attention: tuple[AttentionRecord, ...] = ()


def beside(machine: Path) -> Path:
    """Where the evidence of a machine stands: beside its file."""
    return machine.with_name(f"{machine.stem}.evidence.npz")


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Fields by dotted path: ``{"dram": {"gbps": 1}}`` is ``dram.gbps``.

    Examples
    --------
    >>> dict(flat({"sms": 2, "dram": {"gbps": 1}}))
    {'sms': 2, 'dram.gbps': 1}
    """
    for name, value in values.items():
        path = f"{above}.{name}" if above else str(name)
        if isinstance(value, Mapping):
            yield from flat(value, path)
        else:
            yield path, value


def differing(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """What differs between fields by path, in words: ``dram.gbps is 100, measured with 1769``.

    Examples
    --------
    >>> differing({"sms": 2, "clock": 1}, {"sms": 4, "clock": 1})
    ['sms is 2, measured with 4']
    """
    names = dict.fromkeys((*now, *then))
    return [
        f"{name} is {_told(now.get(name))}, measured with {_told(then.get(name))}"
        for name in names
        if now.get(name) != then.get(name)
    ]


def _told(value: Any) -> str:
    return "nothing" if value is None else str(value)


def write_evidence(path: Path, evidence: Evidence) -> None:
    """Write evidence; the same gives the same bytes."""
    about = {
        "schema": SCHEMA,
        "name": evidence.name,
        "fields": dict(evidence.fields),
        "records": [_said(one) for one in evidence.records],
        "attention": [_without(one, "shapes") for one in evidence.attention],
    }
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about, ensure_ascii=False))}
    arrays |= {f"sizes.{number}": one.sizes for number, one in enumerate(evidence.records)}
    arrays |= {f"shapes.{number}": one.shapes for number, one in enumerate(evidence.attention)}

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_file(path, write)


def _said(record: Record) -> dict[str, Any]:
    routines = [asdict(one) for one in record.routines]
    return {**_without(record, "sizes"), "routines": routines}


def _without(record: Record | AttentionRecord, array: str) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name != array}


@once_per_content
def read_evidence(path: Path) -> Evidence:
    """Read evidence; a file that was read before is not read again.

    Raises
    ------
    SpecError
        naming the file, and what of it is not as evidence has it.
    """
    rests_on(path)
    try:
        # Opened here: numpy leaves a file open that is cut short.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _evidence(arrays)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        why = next(iter(str(error).splitlines()), "")
        raise SpecError(
            f"{path}: expected evidence as `nmsim calibrate --evidence` writes it ({why})"
        ) from error


def _evidence(arrays: Any) -> Evidence:
    about = json.loads(str(arrays["about"]))
    if about["schema"] != SCHEMA:
        raise ValueError(f"schema is {about['schema']}, expected {SCHEMA}")
    records = [
        _record(one, np.asarray(arrays[f"sizes.{number}"]))
        for number, one in enumerate(about["records"])
    ]
    attention = [
        _attention(one, np.asarray(arrays[f"shapes.{number}"]))
        for number, one in enumerate(about["attention"])
    ]
    return Evidence(str(about["name"]), about["fields"], tuple(records), tuple(attention))


def _attention(said: Mapping[str, Any], shapes: NDArray[Any]) -> AttentionRecord:
    library, phase = str(said["library"]), str(said["phase"])
    if shapes.ndim != 2 or shapes.shape[1] != 9 or shapes.dtype != np.uint32 or not len(shapes):
        raise ValueError(f"{library}, {phase}: shapes do not match")
    return AttentionRecord(library, phase, int(said["rows"]), tuple(said["sources"]), shapes)


def _record(said: Mapping[str, Any], sizes: NDArray[Any]) -> Record:
    routines: Sequence[Routine] = [Routine(**one) for one in said["routines"]]
    whole = (
        sizes.ndim == 2
        and sizes.shape[1] == 5
        and sizes.dtype == np.uint32
        and len(sizes) > 0
        and int(sizes[:, :4].min()) > 0
        and int(sizes[:, 4].max()) < len(routines)
    )
    if not whole:
        raise ValueError(f"{said['key']}: sizes do not match")
    return Record(
        key=str(said["key"]),
        library=str(said["library"]),
        pattern=str(said["pattern"]),
        rows=int(said["rows"]),
        sources=tuple(said["sources"]),
        conditions=tuple(said["conditions"]),
        ranges={name: (low, high) for name, (low, high) in said["ranges"].items()},
        bounds=dict(said["bounds"]),
        fields=dict(said["fields"]),
        routines=tuple(routines),
        sizes=sizes,
    )
