"""The commands of ``nmsim``, those of a kind a module, loaded when they are called."""
