"""Arrays that skip every product with a zero: cycles that depend on the bits of both masks."""
