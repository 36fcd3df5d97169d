"""The store of a sweep: one SQLite file that holds its points, their rows and how it was asked for.

Only the process that runs a sweep writes it; anybody may read it meanwhile (WAL), through the
views ``points`` and ``rows``.
"""

from nmsim.run.store.reading import STORE, Stored, has_store
from nmsim.run.store.tables import COLUMNS_OF, LABEL_TYPES
from nmsim.run.store.writing import Counts, Outcome, Store

__all__ = [
    "COLUMNS_OF",
    "LABEL_TYPES",
    "STORE",
    "Counts",
    "Outcome",
    "Store",
    "Stored",
    "has_store",
]
