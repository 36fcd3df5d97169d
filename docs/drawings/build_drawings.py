"""Draw the docs' pictures: ``python docs/drawings/build_drawings.py`` (extra ``reports``)."""

from pathlib import Path

from flow_drawing import flow_svg
from fold_drawing import fold_svg
from lowering_drawing import lowering_svg
from nm_drawing import nm_svg
from placement_drawing import placement_svg
from tile_drawing import tile_svg

from nmsim.files import write_folder

__all__ = ["DOCS", "DRAWINGS"]

DOCS = Path(__file__).resolve().parents[1]
DRAWINGS = {
    "flow.svg": flow_svg,
    "fold.svg": fold_svg,
    "lowering.svg": lowering_svg,
    "nm.svg": nm_svg,
    "placement.svg": placement_svg,
    "tile.svg": tile_svg,
}

if __name__ == "__main__":
    write_folder(DOCS, {name: draw() for name, draw in DRAWINGS.items()})
    print(", ".join(str(DOCS / name) for name in DRAWINGS))
