"""Sweeps: an experiment's points run through an executor, into a store, so that none is lost."""

from nmsim.run.sweep.chunks import Workers, finished
from nmsim.run.sweep.outcome import outcomes
from nmsim.run.sweep.sweeping import sweep

__all__ = ["Workers", "finished", "outcomes", "sweep"]
