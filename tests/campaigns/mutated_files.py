"""Does a damaged file end in the right answer or in one line, never in a traceback or a hang?

``python tests/campaigns/mutated_files.py [--files N] [--seed S]``; 10,000 files take half a
minute. Small files of every format that an importer reads, networks as YAML, and checkpoints are
changed at random: bytes, cells, numbers, lines. Each is read and its GEMMs are listed, in a process
of at most 4 GiB; a checkpoint gives the mask of a layer that was pruned elsewhere. What is answered
of a table or a topology is held to a plain reading of the same text, and a mask to one of the
checkpoint by the library of its format. The line gives how many were answered and refused; what
failed is kept and named.
"""

import argparse
import csv
import io
import multiprocessing
import random
import resource
import tempfile
from collections import Counter
from math import ceil, prod
from pathlib import Path

import numpy as np
import onnx_models
import safetensors.numpy

from nmsim.errors import NmsimError
from nmsim.importing import import_document, importer_of
from nmsim.machines import load_hardware
from nmsim.network.catalog import Network, load_model
from nmsim.network.layer import lowered
from nmsim.run.point import Point
from nmsim.run.workload import load_workload
from nmsim.spec import validate

MEMORY = 4 << 30
PATIENCE = 20
"""Bytes that a process may address, and seconds that a file may take."""

TABLE = b"""layer,m,n,k,count,batch,phase,dtype,a_pattern,b_pattern,repeat
a,64,32,128,1,1,forward,fp16,,2:4,1
b,8,8,16,4,2,update,,4:8,,3
"c, quoted",1,2,3,,,,,,,
"""
TOPOLOGY = b"""\xef\xbb\xbf\
Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, \
Strides, Sparsity,
Alexnet,
Conv1, 224, 220, 11, 9, 3, 96, 4, 1:4,
,,,,,,,,
DPW, 14, 14, 3, 3, 32, 1, 2, ,
Conv2_dw, 27, 27, 5, 5, 1, 1, 1,, #dw
"""
GEMMS = b"""Layer, M, N, K, Sparsity,
a, 4, 6, 32, 3:4,
b, 2, 6, 32, 1:4,
"""
CONFIG = b"""[general]
run_name = a

[architecture_presets]
ArrayHeight:    12
ArrayWidth:     14
IfmapSramSzkB:    36
FilterSramSzkB:   36
OfmapSramSzkB:    36
IfmapOffset:    0
Dataflow : ws
Bandwidth : 10

[sparsity]
SparsitySupport : false

[run_presets]
InterfaceBandwidth: USER
"""
NETWORK = b"""summary: x
source: x
batch: 2
layers:
  - {name: c, type: conv, in_channels: 4, out_channels: 8, kernel: 3, stride: 2,
     padding: [[0, 1], 1], input_size: 16}
  - {name: l, type: linear, in_features: 64, out_features: 32, tokens: 4, pattern: "2:4"}
  - {name: m, type: matmul, m: 8, n: 8, k: 4, heads: 2}
"""
LOOPS = b"""- id: 0
  operator_type: Conv
  equation: O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]
  dimension_relations: [ix=2*ox+1*fx, iy=2*oy+1*fy]
  loop_dims: [B, K, C, OY, OX, FY, FX]
  loop_sizes: [1, 64, 3, 112, 112, 7, 7]
  pr_loop_dims: [IX, IY]
  pr_loop_sizes: [224, 224]
  padding: [[3, 3], [3, 3]]
  operand_precision: {W: 8, I: 8, O: 16, O_final: 8}
  operand_source: {I: 0, W: 0}
- id: 1
  operator_type: Gemm
  equation: O[b][k]+=W[k][c]*I[b][c]
  loop_dims: [B, K, C]
  loop_sizes: [1, 64, 32]
  operand_precision: {W: 16, I: 16, O: 16}
  operand_source: {I: 0, W: 1}
"""
HUGGING = b'{"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32}'

