"""Exporters of stored results to files of other tools, one format a file; each registers itself.

An exporter makes texts of a table of rows and a manifest, as they stand in a folder of results, or
streams the rows of the folder into one file. It sees no object of the simulator.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from nmsim.registry import Registry

__all__ = ["EXPORTERS", "Exporter"]


class Exporter(NamedTuple):
    """A format of another tool that results can be written in.

    Parameters
    ----------
    summary
        What is written, in a line.
    texts
        From a table (a row a GEMM) and its manifest to the texts of files, by name. Raises
        SpecError where the tool has no word for what the results hold. None: it writes one file.
    file
        From the folder of results to a file at a path, a part of the rows at a time.
    """

    summary: str
    texts: Callable[[pd.DataFrame, Mapping[str, Any]], Mapping[str, str]] | None = None
    file: Callable[[Path, Path], None] | None = None


EXPORTERS: Registry[Exporter] = Registry("format")
"""Formats by name."""

EXPORTERS.scan(sys.modules[__name__])
