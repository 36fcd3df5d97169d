"""Files of every kind that a command reads, small and right, with the commands that read them."""

import gzip
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_models
import safetensors.numpy
from mutated_files import CHECKPOINTS, CONFIG, GEMMS, LOOPS, ONE, SHARD, TABLE, TOPOLOGY

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "nmsim" / "machines" / "gpu" / "catalog"
MEASURED = ROOT / "nmsim" / "measured"
sys.path.insert(0, str(ROOT / "tests"))

from test_technologies import ART, ERT, LIBERTY, MAPPED  # noqa: E402

__all__ = ["Kind", "kinds"]


class Kind(NamedTuple):
    """Files, which of them are damaged, and commands of which one reads them."""

    files: dict[str, bytes]
    damaged: tuple[str, ...]
    commands: tuple[str, ...]


def _examples():
    """The commented examples of the docs, by name."""
    texts = (ROOT / "docs" / page for page in ("files.md", "sweeps.md"))
    found = {}
    for text in texts:
        for block in re.findall(r"```ya?ml\n(.*?)```", text.read_text("utf-8"), re.DOTALL):
            named = re.match(r"# (?:\S+/)?(\S+\.yaml)", block)
            if named:
                found[named[1]] = block.encode()
    return found


def _rows(path, many):
    """A table of its first rows and of some others, as bytes."""
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines(keepends=True)
    return b"".join([lines[0], *lines[1 :: len(lines) // many]])


TINY = b"""summary: three layers
source: an example
batch: 4
layers:
  - {name: a.mlp.up, type: linear, in_features: 64, out_features: 32, tokens: 16}
  - {name: embed, type: linear, in_features: 32, out_features: 16, tokens: 16}
  - {name: head, type: linear, in_features: 16, out_features: 16, tokens: 16}
"""
ARRAY = b"based_on: systolic-16x16\nsummary: an array\nsource: an example of a small array\n"
LISTS = b"""title: lists
question: which?
models: [tiny.yaml]
hardware: [systolic-16x16]
recipes: [asp, dense]
patterns: [dense, "2:4"]
batches: [1, 4]
fidelities: [analytical]
layers: "*"
seed: 0
"""
VARIED = b"""title: varied
question: which?
model: tiny.yaml
recipe: asp
hardware: systolic-16x16
fidelity: analytical
vary:
  pattern: ["2:4", dense]
  rows: {from: 8, to: 16, step: 8}
  sram.a_kib: "16..64 points 2 log"
  zip: [{dram.gbps: 100, dram.latency_ns: 60}, {dram.gbps: 400, dram.latency_ns: 100}]
derive: {cols: rows * 2}
when: ["sram.a_kib >= rows or pattern in ('2:4',)", "cols < 1000"]
keep: KEEP
"""
SEARCHED = VARIED.replace(b"keep: KEEP", b"search: {objectives: {step_us: minimize}, trials: 3}")

SHARDED = safetensors.numpy.save({"fc.weight": np.eye(8, 16), "fc.bias": np.zeros(8)})
HUGGING = b"""{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
"intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
"max_position_embeddings": 64, "torch_dtype": "float16", "architectures": ["LlamaForCausalLM"]}"""

QUICK = "--fidelity analytical"
GEMM = f"simulate gemm:64x64x64 --recipe asp {QUICK}"


def _gpu(**others):
    text = _examples()["my-gpu.yaml"]
    for old, new in others.items():
        text = text.replace(old.replace("_", "-").encode(), new.encode())
    return text


def _made(folder):
    """Folders of results and a trace, made by the commands whose output they are."""
    (folder / "tiny.yaml").write_bytes(TINY)
    for keep in ("rows", "layers", "totals"):
        (folder / f"{keep}.yaml").write_bytes(VARIED.replace(b"KEEP", keep.encode()))
    (folder / "measured.csv").write_bytes(_rows(MEASURED / "a100-dense-bf16.csv", 8))
    lines = [
        f"simulate tiny.yaml --hardware systolic-16x16 --recipe asp {QUICK} --out simulated",
        f"simulate tiny.yaml --hardware systolic-16x16 --recipe asp --cost --out priced {QUICK}",
        "validate measured.csv --out validated",
        f"train tiny.yaml --hardware systolic-16x16 --recipe asp --steps 10 {QUICK} --out trained",
        *(f"sweep {keep}.yaml --workers 1 --out {keep}" for keep in ("rows", "layers", "totals")),
        "trace record tiny.yaml --recipe asp --out trace.safetensors",
    ]
    for line in lines:
        subprocess.run(
            [sys.executable, "-m", "nmsim", *line.split()],
            cwd=folder,
            check=True,
            timeout=300,
            capture_output=True,
        )


def _folder(folder, prefix=""):
    return {
        f"{prefix}{one.name}": one.read_bytes()
        for one in folder.iterdir()
        if one.is_file() and one.suffix not in (".html", ".js")
    }


def kinds(folder):
    """Every kind by name; ``folder`` is where results are made first."""
    _made(folder)
    known, found = _examples(), {}
    tiny = {"tiny.yaml": TINY}

    def add(name, damaged_files, commands, **others):
        given = damaged_files if isinstance(damaged_files, dict) else dict(damaged_files)
        found[name] = Kind({**tiny, **others.get("beside", {}), **given}, tuple(given), commands)

    model = known["tiny.yaml"].replace(b"repeat: 2", b"repeat: 1")
    add(
        "model",
        {"own-model.yaml": model},
        (
            f"simulate own-model.yaml --hardware ideal --recipe asp {QUICK}",
            "show models own-model.yaml",
            "memory own-model.yaml --hardware a100-sxm4-80gb",
            f"simulate own-model.yaml --scenario decode --hardware ideal {QUICK}",
            f"train own-model.yaml --hardware ideal --steps 10 --recipe asp {QUICK}",
        ),
    )
    machine = (
        f"{GEMM} --hardware own-machine.yaml",
        f"{GEMM} --hardware own-machine.yaml --cost",
        "cost own-machine.yaml",
        "show hardware own-machine.yaml",
        "simulate gemm:32x32x32 --recipe asp --hardware own-machine.yaml --fidelity cycle",
        f"simulate tiny.yaml --recipe transposable --hardware own-machine.yaml {QUICK}",
    )
    gpu_machine = (*machine[:1], machine[3], *machine[5:])
    add("systolic", {"own-machine.yaml": known["my-array.yaml"]}, machine)
    add("gpu", {"own-machine.yaml": _gpu()}, gpu_machine)
    add("ideal", {"own-machine.yaml": known["my-ideal.yaml"]}, gpu_machine)
    add("based on", {"own-machine.yaml": known["my-a100.yaml"]}, gpu_machine)
    served = _gpu(cusparselt_sm80="./own-kernels.yaml")
    add(
        "kernels",
        {"own-kernels.yaml": known["my-kernels.yaml"]},
        gpu_machine[:1],
        beside={"own-machine.yaml": served},
    )
    add(
        "stack",
        {"own-stack.yaml": known["my-stack.yaml"]},
        (
            f"{GEMM} --hardware a100-sxm4-80gb --stack ./own-stack.yaml",
            f"simulate tiny.yaml --hardware a30 --recipe asp --stack ./own-stack.yaml {QUICK}",
        ),
    )
    attended = _gpu(flash_attention_2_sm80="./own-attention.yaml")
    add(
        "attention",
        {"own-attention.yaml": known["my-attention.yaml"]},
        (f"simulate own-model.yaml --hardware own-machine.yaml {QUICK} --layer 'h.*'",),
        beside={"own-machine.yaml": attended, "own-model.yaml": model},
    )
    add(
        "recipe",
        {"own-recipe.yaml": known["my-recipe.yaml"]},
        (
            f"simulate tiny.yaml --hardware ideal --recipe own-recipe.yaml {QUICK}",
            "show recipes own-recipe.yaml",
            f"train tiny.yaml --hardware ideal --recipe own-recipe.yaml --steps 100 {QUICK}",
        ),
    )
    on = "--hardware systolic-16x16"
    priced = (
        "cost systolic-16x16 --technology {}",
        f"{GEMM} {on} --cost --technology {{}}",
    )
    for name, files, own in (
        ("technology", {"own.yaml": known["my-technology.yaml"]}, "own.yaml"),
        ("Liberty", {"own.lib": LIBERTY.encode()}, "own.lib"),
        (
            "Accelergy",
            {"own.yaml": MAPPED.encode(), "ERT.yaml": ERT.encode(), "ART.yaml": ART.encode()},
            "./own.yaml",
        ),
    ):
        add(name, files, tuple(one.format(own) for one in priced[: 1 if name == "Liberty" else 2]))
    add("experiment", {"lists.yaml": LISTS}, ("sweep lists.yaml --workers 1 --out out",))
    add(
        "varied",
        {"varied.yaml": VARIED.replace(b"KEEP", b"rows")},
        ("sweep varied.yaml --workers 1 --out out",),
    )
    add("searched", {"searched.yaml": SEARCHED}, ("sweep searched.yaml --workers 1 --out out",))
    add(
        "trace",
        {"trace.safetensors": (folder / "trace.safetensors").read_bytes()},
        (
            f"simulate trace.safetensors --hardware systolic-16x16 {QUICK}",
            "trace info trace.safetensors",
            "trace check trace.safetensors",
        ),
    )
    drawn_on = f"simulate one.yaml --hardware ideal --recipe asp --tensors {{}} {QUICK}"
    for name, data in CHECKPOINTS.items():
        add(
            "tensors " + name,
            {name: data},
            (
                f"simulate one.yaml --hardware ideal --recipe given --tensors {name} {QUICK}",
                *([] if name.startswith("mask") else [drawn_on.format(name)]),
                f"simulate one.yaml --tensors {name} --list-tensors",
            ),
            beside={"one.yaml": ONE.encode(), SHARD: SHARDED},
        )
    rows = _rows(MEASURED / "a100-dense-bf16.csv", 8)
    about = (MEASURED / "a100-dense-bf16.yaml").read_bytes()
    table = ("validate measured.csv", "validate measured.csv --out out --predictions p.csv")
    add(
        "measured",
        {"measured.csv": rows, "measured.yaml": about},
        (
            *table,
            "validate measured.csv --hardware h200 --evidence",
            "validate measured.csv --strict",
        ),
    )
    add(
        "measured gz",
        {"measured.csv.gz": gzip.compress(rows, 1), "measured.yaml": about},
        ("validate measured.csv.gz",),
    )
    sparse = _rows(MEASURED / "a100-2to4-fp16.csv", 8)
    add("measured 2:4", {"measured.csv": sparse}, table)
    attention = _rows(MEASURED / "attention" / "flash-attention.csv.gz", 6)
    add("measured attention", {"attention.csv": attention}, ("validate attention.csv",))
    for name, data in (
        ("table.csv", TABLE),
        ("topology.csv", TOPOLOGY),
        ("gemms.csv", GEMMS),
        ("loops.yaml", LOOPS),
        ("config.json", HUGGING),
        ("windows.onnx", onnx_models.convolutions(2, 48)),
        ("attention.onnx", onnx_models.attention(2, 16)),
    ):
        written = () if name in ("table.csv", "gemms.csv") else (f"import {name} --out out.yaml",)
        add("import " + name, {name: data}, (*written, f"simulate {name} --hardware ideal {QUICK}"))
    add(
        "import array.cfg",
        {"array.cfg": CONFIG},
        ("import array.cfg --out out.yaml", f"{GEMM} --hardware array.cfg"),
    )
    gpu = {one.name: one.read_bytes() for one in CATALOG.glob("rtx3090.*")}
    add(
        "evidence",
        {"rtx3090.evidence.npz": gpu["rtx3090.evidence.npz"]},
        (f"{GEMM} --hardware ./rtx3090.yaml",),
        beside=gpu,
    )
    gpu = {one.name: one.read_bytes() for one in CATALOG.glob("l40s.*")}
    add(
        "residual",
        {"l40s.residual.npz": gpu["l40s.residual.npz"]},
        (f"simulate gemm:64x64x64 --hardware ./l40s.yaml --residual {QUICK}",),
        beside=gpu,
    )
    for one in sorted((ROOT / "tests" / "profiles").iterdir()):
        if one.name != "gemms.csv":
            add(
                "profile " + one.name,
                {one.name: one.read_bytes()},
                (f"compare gemms.csv {one.name} --hardware a100-sxm4-80gb --phase forward",),
                beside={"gemms.csv": (one.parent / "gemms.csv").read_bytes()},
            )
    table = "export r --format csv --out o.csv"
    exports = (
        table,
        "export r --format scale-sim --out o",
        "export r --format timeline --out o.json",
    )
    for name in ("simulated", "priced", "validated", "trained", "rows", "layers", "totals"):
        beside, damaged_files = {}, _folder(folder / name, "r/")
        commands = ["report r", "report r"]
        commands += ["compare r torch_trace.json"] if name == "simulated" else []
        commands += exports if name in ("simulated", "priced") else ()
        if name in ("rows", "layers", "totals"):
            beside = {f"{name}.yaml": (folder / f"{name}.yaml").read_bytes()}
            commands += [table] if name != "totals" else []
            commands += [f"sweep {name}.yaml --workers 1 --out r"] * 4
        if name == "simulated":
            beside = {"torch_trace.json": (ROOT / "tests/profiles/torch_trace.json").read_bytes()}
        add("results " + name, damaged_files, tuple(commands), beside=beside)
    return found
