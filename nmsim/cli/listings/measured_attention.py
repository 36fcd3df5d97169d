"""Measured times of fused attention that ship, as ``nmsim list measured-attention`` has them."""

from nmsim.cli.listings.measured import about
from nmsim.measured.attention.tables import ATTENTION_TABLES
from nmsim.registry import Listing

__all__ = ["LISTING"]

LISTING = Listing(
    lambda: ATTENTION_TABLES,
    ATTENTION_TABLES.summary,
    lambda name: about(name, ATTENTION_TABLES.load(name)),
)