ONE = "layers: [{name: fc, type: linear, in_features: 16, out_features: 8}]"
"""The network that checkpoints are of."""


def _weights():
    """A weight at 2:4 of which some groups keep fewer."""
    values = np.arange(1, 129, dtype=np.float32).reshape(8, 16)
    values[:, ::2] = 0
    values[3, :5] = 0
    return values


def _npz():
    whole = io.BytesIO()
    np.savez(whole, **{"fc.weight": _weights(), "fc.bias": np.zeros(8)})
    return whole.getvalue()


def _packed():
    """The weight as compressed-tensors keeps it."""
    values = _weights()
    return {
        "fc.weight.compressed": values[values != 0],
        "fc.weight.bitmask": np.packbits(values != 0, axis=1, bitorder="little"),
        "fc.weight.shape": np.array([8, 16]),
    }


def _torch():
    """A file of torch.save; without PyTorch there is none to change."""
    try:
        import torch  # noqa: PLC0415
    except ImportError:
        return {}
    whole, older = io.BytesIO(), io.BytesIO()
    state = {"fc.weight": torch.tensor(_weights()), "fc.bias": torch.zeros(8)}
    torch.save(state, whole)
    torch.save({"state_dict": state}, older, _use_new_zipfile_serialization=False)
    return {"weights.pt": whole.getvalue(), "weights-older.bin": older.getvalue()}


SHARD = "shard-1.safetensors"
CHECKPOINTS = {
    "weights.safetensors": safetensors.numpy.save(
        {
            "fc.weight": (_weights() != 0).astype(np.int8),
            "fc.weight_scale": np.ones((8, 1), np.float32),
        }
    ),
    "mask.safetensors": safetensors.numpy.save({"model.fc.mask": _weights() != 0}),
    "packed.safetensors": safetensors.numpy.save(_packed()),
    "weights.npz": _npz(),
    "weights.safetensors.index.json": b"""{"metadata": {"total_size": 544},
"weight_map": {"fc.weight": "shard-1.safetensors", "fc.bias": "shard-1.safetensors"}}""",
    **_torch(),
}
"""Files that ``--tensors`` takes."""

FILES = {
    **CHECKPOINTS,
    "table.csv": TABLE,
    "topology.csv": TOPOLOGY,
    "gemms.csv": GEMMS,
    "array.cfg": CONFIG,
    "network.yaml": NETWORK,
    "loops.yaml": LOOPS,
    "config.json": HUGGING,
    "windows.onnx": onnx_models.convolutions(2, 48),
    "attention.onnx": onnx_models.attention(2, 16),
}
TOKENS = (
    *(b"0", b"-1", b"1.5", b"1e9", b"4294967296", b"9" * 40, b"nan", b"", b"\xd9\xa3", b"true"),
    *(
        b"2:4",
        b"5:4",
        b"0:0",
        b"#",
        b"\0",
        b"\xff",
        b'"',
        b"\n",
        b",",
        b";",
        b"\t",
        b"{",
        b"[",
        b":",
    ),
    *(b"&a", b"*a", b"<<: *a", b"!!int", b"DP", b"m", b"null", b"\r", b"\xe2\x80\xa8", b"../x"),
)


