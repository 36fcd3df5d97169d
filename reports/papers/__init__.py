"""A page per paper: what it prints of hardware beside what nmsim computes."""
