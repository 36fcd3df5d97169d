"""Traces: the GEMMs of a step with their masks, in one safetensors file.

Each masked operand is a ``uint8`` tensor, rows x ceil(K / 8), eight elements a byte, the lowest bit
first. The GEMM table and the provenance are JSON in the header's metadata, with every field of each
sparse GEMM: a trace that is read again is what was recorded. A digest covers the header and each
tensor: the header is checked when a trace is opened, masks one at a time when they are simulated;
they are held in memory only if an engine asks for their bits.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nmsim.errors import TraceError, reason
from nmsim.files import write_file
from nmsim.gemm import MAX_SIZE, Gemm
from nmsim.mask import Mask, Share, SparseGemm
from nmsim.mask.words import Words, words_per_row
from nmsim.pattern import UNSTRUCTURED, Pattern, PatternField
from nmsim.spec import Spec, first_error

__all__ = ["SCHEMA", "Trace", "check", "load", "record", "verify"]

SCHEMA = 2
"""Version of the layout; a file of a newer one is refused. Files of version 1 name no number
format, share, tighter pattern or known count, which are then those of a GEMM that has none."""

_NO_DIGEST = "0" * 64


class _Operand(Spec):
    """A mask in the GEMM table; ``sha256`` is that of its tensor, None if nothing is masked."""

    pattern: PatternField | None
    regular: bool
    fits: bool
    indexed: bool
    tighter: PatternField | None = None
    known_kept: int | None = None
    sha256: str | None = None

    @property
    def promised(self) -> Pattern:
        """The pattern; of a mask that promises nothing none that hardware runs."""
        return UNSTRUCTURED if self.pattern is None else self.pattern


class _Share(Spec):
    """The GEMM of whose dense run a GEMM has a share, and from where to where of how many."""

    gemm: Gemm
    start: Annotated[int, Field(ge=0)]
    stop: Annotated[int, Field(ge=0)]
    whole: Annotated[int, Field(ge=1)]


class _Entry(Spec):
    """One row of a trace's GEMM table: the GEMM, and the mask of each operand."""

    gemm: Gemm
    note: str
    k: Annotated[int, Field(ge=1, le=MAX_SIZE)]
    a: _Operand
    b: _Operand
    number_format: str = ""
    dense_as: _Share | None = None