def mutated(data, draw):
    """The bytes of a file, changed a few times."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        data = draw.choices(*zip(*CHANGES, strict=True))[0](data, draw)
    return data


def _place(data, draw):
    return draw.randrange(len(data) + 1)


def _flip(data, draw):
    at = _place(data, draw)
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def _cut(data, draw):
    at = _place(data, draw)
    return data[:at] + data[at + draw.randrange(1, 40) :]


def _insert(data, draw):
    at = _place(data, draw)
    return data[:at] + draw.choice(TOKENS) + data[at:]


def _replace_number(data, draw):
    return _number(data, draw, draw.choice(TOKENS))


def _number(data, draw, instead):
    digits = [at for at, byte in enumerate(data) if 48 <= byte < 58]
    if not digits:
        return data
    at = end = draw.choice(digits)
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    return data[:at] + instead + data[end:]


def _line(data, draw):
    lines = data.split(b"\n")
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def _double(data, draw):
    at = _place(data, draw)
    part = data[at : at + draw.randrange(1, 200)]
    return data[:at] + part * draw.choice((2, 3, 50)) + data[at + len(part) :]


def _end(data, draw):
    return data[: _place(data, draw)]


def _resize(data, draw):
    """Another number in the place of one: what most files survive."""
    return _number(data, draw, str(draw.choice((1, 2, 3, 7, 8, 16, 60, 999))).encode())


def _case(data, draw):
    """The first line in another case, or with other blanks."""
    first, end, rest = data.partition(b"\n")
    return (
        draw.choice((first.upper(), first.lower(), b" " + first + b" "))[: len(first) + 2]
        + end
        + rest
    )


def _separators(data, draw):
    return data.replace(b",", draw.choice((b";", b"\t", b" , ")))


CHANGES = (
    *((_flip, 2), (_cut, 1), (_insert, 2), (_replace_number, 2), (_line, 1), (_double, 1)),
    *((_end, 1), (_resize, 10), (_case, 2), (_separators, 1)),
)
"""Changes, and how often each is made."""


def answered(path):
    """Read a file as a model or a machine; what it is, or why not. Raises if it is wrong."""
    try:
        if path.name.partition("-")[2] in CHECKPOINTS:
            return _given(path)
        importer = importer_of(path)
        if importer is not None and importer.gives == "machine":
            load_hardware(path)
            return "machine"
        gemms = _gemms(path)
        if importer is not None:
            _check(path, importer.name, gemms)
        if importer is not None and importer.gives == "network":
            _, found = import_document(path, "", {})
            validate(Network, found.content, str(path))
        return f"{len(gemms)} GEMMs"
    except NmsimError as error:
        if not str(error) or "\n" in str(error).strip():
            raise AssertionError(f"not one line: {error}") from error
        return ""


def _given(path):
    """The mask that a checkpoint gives of the one layer; it must be what the library reads."""
    point = Point(path.parent / "one.yaml", recipe="given", tensors=path, phases=("forward",))
    (work_done,) = point.sparse_gemms()
    bits = work_done.b.bits()
    if path.suffix == ".npz":
        with np.load(path) as archive:
            wanted = archive["fc.weight"] != 0
    elif path.suffix == ".safetensors":
        held = safetensors.numpy.load_file(path)
        wanted = _kept(held)
    else:
        wanted = None
    if wanted is not None and not (bits == wanted).all():
        raise AssertionError(f"{np.count_nonzero(bits != wanted)} bits are other than in the file")
    return f"{np.count_nonzero(bits)} kept"


def _kept(held):
    """The mask of a few arrays, whatever they are called; None where names do not tell."""
    if "fc.weight.bitmask" in held:
        kept = np.unpackbits(held["fc.weight.bitmask"], axis=1, bitorder="little").astype(bool)
        kept[kept] = held["fc.weight.compressed"].reshape(-1) != 0
        return kept
    masks = [held[name] != 0 for name in held if name.endswith("fc.mask")]
    if masks:
        return masks[0]
    if "fc.weight" in held and "fc.weight_scale" in held:
        return held["fc.weight"] * held["fc.weight_scale"].reshape(-1, 1) != 0
    return None


def _gemms(path):
    workload = load_workload(str(path))
    every = (one for layer in workload.layers for one in lowered(layer, workload.default_batch))
    found = [one.gemm for one in every if one.gemm.phase == "forward" or workload.given]
    if not workload.given:
        load_model(path)
    return found


def _check(path, name, gemms):
    """Hold what was answered of a text to a plain reading of its cells."""
    if name == "scale-sim":
        wanted = _by_rule(path)
        found = Counter()
        for gemm in gemms:
            found[gemm.layer] += gemm.macs
        if list(found.values()) != wanted:
            raise AssertionError(f"MACs are {list(found.values())}, expected {wanted}")
    if name == "csv":
        wanted = _by_cells(path)
        if [gemm.macs for gemm in gemms] != wanted:
            raise AssertionError(f"MACs are {[gemm.macs for gemm in gemms]}, expected {wanted}")


def _by_cells(path):
    """MACs of each row of a table, as the csv module reads it."""
    text = path.read_text("utf-8-sig")
    start = next(line for line in text.splitlines() if line.strip())
    rows = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=start.count))
    header, *rest = ([cell.strip().lower() for cell in row] for row in rows if row)
    found = []
    for row in rest:
        cells = dict(zip(header, row, strict=False))
        sizes = [cells.get(name) or "1" for name in ("m", "n", "k", "count", "batch", "repeat")]
        found.append(prod(map(int, sizes)))
    return found


def _by_rule(path):
    """MACs of each line as SCALE-Sim counts them: fields by place, sizes rounded up."""
    lines = path.read_text("utf-8-sig").splitlines()
    start = next(at for at, line in enumerate(lines) if line.strip(" \t,;"))
    delimiter = max(",;\t", key=lines[start].count)
    wanted = []
    for line in lines[start + 1 :]:
        cells = [cell.strip() for cell in line.split("#")[0].split(delimiter)]
        if not any(cells[1:]):
            continue
        height, width, tall, wide, channels, filters = map(int, cells[1:7])
        stride = int(cells[7]) if len(cells) > 7 and cells[7] else 1
        out = ceil((height - tall + stride) / stride) * ceil((width - wide + stride) / stride)
        wanted.append(out * tall * wide * channels * filters)
    return wanted


def work(folder, seed, numbers, results):
    """Try files in a process of bounded memory, and send what came of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in numbers:
        draw = random.Random(f"{seed} {number}")
        name = draw.choice(sorted(FILES))
        path = folder / f"{number}-{name}"
        path.write_bytes(mutated(FILES[name], draw))
        results.send((number, name, None))
        try:
            said = answered(path)
            what = "answered" if said else "refused"
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
            what = f"{type(error).__name__}: {error}"[:300]
        results.send((number, name, what))
        if what in ("answered", "refused"):
            path.unlink()


