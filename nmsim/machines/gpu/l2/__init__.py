"""What a launch reads from device memory because L2 does not hold it from one use to the next."""
