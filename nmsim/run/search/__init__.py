"""Searches: instead of all combinations of an experiment, those that a sampler asks for."""

from nmsim.run.search.searching import Trials, begun, search

__all__ = ["Trials", "begun", "search"]
