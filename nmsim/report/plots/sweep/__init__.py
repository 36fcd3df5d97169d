"""Figures of a sweep's design space, a module for each kind of what varies."""
