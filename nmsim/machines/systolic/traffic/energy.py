"""Energy of a run on arrays: the counters of its row, in the terms that technologies price."""

from collections.abc import Callable, Mapping

from nmsim.cost.energy import Counters, Energy, energy_of, prices_of
from nmsim.cost.technology import Technology
from nmsim.machines.systolic.pe.silicon import chip_of
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.result import Result

__all__ = ["counters_of", "pricing"]


def pricing(machine: SystolicArray, technology: Technology) -> Callable[[Result], Energy]:
    """What results of a machine take in a technology.

    Every slot that is spent takes a MAC, those that a mask leaves empty too; registers are clocked
    in all PEs while the array works, and not while it waits. A group is read once for the slots
    that share it, as the engines count it.

    Raises
    ------
    SpecError
        if the technology says nothing of energies, or not of the machine's memory.
    """
    prices = prices_of(chip_of(machine), technology)
    return lambda result: energy_of(prices, counters_of(machine, result))


def counters_of(machine: SystolicArray, result: Result) -> Counters:
    """What a result counts."""
    own = result.own

    def moved(name: str) -> float:
        both = own[f"sram_{name}_read_bytes"] + own[f"sram_{name}_write_bytes"]
        return 8.0 * float(both)

    return Counters(
        macs=result.macs_issued,
        cycles=result.compute_cycles,
        sram_bits={name.upper(): moved(name) for name in "abc"},
        metadata_bits=_metadata(own),
        hop_bits=own["passed_bits"] + own["passed_sums"] * machine.accumulator_bits,
        dram_bits=8.0 * (result.dram_read_bytes + result.dram_write_bytes),
        time_us=result.time_us,
    )


def _metadata(own: Mapping[str, float]) -> dict[str, float]:
    """Bits of metadata that are read, by buffer, of those that any is read from."""
    read = {name.upper(): 8.0 * own[f"sram_{name}_metadata_read_bytes"] for name in "ab"}
    return {name: bits for name, bits in read.items() if bits}
