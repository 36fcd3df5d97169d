"""Measured times of GEMMs that ship, as ``nmsim list measured`` tells of them."""

from nmsim.measured.tables import MEASURED, MeasuredFile
from nmsim.registry import Facts, Listing

__all__ = ["LISTING", "about"]


def about(name: str, file: MeasuredFile) -> Facts:
    """What a file says of the times that stand beside it."""
    return [("name", name), *((field, str(value)) for field, value in file.model_dump().items())]


LISTING = Listing(lambda: MEASURED, MEASURED.summary, lambda name: about(name, MEASURED.load(name)))
