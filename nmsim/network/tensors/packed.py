"""Tensors that a file keeps packed, as the dense ones that they stand for.

- ``<name>.compressed`` and ``.bitmask`` (and ``.shape``): kept values in order, and a bit for each
  element, eight to a byte along the row, the lowest first, as compressed-tensors releases them.
- ``<name>.packed`` and ``.meta``: two values of four and where they stand, two bits each, in the
  order of CUTLASS' tensor cores, as PyTorch's SparseSemiStructuredTensor has them.
- A scale beside a tensor (``_scale``, ``_scale_inv``) multiplies it, whole, by rows or by blocks,
  after a zero point (``_zero_point``) has been taken off.

Four-bit integers packed into words are refused by name.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError, SpecError
from nmsim.network.tensors.archive import Archive, Held, Rows, named_shape

__all__ = ["SCALES", "refuse_words", "scaled", "unpacked", "word_places"]

SCALES = ("_scale", "_scale_inv")
"""What a scale is called, behind the name of its tensor."""

_WORDS = ("weight_packed", "qweight", "B_24")
"""What packed integers of four bits are called: compressed-tensors; GPTQ and AWQ; Marlin."""


def unpacked(archive: Archive) -> Archive:
    """The same tensors with those that are packed in the place of their parts.

    Raises
    ------
    SpecError, ShapeError
        for parts that do not fit together.
    """
    masked, halved = _pairs(archive, "bitmask", "compressed"), _pairs(archive, "meta", "packed")
    if not masked and not halved:
        return archive
    held = dict(archive.held)
    for base in (*masked.values(), *halved.values()):
        for part in ("compressed", "bitmask", "shape", "row_offsets", "packed", "meta"):
            held.pop(f"{base}.{part}", None)
    held |= {name: _shape_of_masked(archive, base) for name, base in masked.items()}
    held |= {name: _shape_of_halved(archive, base) for name, base in halved.items()}

    def load(key: str, rows: Rows = None) -> NDArray[Any]:
        if key in masked:
            return _of_bitmask(archive, masked[key], held[key].shape)
        if key in halved:
            return _of_halves(archive, halved[key], held[key].shape)
        return archive.read(key, rows)

    return Archive(archive.path, held, load)


def _pairs(archive: Archive, one: str, other: str) -> dict[str, str]:
    """Names of packed tensors, and what their parts are called before their own endings."""
    bases = [key.removesuffix(f".{one}") for key in archive.held if key.endswith(f".{one}")]
    both = [base for base in bases if f"{base}.{other}" in archive.held]
    return {base if base.endswith("weight") else f"{base}.weight": base for base in both}


def _shape_of_masked(archive: Archive, base: str) -> Held:
    """Type and shape of a tensor with a bit mask, which must be of that shape."""
    bits, said = archive.held[f"{base}.bitmask"], f"{base}.shape"
    if said in archive.held and archive.held[said].size <= 8:
        shape = tuple(int(one) for one in archive.read(said).reshape(-1))
    else:
        shape = (*bits.shape[:-1], 8 * (bits.shape or (0,))[-1])
    rows = bits.shape[:-1]
    fits = len(shape) == 2 and min(shape) > 0 and bits.shape == (shape[0], -(-shape[1] // 8))
    if not fits or len(rows) != 1 or bits.dtype.lower() not in ("u8", "uint8"):
        raise ShapeError(
            f"{archive.path}: {base}.bitmask is {named_shape(bits.shape)} of {bits.dtype}, "
            f"expected bytes, a bit an element of {named_shape(shape)}"
        )
    return Held(archive.held[f"{base}.compressed"].dtype, shape)


def _of_bitmask(archive: Archive, base: str, shape: tuple[int, ...]) -> NDArray[Any]:
    bits = np.unpackbits(
        archive.read(f"{base}.bitmask"), axis=1, count=shape[1], bitorder="little"
    ).view(np.bool_)
    values = archive.read(f"{base}.compressed").reshape(-1)
    kept = int(np.count_nonzero(bits))
    if kept != values.size:
        raise SpecError(
            f"{archive.path}: {base}.compressed has {values.size} values, expected {kept}: as "
            f"many as {base}.bitmask has bits"
        )
    dense = np.zeros(shape, values.dtype)
    dense[bits] = values
    return dense


def _shape_of_halved(archive: Archive, base: str) -> Held:
    """Type and shape of a tensor of which two of four are kept, or one of two."""
    values, meta = archive.held[f"{base}.packed"], archive.held[f"{base}.meta"]
    width = {"i16": 16, "int16": 16, "i32": 32, "int32": 32}.get(meta.dtype.lower(), 0)
    if len(values.shape) == 2 and len(meta.shape) == 2 and width:
        rows, kept = values.shape
        fields = meta.shape[1] * (width // 2)
        tiled = rows % (512 // width) == 0 and meta.shape[1] % 2 == 0
        if meta.shape[0] == rows and fields in (kept, 2 * kept) and tiled and rows and kept:
            return Held(values.dtype, (rows, 2 * kept))
    raise ShapeError(
        f"{archive.path}: {base}.meta is {named_shape(meta.shape)} of {meta.dtype} beside "
        f"{named_shape(values.shape)} values, expected two bits for each, in CUTLASS' tiles"
    )


def _of_halves(archive: Archive, base: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Dense values of kept ones and two bits for each: its place among four.

    Where an element has two such fields it is one of two: a float32 is told as two halves of 16.
    """
    values, stored = archive.read(f"{base}.packed"), archive.read(f"{base}.meta")
    fields = _in_order(stored)
    rows, kept = values.shape
    if fields.shape[1] == 2 * kept:
        within, group = fields[:, ::2] >> 1, np.arange(kept) * 2
    else:
        within, group = fields, np.arange(kept) // 2 * 4
    dense = np.zeros(shape, values.dtype)
    dense[np.arange(rows)[:, None], group + within] = values
    return dense


