"""Energy of a run on a GPU, by published figures of a whole system: pJ a bit and a MAC.

Such models err by 11 to 14% on average where they were fitted: the band is 14%, and no sign of a
saving within it means anything. GPUs that nobody published figures of have none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from nmsim.cost.energy import Energy
from nmsim.cost.technology import Band
from nmsim.files import once_per_content
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import Unmodelled
from nmsim.result import Result
from nmsim.spec import Spec, read_yaml, validate

__all__ = ["SystemEnergies", "pricing", "system_energies", "unmodelled"]

Positive = Annotated[float, Field(gt=0, le=1e6)]


_FIGURES = Path(__file__).with_name("energy.yaml")


class SystemEnergies(Spec):
    """What a bit and a MAC take, with all that stands around them."""

    machines: tuple[str, ...] = Field(description="machines that they are of")
    dram_pj_bit: Positive = Field(description="a bit from or to DRAM")
    l1_pj_bit: Positive = Field(
        description="a bit that is read of shared memory, but for once after DRAM, which has it"
    )
    idle_w: Positive = Field(description="watts that a GPU takes at rest")
    mac_pj: Positive = Field(description="a MAC of `mac_bits`")
    mac_bits: Annotated[int, Field(ge=1, le=64)] = Field(description="of its operands")
    band: Annotated[float, Field(ge=0.14, lt=1)] = Field(description="of the total, a share of it")
    source: str


def system_energies() -> SystemEnergies:
    """The published figures."""
    return _read(_FIGURES)


@once_per_content
def _read(path: Path) -> SystemEnergies:
    found: SystemEnergies = validate(SystemEnergies, read_yaml(path), str(path))
    return found


def _published(machine: Gpu) -> bool:
    return bool({machine.name, machine.based_on} & set(system_energies().machines))


def unmodelled(machine: Gpu) -> Unmodelled:
    """What is not said of a GPU's silicon, and what is of its energy."""
    own, area = system_energies(), "area of its tensor cores, dense or sparse, no source says"
    if not _published(machine):
        return Unmodelled(f"not modelled: {area}, nor the energy that its work takes")
    said = (
        f"energy of runs (--cost) within {own.band:.0%}, no sign of a saving within it is claimed"
    )
    return Unmodelled(f"not modelled: {area}; {said}", own.band, own.source)


def pricing(machine: Gpu) -> Callable[[Result], Energy] | None:
    """What results of a GPU take; None for one that nothing was published of.

    Operands of fewer bits take a MAC as much less. What a tensor core does for a 2:4 operand counts
    as MACs that are issued: half as many. A bit of DRAM has its way through L1 in its figure, so
    that L1 is charged for what shared memory reads beyond that.
    """
    own = system_energies()
    if not _published(machine):
        return None
    bits = machine.format(machine.dtype).bits
    mac = own.mac_pj * bits / own.mac_bits

    def priced(result: Result) -> Energy:
        def band(value: float) -> Band:
            return Band(value, value * (1 - own.band), value * (1 + own.band))

        moved = result.dram_read_bytes + result.dram_write_bytes
        again = max(0, result.sram_read_bytes - result.dram_read_bytes)
        return Energy(
            mac=band(mac * result.macs_issued),
            sram=band(8 * own.l1_pj_bit * again),
            dram=band(8 * own.dram_pj_bit * moved),
            static=band(1e6 * own.idle_w * result.time_us),
        )

    return priced
