"""Result tables and manifests made up for the tests of the report: plausible, never simulated."""

import itertools

from nmsim.pattern import Pattern

PEAK = 128 * 128
CLOCK = 940.0

MACHINE = {
    "kind": "systolic",
    "name": "systolic-128x128-2to4",
    "summary": "128x128 array with 2:4 selectors",
    "source": "Norrie et al., IEEE Micro 41(2) 2021, table 1; buffers are our choice",
    "rows": 128,
    "cols": 128,
    "dataflow": "ws",
    "clock_mhz": CLOCK,
    "operand_bits": 16,
    "native": ["2:4"],
    "sram": {"a_kib": 8192, "b_kib": 4096, "c_kib": 4096},
    "dram": {"gbps": 450.0, "latency_ns": 500.0},
}

MANIFEST = {
    "kind": "simulate",
    "nmsim": "0.1.0",
    "schema": 1,
    "command": "nmsim simulate resnet50 --recipe transposable+mvue --pattern 2:4 --batch 32",
    "model": "resnet50",
    "hardware": "systolic-128x128-2to4",
    "recipe": "transposable+mvue",
    "pattern": "2:4",
    "batch": 32,
    "fidelity": "cycle",
    "seed": 0,
    "phases": ["forward", "backward", "update"],
    "layers": None,
    "machine": MACHINE,
    "model_source": "He et al., CVPR 2016",
    "recipe_source": "Hubara et al., NeurIPS 2021; Chmiel et al., ICLR 2023",
    "tensors": "drawn from a normal distribution, seed 0",
}


