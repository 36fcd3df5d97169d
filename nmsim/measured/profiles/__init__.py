"""Exports of profilers, and the kernels in them beside the GEMMs that a model predicts."""
