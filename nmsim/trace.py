"""Traces: the GEMMs of a step with their masks, in one safetensors file.

Each masked operand is a ``uint8`` tensor, rows x ceil(K / 8), eight elements a byte, the lowest bit
first. The GEMM table and the provenance are JSON in the header's metadata. A digest covers the
header and each tensor: masks are read, and checked, one at a time, when an engine asks for bits.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nmsim.errors import NmsimError, TraceError
from nmsim.gemm import Gemm
from nmsim.mask import Mask, SparseGemm, Words, words_per_row
from nmsim.pattern import Pattern
from nmsim.storage import write_file

__all__ = ["SCHEMA", "Trace", "check", "load", "record"]

SCHEMA = 1
"""Version of the layout; a file of a newer one is refused."""

_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Trace:
    """A trace that was opened: provenance, and GEMMs whose masks are read when needed."""

    path: Path
    provenance: Mapping[str, Any]
    gemms: tuple[SparseGemm, ...]


def record(path: Path, gemms: Iterable[SparseGemm], provenance: Mapping[str, Any]) -> int:
    """Write a trace, whole or not at all.

    Parameters
    ----------
    gemms
        What to record; masks are made one GEMM at a time.
    provenance
        Model, recipe, pattern, seed, tensor source, version: whatever made it, as JSON values.

    Returns
    -------
    int
        GEMMs recorded.
    """
    tensors: dict[str, NDArray[np.uint8]] = {}
    table = []
    for index, work in enumerate(gemms):
        entry: dict[str, Any] = {"gemm": work.gemm.as_dict(), "note": work.note}
        for position, mask in (("a", work.a), ("b", work.b)):
            entry[position] = {
                "pattern": str(mask.pattern),
                "regular": mask.regular,
                "fits": mask.fits,
            }
            if not mask.is_dense:
                octets = _octets(mask)
                tensors[f"{index}.{position}"] = octets
                entry[position]["sha256"] = hashlib.sha256(octets.tobytes()).hexdigest()
        table.append(entry)
    # The digest comes first, so that its place in the header is the first of its spelling.
    document = {
        "sha256": _NO_DIGEST,
        "schema": SCHEMA,
        "provenance": dict(provenance),
        "gemms": table,
    }
    metadata = {"nmsim": json.dumps(document, allow_nan=False)}

    def write(aside: Path) -> None:
        save_file(tensors, aside, metadata)
        _seal(aside)

    write_file(path, write)
    return len(table)


def _octets(mask: Mask) -> NDArray[np.uint8]:
    little = mask.words.astype(np.dtype("<u8"), copy=False)
    return np.ascontiguousarray(little.view(np.uint8)[:, : -(-mask.k // 8)])


def _header(path: Path) -> bytes:
    """The file's length field and JSON header."""
    with path.open("rb") as file:
        length = file.read(8)
        return length + file.read(int.from_bytes(length, "little"))


def _digest_span(header: bytes) -> slice:
    """Where the header holds its own digest."""
    key = rb"{\"sha256\": \""
    start = header.find(key) + len(key)
    return slice(start, start + len(_NO_DIGEST))


def _header_digest(header: bytes) -> str:
    span = _digest_span(header)
    blank = header[: span.start] + _NO_DIGEST.encode() + header[span.stop :]
    return hashlib.sha256(blank).hexdigest()


def _seal(path: Path) -> None:
    """Put the header's digest where the header has room for it."""
    header = _header(path)
    with path.open("r+b") as file:
        file.seek(_digest_span(header).start)
        file.write(_header_digest(header).encode())


def load(path: Path) -> Trace:
    """Open a trace: its header is checked now, its masks when they are read.

    Raises
    ------
    TraceError
        if the file is no trace, truncated, altered or of a newer schema.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        document = json.loads(metadata["nmsim"])
        schema = document["schema"]
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise TraceError(f"{path}: not a trace, or truncated ({reason})") from error
    if not isinstance(schema, int) or schema > SCHEMA:
        raise TraceError(
            f"{path}: schema is {schema}, this version of nmsim reads up to {SCHEMA}: upgrade nmsim"
        )
    if document.get("sha256") != _header_digest(_header(path)):
        raise TraceError(f"{path}: header does not match its digest: the file was altered")
    try:
        gemms = tuple(
            _gemm(path, index, entry, shapes) for index, entry in enumerate(document["gemms"])
        )
    except (KeyError, TypeError) as error:
        raise TraceError(f"{path}: gemms: field {error} is missing or of a wrong type") from error
    except NmsimError as error:
        raise TraceError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    return Trace(path, document["provenance"], gemms)


def _gemm(
    path: Path, index: int, entry: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> SparseGemm:
    gemm = Gemm(**entry["gemm"])
    masks = {}
    for position, rows in (("a", gemm.m * gemm.count), ("b", gemm.n * gemm.count)):
        of, name = entry[position], f"{index}.{position}"
        pattern = Pattern.parse(of["pattern"])
        if pattern.is_dense:
            masks[position] = Mask.dense(rows, gemm.k)
            continue
        expected = (rows, -(-gemm.k // 8))
        if shapes.get(name) != expected:
            raise TraceError(
                f"{path}: tensor {name!r} of layer {gemm.layer!r} is {shapes.get(name)}, "
                f"expected {expected}"
            )
        masks[position] = Mask(
            pattern,
            rows,
            gemm.k,
            of["regular"],
            _Stored(path, name, gemm.k, of["sha256"]),
            of["fits"],
        )
    return SparseGemm(gemm, masks["a"], masks["b"], entry["note"])


@dataclass(frozen=True)
class _Stored:
    """A mask in a file: reads, checks and unpacks it when called."""

    path: Path
    name: str
    k: int
    sha256: str

    def __call__(self) -> Words:
        try:
            with safe_open(self.path, framework="numpy") as file:
                octets = file.get_tensor(self.name)
        except (OSError, SafetensorError) as error:
            raise TraceError(f"{self.path}: tensor {self.name!r} cannot be read") from error
        if hashlib.sha256(octets.tobytes()).hexdigest() != self.sha256:
            raise TraceError(
                f"{self.path}: tensor {self.name!r} does not match its digest: the file was altered"
            )
        words = np.zeros((octets.shape[0], words_per_row(self.k) * 8), np.uint8)
        words[:, : octets.shape[1]] = octets
        return words.view(np.dtype("<u8")).astype(np.uint64, copy=False)


def check(path: Path) -> Trace:
    """Open a trace and read all of it: every digest, every shape, every group of every mask.

    Raises
    ------
    TraceError
        for the first thing that is wrong.
    """
    trace = load(path)
    for work in trace.gemms:
        for position, mask in (("a", work.a), ("b", work.b)):
            if mask.is_dense:
                continue
            where = f"{path}: mask {position} of layer {work.gemm.layer!r}, {work.gemm.phase}"
            if mask.fits and mask.broken_groups():
                raise TraceError(
                    f"{where}: {mask.broken_groups()} of {mask.groups} groups break {mask.pattern}"
                )
            kept = int(np.bitwise_count(mask.words).sum())
            if kept != mask.kept:
                raise TraceError(f"{where}: keeps {kept} elements, expected {mask.kept}")
    return trace
