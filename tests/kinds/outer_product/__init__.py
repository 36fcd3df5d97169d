"""Outer-product cores, a kind of machine that the package does not know."""

from pathlib import Path

from nmsim.machines.outer_product.engine import simulate, stored
from nmsim.machines.outer_product.schema import OuterProduct

from nmsim.machines.kind import KINDS, Engine, Kind
from nmsim.machines.width import in_own_width
from nmsim.result import optional_column

ENGINE = Engine(simulate, "outer-product core, one formula")

KINDS.add(
    "outer-product",
    Kind(
        schema=OuterProduct,
        catalog=Path(__file__).parent / "catalog",
        engines={"cycle": ENGINE, "analytical": ENGINE},
        stored=stored,
        passes_us=lambda machine, passes: passes.bytes / (machine.dram_gbps * 1e3),
        in_format=in_own_width,
        operand_bits=lambda machine: machine.operand_bits,
        output_bits=lambda machine: machine.output_bits,
        own_columns=(
            optional_column("columns_skipped", "", "columns of K that no row of B keeps"),
        ),
        columns=lambda machine, works, _results: {
            "columns_skipped": [
                str(work.k - int(stored(machine, work)[1].elements)) for work in works
            ]
        },
        passes_rest_on=lambda _machine: "bytes through DRAM",
    ),
)
