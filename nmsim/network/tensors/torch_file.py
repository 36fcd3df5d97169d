"""Tensors of a file of ``torch.save``, which PyTorch itself must read: the extra ``torch``."""

import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from nmsim.errors import MissingExtra, SpecError
from nmsim.extras import extra
from nmsim.network.tensors.archive import Archive, Held, Rows

__all__ = ["is_torch", "open_torch"]

_WITHIN = ("state_dict", "model_state_dict", "model")
"""Where a checkpoint of a training run keeps the tensors, if not at its top."""


def is_torch(path: Path) -> bool:
    """Whether a file is of ``torch.save``: a zip archive with its pickle, or a bare pickle."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if head[:2] == b"PK":
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return path.suffix != ".npz" and head[:1] == b"\x80" and 2 <= head[1] <= 5


def open_torch(path: Path) -> Archive:
    """What a file of ``torch.save`` holds; nothing of it is executed (``weights_only=True``).

    Raises
    ------
    MissingExtra
        without PyTorch; the line says what converts the file.
    SpecError
        for a file that holds anything but tensors.
    """
    try:
        torch = extra("torch", "torch")
    except MissingExtra as error:
        raise MissingExtra(
            f"{path}: of torch.save; {error}, or convert it where PyTorch is: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW)"
        ) from error
    found = dict(_flat(torch, path, _tensors(torch, path)))

    def load(key: str, rows: Rows = None) -> NDArray[Any]:
        one = found[key].detach()
        one = one if rows is None else one[rows]
        try:
            array: NDArray[Any] = one.numpy()
        except TypeError:  # bfloat16 and formats of 8 bits
            array = one.to(torch.float32).numpy()
        return array

    held = {
        name: Held(str(one.dtype).removeprefix("torch."), tuple(one.shape))
        for name, one in found.items()
    }
    return Archive(path, held, load)


def _tensors(torch: ModuleType, path: Path) -> Mapping[str, Any]:
    """The tensors by name, wherever the file keeps them."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_semi_structured(torch)):
            warnings.simplefilter("ignore")  # of prototypes, and of damaged files
            state = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except Exception as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise SpecError(f"{path}: torch.load(weights_only=True) refuses it ({why})") from error
    for name in _WITHIN:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping):
        raise SpecError(f"{path}: holds a {type(state).__name__}, expected tensors by name")
    return {str(name): one for name, one in state.items() if isinstance(one, torch.Tensor)}


def _flat(torch: ModuleType, path: Path, state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Plain tensors: of a semi-structured one its values (``packed``) and indices (``meta``).

    cuSPARSELt keeps both in one tensor, the indices in an order that NVIDIA does not document, as
    it may change (NVIDIA/CUDALibrarySamples, issue 167): places cannot be told from it.
    """
    for name, one in state.items():
        if not isinstance(one, torch.sparse.SparseSemiStructuredTensor):
            yield name, one
        elif one.packed is None or one.meta is None:
            raise SpecError(
                f"{path}: {name} is a {type(one).__name__}, which keeps its indices in an order "
                "of cuSPARSELt's own that nobody documents: expected CUTLASS' or a dense one"
            )
        else:
            yield f"{name}.packed", one.packed
            yield f"{name}.meta", one.meta


def _semi_structured(torch: ModuleType) -> list[Any]:
    """What a file may name beside plain tensors."""
    from_type = torch._tensor._rebuild_from_type_v2  # noqa: SLF001 (as torch.save writes it)
    wrapped = torch._utils._rebuild_wrapper_subclass  # noqa: SLF001
    kinds = torch.sparse
    return [
        from_type,
        wrapped,
        kinds.SparseSemiStructuredTensor,
        kinds.SparseSemiStructuredTensorCUTLASS,
        kinds.SparseSemiStructuredTensorCUSPARSELT,
    ]