class _Document(Spec):
    """The JSON in the metadata of a trace's header: schema, provenance and the GEMM table."""

    sha256: str
    schema_: Annotated[int, Field(alias="schema")]
    provenance: dict[str, Any]
    gemms: Annotated[tuple[_Entry, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Trace:
    """GEMMs with their masks, and what made them.

    Parameters
    ----------
    gemms
        Of one that was opened, masks are read when they are needed.
    provenance
        Model, recipe, pattern, seed, tensor source, version: JSON values.
    path
        The file that was opened; None: it is in memory.

    Examples
    --------
    >>> import nmsim
    >>> mask = nmsim.Mask([[1, 0, 0, 1], [0, 1, 0, 0]], "2:4")
    >>> gemm = nmsim.SparseGemm(nmsim.Gemm(8, 2, 4), nmsim.Mask.dense(8, 4), mask)
    >>> Trace([gemm]).gemms[0].b.kept
    3
    """

    gemms: Sequence[SparseGemm]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.gemms, Sequence) or any(
            not isinstance(one, SparseGemm) for one in self.gemms
        ):
            raise TraceError("trace: expected a list of SparseGemm")

    def save(self, path: str | Path) -> None:
        """Write it to a file, whole or not at all.

        Raises
        ------
        TraceError
            if there is no GEMM, provenance is no JSON, or the file cannot be written.
        """
        record(Path(path), self.gemms, self.provenance)


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
    table = [_entry(index, work, tensors) for index, work in enumerate(gemms)]
    # The digest comes first, so that its place in the header is the first of its spelling.
    document = {
        "sha256": _NO_DIGEST,
        "schema": SCHEMA,
        "provenance": dict(provenance),
        "gemms": table,
    }
    try:
        metadata = {"nmsim": json.dumps(document, allow_nan=False)}
    except (TypeError, ValueError) as error:
        raise TraceError(f"{path}: provenance: expected JSON values ({error})") from error

    def write(aside: Path) -> None:
        try:
            save_file(tensors, aside, metadata)
        except SafetensorError as error:
            raise TraceError(f"{path}: cannot be written ({error})") from error
        _seal(aside)

    if not table:
        raise TraceError(f"{path}: nothing to record, expected one GEMM at least")

    write_file(path, write)
    return len(table)


def _entry(index: int, work: SparseGemm, tensors: dict[str, NDArray[np.uint8]]) -> dict[str, Any]:
    """A row of the GEMM table, as JSON values; its masks' bits go to the tensors."""
    entry: dict[str, Any] = {"gemm": work.gemm.as_dict(), "note": work.note, "k": work.k}
    entry["number_format"] = work.number_format
    if work.dense_as is not None:
        share = work.dense_as
        entry["dense_as"] = {**share._asdict(), "gemm": share.gemm.as_dict()}
    for position, mask in (("a", work.a), ("b", work.b)):
        entry[position] = _told(mask)
        if not mask.is_dense:
            octets = _octets(mask)
            tensors[f"{index}.{position}"] = octets
            entry[position]["sha256"] = hashlib.sha256(octets.tobytes()).hexdigest()
    return entry


def _told(mask: Mask) -> dict[str, Any]:
    """What a mask says of itself, as JSON values."""
    return {
        "pattern": None if mask.pattern.is_unstructured else str(mask.pattern),
        "regular": mask.regular,
        "fits": mask.fits,
        "indexed": mask.indexed,
        "tighter": None if mask.tighter is None else str(mask.tighter),
        "known_kept": mask.known_kept,
    }


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
            text = (file.metadata() or {})["nmsim"]
            tensors = {name: _stored_as(file.get_slice(name)) for name in file.keys()}  # noqa: SIM118
        schema = json.loads(text)["schema"]
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({reason(error)})") from error
    except (SafetensorError, LookupError, RecursionError, TypeError, ValueError) as error:
        problem = next(iter(str(error).splitlines()), "")
        raise TraceError(f"{path}: not a trace, or truncated ({problem})") from error
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        hint = ": upgrade nmsim" if newer else ""
        raise TraceError(f"{path}: schema is {schema!r}, expected {SCHEMA} or older{hint}")
    try:
        document = _Document.model_validate_json(text)
    except ValidationError as error:
        raise TraceError(f"{path}: {first_error(_Document, error)}") from error
    if document.sha256 != _header_digest(_header(path)):
        raise TraceError(f"{path}: header does not match its digest: the file was altered")
    gemms = tuple(_gemm(path, index, entry, tensors) for index, entry in enumerate(document.gemms))
    return Trace(gemms, document.provenance, path)


def _stored_as(tensor: Any) -> str:
    """Shape and dtype of a tensor: ``64 x 9 of U8``."""
    return f"{' x '.join(map(str, tensor.get_shape()))} of {tensor.get_dtype()}"


def _gemm(path: Path, index: int, entry: _Entry, tensors: Mapping[str, str]) -> SparseGemm:
    gemm = entry.gemm
    masks = []
    for of, position, rows in (
        (entry.a, "a", gemm.m * gemm.count),
        (entry.b, "b", gemm.n * gemm.count),
    ):
        if of.promised.is_dense:
            masks.append(Mask.dense(rows, entry.k))
            continue
        name, expected = f"{index}.{position}", f"{rows} x {-(-entry.k // 8)} of U8"
        if tensors.get(name) != expected:
            raise TraceError(
                f"{path}: tensor {name!r} of layer {gemm.layer!r} is "
                f"{tensors.get(name, 'missing')}, expected {expected}"
            )
        source = _Stored(path, name, entry.k, of.sha256)
        mask = Mask.promising(of.promised, rows, entry.k, regular=of.regular, source=source)
        masks.append(
            mask.but(fits=of.fits, indexed=of.indexed, tighter=of.tighter, known_kept=of.known_kept)
        )
    share = entry.dense_as
    dense_as = None if share is None else Share(share.gemm, share.start, share.stop, share.whole)
    return SparseGemm(gemm, masks[0], masks[1], entry.note, entry.number_format, dense_as)


@dataclass(frozen=True)
class _Stored:
    """A mask in a file: reads, checks and unpacks it when called."""

    path: Path
    name: str
    k: int
    sha256: str | None

    def __call__(self) -> Words:
        octets = self.read()
        words = np.zeros((octets.shape[0], words_per_row(self.k) * 8), np.uint8)
        words[:, : octets.shape[1]] = octets
        return words.view(np.dtype("<u8")).astype(np.uint64, copy=False)

    def read(self) -> NDArray[np.uint8]:
        """The tensor, if it matches its digest."""
        try:
            with safe_open(self.path, framework="numpy") as file:
                octets: NDArray[np.uint8] = file.get_tensor(self.name)
        except (OSError, SafetensorError) as error:
            raise TraceError(f"{self.path}: tensor {self.name!r} cannot be read") from error
        if hashlib.sha256(octets.tobytes()).hexdigest() != self.sha256:
            raise TraceError(
                f"{self.path}: tensor {self.name!r} does not match its digest: the file was altered"
            )
        return octets


def verify(work: SparseGemm) -> None:
    """Read a GEMM's stored masks against their digests; their bits are not kept.

    Raises
    ------
    TraceError
        if the file was altered since it was opened or recorded.
    """
    for mask in (work.a, work.b):
        if isinstance(mask.source, _Stored):
            mask.source.read()


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
