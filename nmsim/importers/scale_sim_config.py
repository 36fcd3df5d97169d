"""Configurations of SCALE-Sim (``.cfg``): an array, its buffers and its bandwidth, as a machine.

The machine is the catalog's ``scale-sim``, which counts as SCALE-Sim 3 does, with the fields that
the file says (scalesim-project/SCALE-Sim, MIT, ``scalesim/scale_config.py``). A word is one byte
and a cycle one nanosecond, so that words a cycle are GB/s. What SCALE-Sim reads and the machine
does not model is refused by name; what SCALE-Sim reads and never uses in such a run is let be.
"""

import configparser
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nmsim.csv_table import csv_text
from nmsim.errors import SpecError
from nmsim.importing import IMPORTERS, Imported, Importer
from nmsim.registry import unknown_name

__all__ = ["read_config"]

_ARCHITECTURE, _LAYOUT, _SPARSITY = "architecture_presets", "layout", "sparsity"
_SRAM = {"a_kib": "IfmapSramSzkB", "b_kib": "FilterSramSzkB", "c_kib": "OfmapSramSzkB"}
_BANKS = ("IfmapSRAMBankBandwidth", "FilterSRAMBankBandwidth")

_UNUSED = {
    _ARCHITECTURE: (
        *("IfmapOffset", "FilterOffset", "OfmapOffset"),  # where addresses begin
        *("ReadRequestBuffer", "WriteRequestBuffer"),  # of traces for Ramulator
        *("MemoryBanks", "OnChipMemoryBanks", "OnChipMemoryBankPorts"),  # read by layouts alone
    ),
    _LAYOUT: ("IfmapSRAMBankNum", "IfmapSRAMBankPort", "FilterSRAMBankNum", "FilterSRAMBankPort"),
    _SPARSITY: ("SparseRep", "BlockSize", "RandomNumberGeneratorSeed"),
    "network_presets": ("TopologyCsvLoc",),
}
"""What changes no count of a run that is not refused."""

_OFF = {
    (_LAYOUT, "IfmapCustomLayout"): "layouts of banks",
    (_LAYOUT, "FilterCustomLayout"): "layouts of banks",
    (_SPARSITY, "OptimizedMapping"): "row-wise sparsity",
    ("run_presets", "UseRamulatorTrace"): "traces of Ramulator",
}
"""Switches that must be off, and what they would switch on."""

_READ = {
    "general": ("run_name",),
    _ARCHITECTURE: ("ArrayHeight", "ArrayWidth", "Dataflow", "Bandwidth", *_SRAM.values()),
    _LAYOUT: _BANKS,
    _SPARSITY: ("SparsitySupport",),
    "run_presets": ("InterfaceBandwidth",),
}

_KILO = re.compile(r"(ifmapsram|filtersram|ofmapsram)sz$")
"""Sizes as the first version of SCALE-Sim calls them, in kB too."""

_MOST = 1 << 40


def _knows(head: bytes) -> bool:
    return b"\0" not in head and bool(
        re.search(rb"^[ \t]*\[architecture_presets\]", head, re.MULTILINE)
    )


def read_config(path: Path) -> Imported:
    """The fields of a machine's YAML that a configuration stands for.

    Raises
    ------
    SpecError
        naming the section and the field.
    """
    config = _Config.of(path)
    config.check()
    support = config.switch(_SPARSITY, "SparsitySupport")
    document = {
        "based_on": "scale-sim",
        "summary": f"{config.text('general', 'run_name', path.stem)}, as SCALE-Sim counts",
        "source": f"imported from {path.name}, a configuration of SCALE-Sim, based on scale-sim",
        "rows": config.size(_ARCHITECTURE, "ArrayHeight"),
        "cols": config.size(_ARCHITECTURE, "ArrayWidth"),
        "dataflow": config.text(_ARCHITECTURE, "Dataflow").lower(),
        "sram": {name: config.size(_ARCHITECTURE, key) for name, key in _SRAM.items()},
        "dram": {"gbps": config.bandwidth()},
        **({} if support else {"flexible_group": 0}),
    }
    told = () if support else (f"{path}: SparsitySupport is false: masks run dense",)
    if located := config.text("network_presets", "TopologyCsvLoc", ""):
        told = (*told, f"{path}: TopologyCsvLoc is {located}: not followed, a model is named apart")
    return Imported(document, told)


