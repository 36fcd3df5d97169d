"""Measured times of whole steps of networks, training and inference: a table, and predictions."""
