"""Machines, one per YAML file with its sources, and the schema that each file obeys."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from nmsim.dataflow import DATAFLOWS
from nmsim.errors import SpecError
from nmsim.pattern import Pattern, PatternField
from nmsim.spec import Catalog, Spec, override, validate

__all__ = ["HARDWARE", "Dram", "Machine", "Sram", "SystolicArray", "load_hardware"]

Position = Literal["a", "b", "either"]
Kib = Annotated[float, Field(ge=2**-10, le=2**40)]
Exposure = Literal["exposed", "overlapped", "uncounted"]


class Sram(Spec):
    """On-chip buffers, each in two halves: one is filled while the other is read."""

    a_kib: Kib = Field(description="buffer of operand A, KiB")
    b_kib: Kib = Field(description="buffer of operand B, KiB")
    c_kib: Kib = Field(description="buffer of results and sums, KiB")


class Dram(Spec):
    """Off-chip memory: one channel that reads and writes share."""

    gbps: Annotated[float, Field(ge=1e-6, le=1e9)] | None = Field(
        description="bandwidth, 1e9 bytes per second; null: unlimited"
    )
    latency_ns: Annotated[float, Field(ge=0, le=1e9)] = Field(
        0.0, description="from a request to its first byte, ns"
    )


class SystolicArray(Spec):
    """A systolic array of rows x cols processing elements, one MAC per PE and cycle."""

    kind: Literal["systolic"] = Field(description="which engine runs it")
    name: str = Field("", description="filled in from the file's name")
    summary: str = Field(description="one line")
    source: str = Field(description="where the figures come from")
    rows: Annotated[int, Field(ge=1, le=65536)] = Field(description="R, processing elements")
    cols: Annotated[int, Field(ge=1, le=65536)] = Field(description="C, processing elements")
    dataflow: str = Field(description="what stays in the array: `nmsim list dataflows`")
    clock_mhz: Annotated[float, Field(ge=1e-3, le=1e6)] = Field(
        description="cycles per microsecond"
    )
    operand_bits: Annotated[int, Field(ge=1, le=64)] = Field(description="width of A and B")
    accumulator_bits: Annotated[int, Field(ge=1, le=64)] = Field(description="width of sums")
    output_bits: Annotated[int, Field(ge=1, le=64)] = Field(description="width of C in DRAM")
    preload: Exposure = Field(
        "exposed",
        description="shifting the stationary operand in, R cycles: before every fold (exposed), "
        "behind the fold before it (overlapped), or left out (uncounted)",
    )
    drain: Exposure = Field(
        "exposed",
        description="shifting outputs out under os, R cycles: after every fold (exposed), "
        "behind the next one (overlapped), or left out (uncounted)",
    )
    partial_sums: Literal["split", "spill"] = Field(
        "split",
        description="when half the C buffer cannot hold a fold's partial sums: stream fewer rows "
        "per fold (split), or send what does not fit to DRAM and back (spill)",
    )
    im2col: Literal["implicit", "explicit"] = Field(
        "implicit",
        description="a convolution's columns are made on chip from each element once (implicit), "
        "or stand in DRAM (explicit)",
    )
    native: tuple[PatternField, ...] = Field(
        (), description="patterns that the selectors support; a mask that breaks them takes more"
    )
    flexible_group: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="any N:M runs natively up to this group; 0: none but `native`"
    )
    sparse_operand: Position = Field("b", description="operand whose mask the selectors follow")
    may_transpose: bool = Field(
        True, description="may run B.A^T to bring the masked operand to the selectors"
    )
    pad_groups: bool = Field(False, description="K is padded to whole groups")
    sram: Sram
    dram: Dram

    @field_validator("dataflow")
    @classmethod
    def _dataflow_exists(cls, name: str) -> str:
        return DATAFLOWS[name].name

    @property
    def peak_macs(self) -> int:
        """Physical MACs per cycle."""
        return self.rows * self.cols

    def native_for(self, pattern: Pattern) -> Pattern | None:
        """The native pattern under which a mask of this pattern takes fewest slots.

        None if the array has no selectors for it, so that it runs dense.
        """
        if pattern.is_dense:
            return None
        if pattern.group <= self.flexible_group:
            return pattern
        widest = self.flexible_group
        flexible = [Pattern(min(pattern.keep, widest), widest)] if widest else []
        covering = [native for native in (*self.native, *flexible) if native.covers(pattern)]
        return min(covering or self.native, key=lambda native: native.density, default=None)


Machine = SystolicArray

HARDWARE: Catalog[SystolicArray] = Catalog("hardware", Path(__file__).parent, SystolicArray)
"""The machines that ship with nmsim."""


def load_hardware(name: str | Path | Machine, /, **fields: Any) -> Machine:
    """A machine by name, path or value, with any of its fields replaced.

    Parameters
    ----------
    name
        From ``nmsim list hardware``, a path to a YAML file, or a machine.
    **fields
        Fields by name; a dotted path reaches into a group: ``**{"dram.gbps": 100}``.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist, or a field that is unknown or out of range.

    Examples
    --------
    >>> load_hardware("scale-sim", rows=32, cols=16, dataflow="ws").peak_macs
    512
    """
    if isinstance(name, SystolicArray):
        document, where = name.model_dump(), name.name
    else:
        path = HARDWARE.path(name)
        document, where = HARDWARE.document(name), str(path)
        document.setdefault("name", path.stem)
    for field, value in fields.items():
        try:
            document = override(document, field, value)
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from error
    return validate(SystolicArray, document, where)
