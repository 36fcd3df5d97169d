"""The command ``nmsim cost``: what a machine takes in hardware, and its PEs as Verilog."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim.cli.completion import COMPLETED
from nmsim.cli.console import show_tables, tell, write
from nmsim.cli.options import overrides, refuse_file
from nmsim.cli.panels import HARDWARE, OUTPUT
from nmsim.cost.chip import Chip
from nmsim.cost.price import cost_of
from nmsim.cost.technology import DEFAULT, load_technology
from nmsim.cost.verilog import array_design, pe_design
from nmsim.files import write_folder
from nmsim.machines import Unmodelled, chip_of, load_hardware, unmodelled
from nmsim.report import cost_said, render_cost

__all__ = ["cost"]


class _Format(StrEnum):
    TABLE = "table"
    JSON = "json"


def cost(
    machine: Annotated[
        str,
        typer.Argument(
            metavar="MACHINE",
            help="A machine (`nmsim list hardware`) or a YAML file.",
            autocompletion=COMPLETED["machine"],
        ),
    ],
    technology: Annotated[
        str,
        typer.Option(
            metavar="T",
            help="A technology (`nmsim list technologies`), a YAML or a Liberty file.",
            rich_help_panel=HARDWARE,
            autocompletion=COMPLETED["technology"],
        ),
    ] = DEFAULT,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Replace a field of the machine. May be repeated.",
            rich_help_panel=HARDWARE,
        ),
    ] = None,
    verilog: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the PE, and an array of them, as Verilog here.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    form: Annotated[
        _Format, typer.Option("--format", help="How to print.", rich_help_panel=OUTPUT)
    ] = _Format.TABLE,
) -> None:
    """What MACHINE takes in hardware: components, area and delay; its PEs as Verilog."""
    known = load_hardware(machine, **overrides(settings))
    left = unmodelled(known) if verilog is None else None
    if left is not None:
        load_technology(technology)  # which is refused where there is none such
        said = json.dumps({"machine": known.name, **_unmodelled(left)}, indent=2)
        write(said if form is _Format.JSON else f"{known.name}: {left.said}")
        return
    chip = chip_of(known)
    found = cost_of(chip, load_technology(technology)).document()
    if verilog is not None:
        refuse_file(verilog, "--verilog")
        write_folder(verilog, _drawn(chip))
        tell(f"wrote {verilog / 'pe.v'} and the modules that it is made of")
    if form is _Format.JSON:
        write(json.dumps({"machine": known.name, **found}, indent=2))
        return
    write(f"{known.name} in {found['tables']['technology']}\n{cost_said(found)}")
    show_tables([render_cost(found["pe"], "one PE"), render_cost(found["array"], "the whole")])
    write("\n".join(f"{name}: {text}" for name, text in found["tables"].items()))


def _unmodelled(left: Unmodelled) -> dict[str, Any]:
    """The document of a machine whose silicon is not modelled: its runs' energy has a band."""
    share = left.energy_band
    of = {"of": "energy of a run", "value": 1.0}
    band = None if share is None else {**of, "low": 1 - share, "high": 1 + share}
    tables = {"energy": left.source} if left.source else {}
    return {"pe": None, "array": None, "not_modelled": left.said, "band": band, "tables": tables}


def _drawn(chip: Chip) -> dict[str, str]:
    """The PE of a chip, and one of its arrays; PEs that intersect have none."""
    if chip.pe.intersects:
        return pe_design(chip.pe)
    at_edge = chip.edge_multiplexers > 0
    return array_design(chip.pe, chip.rows, chip.cols, at_edge=at_edge)
