"""One pruned operand or both: what the buffers must deliver."""
