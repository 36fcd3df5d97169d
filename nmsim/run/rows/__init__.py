"""Rows of results: what a GEMM's holds, what stands beside it in a step, and the table of them."""
