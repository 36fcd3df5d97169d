"""How near measured data an answer stands: where GEMMs were measured, and a word for any other."""
