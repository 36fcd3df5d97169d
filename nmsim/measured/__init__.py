"""Measured times: tables that ship, predictions held against them, constants fitted to them."""
