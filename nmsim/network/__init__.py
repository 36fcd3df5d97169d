"""What is multiplied: layers, their lowering to GEMMs, their tensors, and networks by name."""
