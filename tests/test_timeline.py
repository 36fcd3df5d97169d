"""``nmsim timeline``: the run of one tile as a trace."""

import json
import sys
from pathlib import Path

import pytest

import nmsim
from nmsim import cli
from nmsim.machines import load_hardware
from nmsim.machines.gpu import cycle
from nmsim.mask import SparseGemm


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder; status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nmsim", "timeline", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        shown = capsys.readouterr()
        return stop.value.code or 0, shown.out, shown.err

    return run


def nested(spans):
    """Whether spans of a thread lie within each other or apart, as viewers of traces need it."""
    ends = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        while ends and ends[-1] <= start:
            ends.pop()
        if ends and end > ends[-1]:
            return False
        ends.append(end)
    return True


@pytest.mark.parametrize(
    ("arguments", "kernel"),
    [
        (("gemm:512x384x256",), "cublas 64x32x64_3"),
        (("gemm:512x384x256", "--kernel", "128x128x32_5"), "cublas 128x128x32_5"),
        (
            ("gemm:512x384x256", "--recipe", "asp", "--set", "masks=always"),
            "cutlass-profiler 64x64x64_4",
        ),
        (("gemm:300x200x512", "--hardware", "h100-sxm"), "cublas"),
        (("gemm:300x200x128", "--set", "dtype=fp32", "--recipe", "asp"), "nm-spmm"),
    ],
)
def test_a_trace_nests_and_lasts_as_long_as_the_tile(run, arguments, kernel):
    status, out, err = run(*arguments, "--out", "tile.json")
    assert (status, err) == (0, "wrote tile.json\n")
    document = json.loads(Path("tile.json").read_text())
    assert document["otherData"]["kernel"].startswith(kernel)
    assert document["otherData"]["kernel"] in out
    spans = [row for row in document["traceEvents"] if row["ph"] == "X"]
    threads = {}
    for row in spans:
        at, long = row["args"]["cycle"], row["args"]["cycles"]
        threads.setdefault((row["pid"], row["tid"]), []).append((at, at + long))
    assert all(map(nested, threads.values()))
    tile, *parts = spans[:4]
    assert tile["args"]["cycles"] == sum(part["args"]["cycles"] for part in parts)
    assert tile["args"]["cycles"] == max(end for ends in threads.values() for _, end in ends)
    assert document["otherData"]["instructions"].endswith(f"written {len(spans) - 4:,}")


def test_the_tile_is_that_of_the_simulated_gemm(run):
    run("gemm:4096x4096x1024", "--out", "tile.json", "--limit", 50)
    document = json.loads(Path("tile.json").read_text())
    machine = load_hardware("a100-sxm4-80gb")
    _, outcome = cycle.run_work(machine, SparseGemm.dense(nmsim.Gemm(4096, 4096, 1024)))
    tile = next(row for row in document["traceEvents"] if row["name"] == "tile")
    assert tile["dur"] == outcome.waves[0].tile.cycles / machine.clock_mhz
    assert sum(row["ph"] == "X" for row in document["traceEvents"]) == 54
    assert document["otherData"]["instructions"].endswith("written 50")


def test_one_gemm_of_a_network_is_chosen_by_layer_and_phase(run):
    chosen = ("--layer", "pooler.dense", "--phase", "update")
    assert run("bert-base", *chosen, "--batch", 8, "--out", "tile.json")[0] == 0
    assert json.loads(Path("tile.json").read_text())["otherData"]["GEMM"].startswith("768×768×8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bert-base",), "expected one GEMM, found more than one"),
        (("bert-base", "--layer", "nothing"), "nothing"),
        (("gemm:8x8",), "gemm:8x8"),
        (("gemm:64x64x64", "--hardware", "ideal"), "machines of its kind have no timeline"),
        (("gemm:1x1024x1024", "--hardware", "rtx3090"), "matrix-vector has no tiles"),
        (("gemm:64x64x64", "--kernel", "tall"), "unknown kernel 'tall'"),
        (("gemm:64x64x64", "--limit", 0), "--limit"),
        (("gemm:64x64x64", "--out", "no/such/folder.json"), "cannot be written"),
        (("gemm:64x64x64", "--out", "."), "cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(run, tmp_path, arguments, says):
    status, out, err = run("--out", "tile.json", *arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
