"""What L2 still holds of an earlier launch, and how soon a stage arrives for it."""

from nmsim.jit import compiled_uncounted
from nmsim.machines.gpu.chip import Chip, Form, Size, held_share

__all__ = ["load_clocks", "resident"]


@compiled_uncounted
def resident(chip: Chip, form: Form, size: Size) -> tuple[float, float, float]:
    """Shares of A and of B that L2 holds when the launch starts, and of C when it ends.

    A line is lost by what is moved between two of its uses (``held_share``). That is one launch for
    A, and all B of the series for B.
    """
    if form.in_turn == 0:
        return 0.0, 0.0, 0.0
    m, n, k, copies = size
    a, b, c = m * k * form.a * form.a_once, n * k * form.b * form.b_once, m * n * form.out
    held_a = held_share(chip, copies * (a + b + c))
    held_b = held_share(chip, copies * (a + form.in_turn * b + c))
    # A series writes the same C: what is still there is written over, not out.
    return held_a, held_b, held_a if chip.l2_kept > 0 else 0.0


@compiled_uncounted
def load_clocks(chip: Chip, held: float) -> float:
    """Clocks until a stage arrives of which L2 holds a share; from there it comes no later."""
    return chip.load + (min(chip.near, chip.load) - chip.load) * held
