"""``nmsim cost``: what it prints, the Verilog that it writes, and what it refuses."""

import json
import subprocess
import sys
import time

import pytest
from verilog_bench import installed

from nmsim.cost.price import cost_of
from nmsim.cost.technology import load_technology
from nmsim.machines import chip_of, load_hardware, unmodelled


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "nmsim", "cost", *map(str, arguments)],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_json_holds_the_contract():
    status, out, error = run("systolic-128x128-2to4", "--format", "json")
    assert (status, error) == (0, "")
    found = json.loads(out)
    assert set(found) == {"machine", "pe", "array", "band", "tables"}
    for part in ("pe", "array"):
        own = found[part]
        for name in ("area_ge", "area_um2", "delay_levels", "clock_share", "per_dense_mac"):
            assert own[name] > 0, name
        for one in own["components"]:
            assert {"name", "count", "unit", "area_ge", "area_um2", "source"} <= set(one)
    assert found["pe"]["per_dense_mac"] < 1
    assert found["array"]["area_ge"] > 128 * 128 * found["pe"]["area_ge"]
    assert "horowitz" in found["tables"]


def test_a_table_says_ratios_first():
    _, out, _ = run("gemmini", "--set", "native=[2:4]")
    first = out.splitlines()[1]
    assert first.startswith("A PE takes 1.21")
    assert "times the area of its dense twin" in first
    assert "selection, 4:1" in out


@installed
def test_verilog_is_written_and_compiles(tmp_path):
    folder = tmp_path / "rtl"
    status, _, error = run(
        "systolic-16x16", "--set", "native=[2:4]", "--set", "rows=4", "--verilog", folder
    )
    assert status == 0
    assert "wrote" in error
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["array.v", "mac.v", "pe.v", "select.v"]
    subprocess.run(
        ["iverilog", "-g2012", "-o", tmp_path / "a", *(folder / name for name in files)], check=True
    )


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["ideal"], "does not say what it is built of"),
        (["systolic-16x16", "--technology", "3nm"], "unknown technology '3nm'"),
        (["tpu-v1", "--verilog", "x"], "registers that wait for their fold are not drawn"),
        (["systolic-16x16", "--set", "dram.memory=1"], "dram.memory is 1"),
        (["systolic-16x16", "--verilog", __file__], f"--verilog {__file__}: expected a folder"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(arguments, what):
    status, out, error = run(*arguments)
    assert (status, out) == (2, "")
    assert what in error
    assert len(error.splitlines()) == 1


def test_a_gpu_says_what_is_not_modelled():
    """Its area in no source; the energy of its runs in a band, and no sign claimed within it."""
    status, out, error = run("a100-sxm4-80gb")
    assert (status, error, len(out.splitlines())) == (0, "", 1)
    assert "not modelled" in out
    assert "within 14%, no sign of a saving within it is claimed" in out
    found = json.loads(run("a100-sxm4-80gb", "--format", "json")[1])
    assert found["pe"] is found["array"] is None
    assert (found["band"]["low"], found["band"]["high"]) == pytest.approx((0.86, 1.14))
    assert "nor the energy" in unmodelled(load_hardware("h100-sxm")).said
    status, _, error = run("a100-sxm4-80gb", "--verilog", "x")
    assert status == 2
    assert "does not say what it is built of" in error


def test_the_cost_of_a_machine_takes_less_than_half_a_millisecond():
    machine, table = load_hardware("systolic-128x128-2to4"), load_technology()
    machines = [machine.model_copy(update={"rows": rows}) for rows in range(8, 408)]
    best = min(_seconds(machines[i::4], table) for i in range(4))
    assert best < 0.5e-3


def _seconds(machines, table):
    before = time.process_time()
    for one in machines:
        cost_of(chip_of(one), table)
    return (time.process_time() - before) / len(machines)
