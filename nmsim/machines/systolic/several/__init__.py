"""Several arrays alike on one memory channel: how a GEMM is shared out among them, and how long."""