def campaign(files, seed, folder):
    """Outcomes by format, and what failed, by number."""
    outcomes, failed, left = Counter(), {}, list(range(files))
    context = multiprocessing.get_context("fork")
    while left:
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(folder, seed, left, send))
        process.start()
        send.close()
        at = None
        try:
            while receive.poll(PATIENCE):
                number, name, what = receive.recv()
                at = (number, name)
                if what is None:
                    continue
                outcomes[name, what if what in ("answered", "refused") else "failed"] += 1
                if what not in ("answered", "refused"):
                    failed[number] = f"{name}: {what}"
                left.remove(number)
                at = None
            why = "hung"
        except EOFError:
            why = "died"
        process.kill()
        process.join()
        if at is not None and at[0] in left:
            failed[at[0]] = f"{at[1]}: {why}"
            outcomes[at[1], "failed"] += 1
            left.remove(at[0])
        elif why == "died" and left and at is None:
            raise SystemExit("the process died between two files")
    return outcomes, failed


def main():
    """Run the campaign and print one line, after what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mutated-"))
    (folder / "one.yaml").write_text(ONE)
    shard = {"fc.weight": _weights(), "fc.bias": np.zeros(8, np.float32)}
    safetensors.numpy.save_file(shard, folder / SHARD)
    outcomes, failed = campaign(asked.files, asked.seed, folder)
    for number, why in sorted(failed.items()):
        print(f"{folder}/{number}-{why}")
    count = Counter()
    for (_, what), often in outcomes.items():
        count[what] += often
    print(
        f"{asked.files} files, seed {asked.seed}: {count['answered']} answered, "
        f"{count['refused']} refused, {count['failed']} failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
