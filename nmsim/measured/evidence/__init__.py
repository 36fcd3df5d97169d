"""Evidence of what was measured: gathered from tables, and held to what is left out of them."""
