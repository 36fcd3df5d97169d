"""Where the values behind each layer's masks come from, and what a checkpoint has beside them."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from nmsim.network.layer import AttentionLayer, Bare, Layer, Matmul
from nmsim.network.operand import ATTENTION_ROLES, Role, TensorName
from nmsim.network.tensors.files import TensorFile
from nmsim.recipes.offered import pruned_roles
from nmsim.recipes.setting import Setting
from nmsim.run.workload import Workload

__all__ = ["Listed", "listed", "values"]

State = Literal["read", "not needed", "synthetic"]


class Listed(NamedTuple):
    """A layer, and what of a checkpoint belongs to it.

    Parameters
    ----------
    layer
        Its name.
    state
        Whether masks are made of its tensors, and of which.
    tensors
        Its own in the file.
    """

    layer: str
    state: State
    tensors: list[str]


def values(workload: Workload, setting: Setting, names: str = "*") -> dict[str, Any]:
    """What a manifest says of the values of a run.

    Returns
    -------
    dict
        ``layer_values``, by layer: "read" of the file, "synthetic", or "not needed", where nothing
        is pruned. Of a file also ``tensors_unused``: how many tensors it has that no layer is the
        owner of. Empty of a trace and, without a file, of GEMMs that are given.
    """
    file = setting.tensors
    drawn = not isinstance(file, TensorFile)
    if workload.trace is not None or (drawn and workload.given):
        return {}
    pruned = pruned_roles(workload.layers, setting, names)
    states = {
        layer.name: _state(layer, pruned, drawn=drawn)
        for layer in workload.layers
        if fnmatchcase(layer.name, names)
    }
    if not isinstance(file, TensorFile):
        return {"layer_values": states}
    return {"layer_values": states, "tensors_unused": len(_unused(file, workload, setting))}


def listed(
    workload: Workload, setting: Setting, names: str = "*"
) -> tuple[list[Listed], list[str]]:
    """The layers with their tensors in a file, and the names of those that no layer has."""
    file = setting.tensors
    if not isinstance(file, TensorFile):
        return [], []
    pruned, batch = pruned_roles(workload.layers, setting, names), setting.batch
    rows = [
        Listed(one.name, _state(one, pruned, drawn=False), file.owned(one, _tensors(one), batch))
        for one in workload.layers
        if fnmatchcase(one.name, names)
    ]
    return rows, _unused(file, workload, setting)


def _state(layer: Layer | Bare, pruned: Mapping[str, frozenset[Role]], *, drawn: bool) -> State:
    made: State = "synthetic" if drawn else "read"
    return made if pruned.get(layer.name) else "not needed"


def _tensors(layer: Layer | Bare) -> tuple[TensorName, ...]:
    """What a file may hold of a layer."""
    if isinstance(layer, AttentionLayer):
        return (*ATTENTION_ROLES, "gradient")
    if isinstance(layer, Matmul):
        return ("activation", "activation_b", "gradient")
    return ("weight", "activation", "gradient")


def _unused(file: TensorFile, workload: Workload, setting: Setting) -> list[str]:
    every = (*workload.layers, *workload.idle)
    used = {key for one in every for key in file.owned(one, _tensors(one), setting.batch)}
    return [key for key in file.held if key not in used]
