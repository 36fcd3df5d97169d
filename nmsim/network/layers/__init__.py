"""Layers with geometry of their own: one sort a file."""
