"""A technology carried over to another node, by published factors.

Stillmaker and Baas, Integration 58 (2017) 74-81, as hwcomponents (MIT) carries their tables: area
by node, energy of logic by node and supply, which fewer nodes have: of others areas alone are known
unless a file says energies of its own. DRAM and wires keep their energy, a gate its leakage;
buffers scale as logic does, which flatters them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nmsim.cost.technology.schema import Technology
from nmsim.errors import SpecError
from nmsim.spec import validate

__all__ = ["AREA", "area_factor", "energy_factor", "scaled"]

AREA: Mapping[float, float] = {
    45: 1.0, 32: 0.46, 20: 0.21, 16: 0.19, 14: 0.17, 10: 0.10, 7: 0.059,
}  # fmt: skip
"""Area of logic by node, over that at 45 nm."""

_ENERGY: Mapping[float, tuple[float, float, float]] = {
    45: (1.103, -0.362, 0.2767),
    16: (0.2958, -0.1241, 0.03024),
    7: (0.1776, -0.09097, 0.02447),
}
"""a, b and c of a V^2 + b V + c: energy of logic at a supply of V volts."""

SOURCE = "Stillmaker and Baas, Integration 58 (2017) 74-81: areas and energies of 45 nm, scaled"


def area_factor(node_nm: float) -> float:
    """Area at a node over that at 45 nm.

    Raises
    ------
    SpecError
        for a node that the tables lack.
    """
    return float(_of(AREA, node_nm))


def energy_factor(node_nm: float, volts: float, base_volts: float) -> float:
    """Energy of logic at a node and supply over that at 45 nm and a supply.

    Examples
    --------
    >>> energy_factor(45, 0.9, 0.9), round(energy_factor(7, 0.8, 0.9), 3)
    (1.0, 0.077)
    """
    return _at(node_nm, volts) / _at(45, base_volts)


def _at(node_nm: float, volts: float) -> float:
    a, b, c = _of(_ENERGY, node_nm)
    return float(a * volts * volts + b * volts + c)


def _of(table: Mapping[float, Any], node_nm: float) -> Any:
    if node_nm not in table:
        known = ", ".join(f"{node:g}" for node in table)
        raise SpecError(f"node_nm is {node_nm:g}, expected one of {known}, which can be scaled to")
    return table[node_nm]


def scaled(base: Technology, document: Mapping[str, Any], path: Path) -> Technology:
    """A technology of 45 nm at another node and supply, other fields replaced as a file says.

    Raises
    ------
    SpecError
        if the base is not of 45 nm with its supply, or the file says no node.
    """
    node, volts = document.get("node_nm"), document.get("volts")
    if base.node_nm is None or base.volts is None or base.node_nm != 45:
        raise SpecError(f"{path}: based_on {base.name}: expected a technology of 45 nm with volts")
    if not isinstance(node, int | float) or not isinstance(volts, int | float):
        raise SpecError(f"{path}: expected node_nm and volts beside based_on")
    own = base.model_dump(mode="python")
    area = area_factor(node)
    for one in own["cells"].values():
        _multiply(one, area)
    if node not in _ENERGY:
        own["energy"] = None
    elif own["energy"] is not None:
        _scale_energies(own["energy"], area, energy_factor(node, volts, base.volts))
    told = {name: f"{text}; {SOURCE}" for name, text in own["sources"].items()}
    found: Technology = validate(
        Technology, {**own, "sources": told, "name": path.stem, **document}, str(path)
    )
    return found


def _scale_energies(own: dict[str, Any], area: float, energy: float) -> None:
    for one in (*(mac["pj"] for mac in own["macs"]), own["register_bit"]):
        _multiply(one, energy)
    for one in own["sram"]:
        one["read_pj"] *= energy
        one["mm2"] *= area
        one["leakage_uw"] *= area


def _multiply(figure: dict[str, Any], factor: float) -> None:
    for name in ("value", "low", "high"):
        if figure[name] is not None:
            figure[name] *= factor