class _Config:
    """The sections of a file, with fields by their names in any case."""

    def __init__(self, path: Path, sections: Mapping[str, Mapping[str, str]]) -> None:
        self.path = path
        self.sections = sections

    @classmethod
    def of(cls, path: Path) -> "_Config":
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(csv_text(path), str(path))
        except configparser.Error as error:
            raise SpecError(
                f"{path}: not a configuration ({' '.join(str(error).split())})"
            ) from error
        sections = {
            section: {_KILO.sub(r"\1szkb", key): text for key, text in parser[section].items()}
            for section in parser.sections()
        }
        return cls(path, sections)

    def fault(self, section: str, key: str, value: str, expected: str) -> SpecError:
        return SpecError(f"{self.path}: [{section}] {key} is {value[:40]!r}, expected {expected}")

    def check(self) -> None:
        """Refuse sections and fields that SCALE-Sim does not have, and what is not modelled."""
        switches = {section: [key for at, key in _OFF if at == section] for section, _ in _OFF}
        known = {
            section: [*read, *_UNUSED.get(section, ()), *switches.get(section, ())]
            for section, read in {**dict.fromkeys(_UNUSED, ()), **_READ}.items()
        }
        for section, fields in self.sections.items():
            if section not in known:
                raise SpecError(f"{self.path}: {unknown_name('section', section, known)}")
            names = {name.lower() for name in known[section]}
            for key in fields:
                if key not in names:
                    error = unknown_name("field", key, known[section])
                    raise SpecError(f"{self.path}: [{section}] {error}")
        for (section, key), what in _OFF.items():
            if self.switch(section, key):
                raise self.fault(section, key, "true", f"false: {what} are not modelled")

    def text(self, section: str, key: str, default: str | None = None) -> str:
        """A field's text; SpecError if it is missing and has no default."""
        found = self.sections.get(section, {}).get(key.lower(), "").strip().strip('"')
        if found or default is not None:
            return found or str(default)
        raise SpecError(f"{self.path}: [{section}] {key} is missing")

    def switch(self, section: str, key: str) -> bool:
        """Whether a switch is on; one that is missing is off."""
        text = self.text(section, key, "false")
        if text.lower() not in ("true", "false"):
            raise self.fault(section, key, text, "true or false")
        return text.lower() == "true"

    def size(self, section: str, key: str, default: str | None = None) -> int:
        """A field's positive integer."""
        return self._sizes(section, key, default, several=False)[0]

    def _sizes(
        self, section: str, key: str, default: str | None, *, several: bool = True
    ) -> list[int]:
        text = self.text(section, key, default)
        parts = [one.strip() for one in text.split(",")] if several else [text]
        for one in parts:
            if not (one.isascii() and one.isdecimal() and 1 <= int(one[:14]) <= _MOST):
                raise self.fault(section, key, text, f"an integer from 1 to {_MOST}")
        return [int(one) for one in parts]

    def bandwidth(self) -> Any:
        """GB/s of the one channel, in place of a port for each operand; None: not limited.

        In USER mode operands are read at the bandwidth of their banks, 10 words a cycle unless
        ``[layout]`` says otherwise, and results written at ``Bandwidth``.
        """
        mode = self.text("run_presets", "InterfaceBandwidth", "CALC")
        if mode.upper() == "CALC":
            return None
        if mode.upper() != "USER":
            raise self.fault("run_presets", "InterfaceBandwidth", mode, "CALC or USER")
        written = min(self._sizes(_ARCHITECTURE, "Bandwidth", None))
        return float(written + sum(self.size(_LAYOUT, key, "10") for key in _BANKS))


IMPORTERS.add(
    "scale-sim-config",
    Importer(
        "scale-sim-config",
        "a configuration of SCALE-Sim",
        "machine",
        _knows,
        lambda path, _: read_config(path),
        suffixes=(".cfg",),
    ),
)
