"""Importers of other tools' files, one format a file; each registers what it reads.

An importer knows a file by its first bytes, and makes of it what nmsim's own YAML says of a network
or a machine, or GEMMs (`nmsim.importing`). What a file says is used or refused, by file and line.
"""

import sys

from nmsim.importing import IMPORTERS

__all__ = ["IMPORTERS"]

IMPORTERS.scan(sys.modules[__name__])
