"""Llama 3 as it is served, dense and 2:4."""
