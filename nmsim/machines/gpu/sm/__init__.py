"""A streaming multiprocessor, cycle by cycle: warps, scoreboard, shared memory and tensor cores."""