def _in_order(stored: NDArray[Any]) -> NDArray[np.int64]:
    """Fields of two bits, row by row, of words in the order of CUTLASS' tensor cores."""
    rows, columns = stored.shape
    places = word_places(rows, columns, stored.dtype.itemsize)
    words = stored.reshape(-1)[places].astype(np.int64)
    shifts = np.arange(0, 8 * stored.dtype.itemsize, 2)
    fields: NDArray[np.int64] = (words[:, :, None] >> shifts & 3).reshape(len(stored), -1)
    return fields


def word_places(rows: int, columns: int, width: int) -> NDArray[np.int64]:
    """Where CUTLASS' tensor cores have the words of metadata: rows x columns places in a row.

    Within tiles of 32 rows (16 of words of 32 bits) rows are interwoven, pairs of rows and columns
    exchange their outer corners, and two columns lie interleaved, column by column
    (``reorder_meta`` of CUTLASS, ``ColumnMajorInterleaved<2>``).

    Parameters
    ----------
    width
        Bytes of a word: 2, or 4.
    """
    tile, woven = (32, 4) if width == 2 else (16, 2)
    row, column = np.arange(rows)[:, None], np.arange(columns)[None, :]
    row = row // tile * tile + row % 8 * woven + row % tile // 8
    corner = ((row % 2 == 0) & (column % 2 == 1)).astype(np.int64)
    corner -= (row % 2 == 1) & (column % 2 == 0)
    row, column = row + corner, column - corner
    places: NDArray[np.int64] = column // 2 * rows * 2 + row * 2 + column % 2
    return places


def refuse_words(archive: Archive, layer: str) -> None:
    """Refuse, by name, a layer whose weight is there as packed integers of four bits."""
    for end in _WORDS:
        key = f"{layer}.{end}"
        if key in archive.held:
            raise SpecError(
                f"{archive.path}: {key} is packed integers of four bits, which are not read, "
                f"expected {layer}.weight"
            )


def scaled(archive: Archive, key: str, rows: Rows = None) -> NDArray[Any]:
    """A tensor, or rows of it, less its zero point, times its scale, where these stand beside it.

    Raises
    ------
    ShapeError
        for a scale that is of another tensor.
    """
    array = archive.read(key, rows)
    zero = _beside(archive, key, ("_zero_point",), rows)
    scale = _beside(archive, key, SCALES, rows)
    if zero is not None and scale is not None:
        array = array.astype(np.float32) - zero
    return array if scale is None else np.asarray(array * scale)


def _beside(archive: Archive, key: str, ends: tuple[str, ...], rows: Rows) -> NDArray[Any] | None:
    """Factors of rows of a tensor, in a shape that goes with them; None without any."""
    shape = archive.held[key].shape
    name = next((key + end for end in ends if key + end in archive.held), None)
    if name is None:
        return None
    factors = np.atleast_1d(archive.read(name).astype(np.float32))
    if factors.size == 1:
        return factors.reshape(())
    if factors.ndim == 1:
        factors = factors[:, None]
    blocks = [-(-size // max(has, 1)) for size, has in zip(shape, factors.shape, strict=False)]
    if factors.ndim != len(shape) or any(
        -(-size // max(of, 1)) != has
        for size, of, has in zip(shape, blocks, factors.shape, strict=False)
    ):
        raise ShapeError(
            f"{archive.path}: {name} is {named_shape(archive.held[name].shape)}, expected one "
            f"number, one a row or one a block of {named_shape(shape)}"
        )
    for axis, (size, of) in enumerate(zip(shape, blocks, strict=True)):
        wanted = np.arange(size)[rows if rows is not None and axis == 0 else slice(None)]
        factors = factors.take(wanted // max(of, 1), axis=axis)
    return factors
