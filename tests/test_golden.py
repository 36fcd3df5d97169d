"""Figures of SCALE-Sim 3, met exactly by the machine that counts as it does."""

import csv
from pathlib import Path

import pytest

from nmsim import machines
from nmsim.gemm import Gemm
from nmsim.machines import load_hardware
from nmsim.mask import SparseGemm

TABLE = Path(__file__).parent / "golden" / "scale-sim.csv"


def published():
    with TABLE.open() as file:
        lines = [line for line in file if not line.startswith("#")]
    return list(csv.DictReader(lines))


@pytest.mark.parametrize("fidelity", machines.FIDELITIES)
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_cycles_and_sram_reads_are_scale_sims(dataflow, fidelity):
    rows = [row for row in published() if row["dataflow"] == dataflow]
    assert len({(row["rows"], row["m"], row["n"], row["k"]) for row in rows}) > 30
    for row in rows:
        machine = load_hardware(
            "scale-sim", rows=int(row["rows"]), cols=int(row["cols"]), dataflow=dataflow
        )
        gemm = Gemm(int(row["m"]), int(row["n"]), int(row["k"]))
        run = machines.simulate(machine, SparseGemm.dense(gemm), fidelity)
        assert (run.cycles, run.stall_cycles) == (int(row["cycles"]), 0), row
        assert run.sram_read_bytes == int(row["a_sram_reads"]) + int(row["b_sram_reads"]), row


def test_physical_os_takes_the_drain_that_scale_sim_leaves_out():
    gemm = SparseGemm.dense(Gemm(50, 40, 30))
    folds = 4 * 2
    kwargs = {"rows": 16, "cols": 24, "dataflow": "os"}
    counted = machines.simulate(load_hardware("scale-sim", **kwargs), gemm)
    physical = machines.simulate(load_hardware("scale-sim", **kwargs, drain="exposed"), gemm)
    assert physical.cycles - counted.cycles == folds * 16
