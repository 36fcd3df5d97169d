"""Several arrays on one memory channel."""
