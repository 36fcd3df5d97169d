"""What synthetic tensors assume, beside tensors of real training steps."""
