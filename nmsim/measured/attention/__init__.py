"""Measured times of fused attention: tables that ship, predictions of them, and fits."""
