"""Closed forms of an array: what folds count, how memory keeps them waiting, how they are cut."""
