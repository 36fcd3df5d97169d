"""ONNX models: convolutions, linear layers and products of activations, with the shapes inferred.

The library ``onnx`` is an extra: without it a model is known and a line says what to install.
"""

from collections.abc import Mapping
from pathlib import Path

from nmsim.errors import MissingExtra
from nmsim.extras import extra
from nmsim.importers.onnx.layers import network_of
from nmsim.importing import IMPORTERS, Imported, Importer

__all__ = ["read_model"]

_TAGS = (
    b"\x12",
    b"\x1a",
    b"\x22",
    b"\x28",
    b"\x32",
    b"\x3a",
    b"\x42",
    b"\x72",
    b"\xa2\x01",
    b"\xca\x01",
)
"""How the fields of a model that follow its version begin (onnx.proto, ModelProto)."""


def _knows(head: bytes) -> bool:
    versioned = head[:1] == b"\x08" and 1 <= int.from_bytes(head[1:2], "little") < 64
    return versioned and (len(head) == 2 or head[2:].startswith(_TAGS))


def read_model(path: Path, sizes: Mapping[str, int]) -> Imported:
    """The fields of a network's YAML that an ONNX model stands for.

    Parameters
    ----------
    sizes
        Of axes of its inputs that have names instead; the first axis of an input is of samples, 1
        unless said.

    Raises
    ------
    MissingExtra
        without the library.
    SpecError
        for a file that is none, an axis without a size, or a product of matrices that no layer is.
    """
    try:
        reader = extra("onnx", "nmsim.importers.onnx.graph")
    except MissingExtra as error:
        raise MissingExtra(f"{path}: {error}") from error
    return network_of(path, reader.read_graph(path, sizes))


IMPORTERS.add(
    "onnx",
    Importer("onnx", "an ONNX model", "network", _knows, read_model, suffixes=(".onnx",)),
)
