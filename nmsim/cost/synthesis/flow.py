"""One run of Yosys: modules in, cells by kind and depth out, with all that it depends on.

The same MAC has from 3,540 to 9,190 transistors by version, options and flattening, so a count says
nothing without its flow. Three are pinned, the second with Yosys' own multiplier and with Booth's,
the others with its own:

- ``kept``: the MAC keeps its hierarchy, nothing is optimised across its border; what stands beside
  it is exactly what was written. ``synth -noabc``.
- ``flat``: all in one, ``synth``, which restructures the MAC with what is beside it.
- ``raw``: all in one, ``synth -noabc``: levels as they were written.

With a Liberty file the ``flat`` netlist is mapped to that library's cells, which gives an area.

Flip-flops with enables become plain ones and multiplexers (``dfflegalize``), because ``stat -tech
cmos`` counts an enabled one as nothing.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nmsim.cost.bill import Cell
from nmsim.cost.technology import load_technology
from nmsim.errors import NmsimError
from nmsim.extras import extra
from nmsim.spec import read_text

__all__ = ["Flow", "Synthesised", "script", "synthesise", "transistors"]

Flow = Literal["kept", "flat", "raw"]

_CELLS: Mapping[str, Cell] = {
    "$_DFF_P_": "dff",
    "$_MUX_": "mux2",
    "$_NOT_": "not",
    "$_AND_": "and2",
    "$_OR_": "or2",
    "$_NAND_": "nand2",
    "$_NOR_": "nor2",
    "$_XOR_": "xor2",
    "$_XNOR_": "xnor2",
    "$_ANDNOT_": "andnot",
    "$_ORNOT_": "ornot",
}


def transistors(cells: Mapping[Cell, float]) -> float:
    """Of cells in CMOS, as ``stat -tech cmos`` of Yosys counts them (technology ``generic``)."""
    table = load_technology("generic")
    return sum(table.area(cell) * count for cell, count in cells.items())


@dataclass(frozen=True)
class Synthesised:
    """What Yosys made of a top module.

    Parameters
    ----------
    cells
        Of the top module; those of the MAC apart where it keeps its hierarchy.
    mac_cells
        Of the MAC, where it keeps its hierarchy.
    levels
        Cells on the longest path from register to register.
    version, script
        Of Yosys, and what it was told.
    area
        Of the cells of a library, where it was mapped to one.
    """

    cells: Mapping[Cell, int]
    mac_cells: Mapping[Cell, int]
    levels: int
    version: str
    script: str
    area: float | None = None

    @property
    def transistors(self) -> int:
        """Of all cells."""
        return round(transistors(self.cells) + transistors(self.mac_cells))


def script(top: str, flow: Flow, *, booth: bool, mapped: bool = False) -> str:
    """What Yosys is told, files apart; ``mapped``: to the cells of ``cells.lib``."""
    keep = "setattr -mod -set keep_hierarchy 1 mac; " if flow == "kept" else ""
    options = " -noabc" * (flow != "flat") + " -booth" * booth
    library = "-liberty cells.lib" if mapped else ""
    cells = f"dfflibmap {library}; abc {library}" if mapped else "dfflegalize -cell $_DFF_P_ 01"
    return (
        f"hierarchy -top {top}; {keep}synth -flatten{options} -top {top}; {cells}; opt_clean; "
        f"delete t:$scopeinfo; tee -q -o stat.json stat -json {library}; "
        "tee -q -o ltp.txt ltp -noff"
    )


def synthesise(
    files: Mapping[str, str],
    top: str,
    flow: Flow = "kept",
    *,
    booth: bool = False,
    liberty: Path | None = None,
) -> Synthesised:
    """Synthesise the modules of some files.

    Raises
    ------
    MissingExtra
        without the extra ``synth``.
    NmsimError
        if Yosys refuses; says why.
    """
    yosys = extra("synth", "nmsim.cost.synthesis.yosys")
    told = script(top, flow, booth=booth, mapped=liberty is not None)
    with tempfile.TemporaryDirectory(prefix="nmsim-synth-") as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        if liberty is not None:
            (Path(folder) / "cells.lib").write_text(read_text(liberty))
        _run([*yosys.COMMAND, "-q", "-p", f"read_verilog -sv {' '.join(files)}; {told}"], folder)
        stat = json.loads((Path(folder) / "stat.json").read_text())
        depth = (Path(folder) / "ltp.txt").read_text()
    modules = {name.lstrip("\\"): one for name, one in stat["modules"].items()}
    area = modules[top].get("area") if liberty is not None else None
    return Synthesised(
        cells={} if liberty is not None else _kinds(modules[top]),
        mac_cells=_kinds(modules["mac"]) if flow == "kept" and top != "mac" else {},
        levels=max(map(int, re.findall(r"length=(\d+)", depth)), default=0),
        version=yosys.found_version(),
        script=told,
        area=None if area is None else float(area),
    )


def _run(command: Sequence[str], folder: str) -> None:
    """Run Yosys in a folder, and hand on in one line why it ended."""
    ran = subprocess.run(  # noqa: S603, our own Python and our own script
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        lines = (ran.stderr or ran.stdout).strip().splitlines()
        raise NmsimError(f"Yosys: {lines[-1] if lines else 'ended'} (status {ran.returncode})")


def _kinds(module: Mapping[str, Mapping[str, int]]) -> dict[Cell, int]:
    """Cells of a module by kind; instances of the MAC are none."""
    found = module["num_cells_by_type"]
    unknown = [name for name in found if name not in _CELLS and name.lstrip("\\") != "mac"]
    if unknown:
        raise NmsimError(f"Yosys: cells {', '.join(unknown)} that nobody counts")
    return {_CELLS[name]: count for name, count in found.items() if name in _CELLS}
