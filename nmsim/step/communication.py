"""What machines that share a network exchange in a step: an estimate beside each GEMM.

Behind a matrix that is split by its rows, results are summed over the machines, in the number
format of results; behind one that is split by its vocabulary, they are collected. Nothing is hidden
behind a GEMM. Left out: the sum behind an embedding whose entries are split, once a step, and all
of it on a machine whose file says no ``link``.
"""

from nmsim.gemm import Gemm
from nmsim.machines import Machine, kind_of
from nmsim.network.layer import Layer
from nmsim.network.parallel import Split, exchanges

__all__ = ["communication_us"]


def communication_us(
    machine: Machine, layer: Layer, gemm: Gemm, split: Split | None, batch: int, machines: int
) -> float | None:
    """Microseconds of exchanges behind one GEMM, all repeats; None: the machine says no link."""
    if machine.link is None:
        return None
    kind, elements = exchanges(layer, split, batch, machines)
    if not kind or not gemm.launches:
        return 0.0
    size = elements * kind_of(machine).output_bits(machine) / 8
    once = machine.link.us("all-reduce" if kind == "all-reduce" else "all-gather", size, machines)
    return once * layer.repeat