def row(layer, phase, m, n, k, *, pattern="2:4", hardware="systolic-128x128-2to4", **fields):
    """One row whose figures obey useful <= issued <= cycles x peak."""
    a, b = ("dense", pattern) if phase != "update" else (pattern, "dense")
    count, repeat = fields.get("count", 1), fields.get("repeat", 1)
    macs = m * n * k * count * repeat
    density = Pattern.parse(pattern).density
    issued = int(macs * max(density, 0.5))
    compute = issued // (PEAK * 3 // 4) + 256
    traffic = 2 * (m * k + n * k) * count * repeat
    written = 2 * m * n * count * repeat
    waiting = max(0, int((traffic + written) / 440e9 * CLOCK * 1e6) - compute)
    cycles = compute + waiting
    time = cycles / CLOCK
    dense = int(max(macs // (PEAK * 3 // 4) + 256, cycles * 0.97))
    return {
        "layer": layer,
        "kind": "conv",
        "phase": phase,
        "gradient_of": "",
        "part": "",
        "m": m,
        "n": n,
        "k": k,
        "count": count,
        "repeat": repeat,
        "a_pattern": a,
        "b_pattern": b,
        "transposed": phase == "update",
        "kernel": "ws",
        "engine": "systolic-cycle",
        "hardware": hardware,
        "compute_cycles": compute,
        "stall_cycles": waiting,
        "cycles": cycles,
        "time_us": time,
        "macs_dense": macs,
        "macs_issued": issued,
        "macs_useful": int(macs * density),
        "utilization": issued / (cycles * PEAK),
        "dram_read_bytes": traffic,
        "dram_write_bytes": written,
        "sram_read_bytes": 3 * traffic,
        "metadata_bytes": n * k // 8,
        "scatter_bytes": 0,
        "dram_gbps": (traffic + written) / time * 1e-3,
        "bound": "dram bandwidth" if waiting else "compute",
        "speedup": dense / cycles,
        "dense_cycles": dense,
        "dense_time_us": dense / CLOCK,
        "note": "",
        **fields,
    }


def convolutions():
    """Name, pixels, outputs and reduction length of the 54 GEMM layers of a ResNet-50."""
    yield "conv1", 112 * 112, 64, 147
    inputs = 64
    stages = ((1, 64, 3, 56), (2, 128, 4, 28), (3, 256, 6, 14), (4, 512, 3, 7))
    for stage, width, blocks, side in stages:
        for block in range(blocks):
            name, pixels = f"layer{stage}.{block}", side * side
            yield f"{name}.conv1", pixels, width, inputs
            yield f"{name}.conv2", pixels, width, 9 * width
            yield f"{name}.conv3", pixels, 4 * width, width
            if block == 0:
                yield f"{name}.downsample", pixels, 4 * width, inputs
            inputs = 4 * width
    yield "fc", 1, 1000, 2048


def network(batch=32, phases=("forward", "backward", "update"), **fields):
    """Rows of a whole network, layer by layer."""
    rows = []
    for layer, pixels, outputs, depth in convolutions():
        t = batch * pixels
        sizes = {
            "forward": (t, outputs, depth),
            "backward": (t, depth, outputs),
            "update": (outputs, depth, t),
        }
        for phase in phases:
            if (layer, phase) == ("conv1", "backward"):
                continue
            made = row(layer, phase, *sizes[phase], **fields)
            if layer == "conv1" and phase == "forward":
                made["note"] = "activation ran dense: 3 channels are not a multiple of 4"
            rows.append(made)
    return rows


def attention():
    """Rows of a transformer block: repeats, heads, and two backward GEMMs for a matmul."""
    return [
        row("encoder.qkv", "forward", 4096, 2304, 768, repeat=12, kind="linear"),
        row("encoder.qkv", "backward", 4096, 768, 2304, repeat=12, kind="linear"),
        row("encoder.scores", "forward", 128, 128, 64, count=384, repeat=12, kind="matmul"),
        row("encoder.scores", "backward", 128, 64, 128, count=384, repeat=12, gradient_of="a"),
        row("encoder.scores", "backward", 128, 64, 128, count=384, repeat=12, gradient_of="b"),
    ]


PATTERNS = ("1:2", "2:4", "4:8", "1:4", "2:8", "1:16")
MACHINES = {
    "systolic-128x128-2to4": MACHINE,
    "systolic-128x128-flexible": {
        **MACHINE,
        "name": "systolic-128x128-flexible",
        "dram": {"gbps": 225.0, "latency_ns": 500.0},
    },
}

SWEEP_MANIFEST = {
    "kind": "sweep",
    "nmsim": "0.1.0",
    "schema": 1,
    "command": "nmsim sweep experiment.yaml",
    "models": ["resnet50", "bert-base"],
    "hardware": list(MACHINES),
    "recipes": ["transposable+mvue"],
    "patterns": list(PATTERNS),
    "batches": [32],
    "fidelities": ["cycle", "analytical"],
    "seed": 0,
    "machines": MACHINES,
    "title": "Which pattern pays off",
    "question": "Does a finer group gain more than it costs?",
}


_PHASE_GAIN = {"forward": 1.0, "backward": 0.95, "update": 0.8}


def _quicken(made, gain):
    """Give a row a speed-up, and the figures that follow from it."""
    cycles = max(int(made["dense_cycles"] / gain), 1)
    waiting = min(made["stall_cycles"], cycles // 3)
    traffic = made["dram_read_bytes"] + made["dram_write_bytes"]
    time = cycles / CLOCK
    made.update(
        cycles=cycles,
        stall_cycles=waiting,
        compute_cycles=cycles - waiting,
        time_us=time,
        dram_gbps=traffic / time * 1e-3,
        speedup=made["dense_cycles"] / cycles,
    )


def sweep(layers=6):
    """Rows of 2 models x 6 patterns x 2 machines x 2 fidelities x 3 phases."""
    rows = []
    points = itertools.product(
        ("resnet50", "bert-base"), PATTERNS, MACHINES, ("cycle", "analytical")
    )
    for model, pattern, hardware, fidelity in points:
        flexible, exact = hardware.endswith("flexible"), fidelity == "cycle"
        gain = (
            0.9 / Pattern.parse(pattern).density if flexible else 1.6 if pattern != "4:8" else 1.05
        )
        for made in network(pattern=pattern, hardware=hardware)[-3 * layers :]:
            gain_here = gain * _PHASE_GAIN[made["phase"]] * (0.9 if model == "bert-base" else 1)
            _quicken(made, gain_here * (1 if exact else 1.06))
            settings = {
                "model": model,
                "recipe": "transposable+mvue",
                "pattern": pattern,
                "batch": 32,
                "fidelity": fidelity,
                "seed": 0,
            }
            rows.append({**settings, **made})
    return rows
