"""A training step beside its GEMMs: making masks, elementwise work, memory."""
