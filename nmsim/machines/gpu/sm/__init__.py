"""A streaming multiprocessor, cycle by cycle: programs of warps, one cycle, whole tiles."""
