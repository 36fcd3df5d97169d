"""Folds through an array and its memory: how they are cut, loaded, streamed and stored, in time."""
