"""The Verilog of PEs and arrays, simulated: values, cycle by cycle, against PEs in plain Python."""

import numpy as np
import pytest
from oracle_pe import Intersecting, Pe, pack, wrapped
from verilog_bench import column, installed, run

from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.verilog import array_design, pe_design, select_module
from nmsim.errors import SpecError

ONE = [(1, 1), (2, 4), (1, 4), (4, 8)]


def structure(keep, group, shared, **fields):
    lanes = {"macs": keep, "macs_per_group": keep} if shared else {}
    return PeStructure.selecting(keep, group, **lanes, **fields)


def words(rng, count, bits=8):
    return [int(x) for x in rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), count)]


def pe_cases():
    for keep, group in ONE:
        for dataflow in ("ws", "os"):
            for shared in (False, True) if keep > 1 else (False,):
                for selection in ("any", "ordered") if group > 1 else ("any",):
                    if selection == "ordered" and not shared and dataflow == "os":
                        continue  # a lone multiplier's slot is a parameter: the array's test
                    yield pytest.param(
                        keep, group, dataflow, shared, selection,
                        id=f"{keep}:{group}-{dataflow}-{'shared' * shared}-{selection}",
                    )  # fmt: skip


@installed
@pytest.mark.parametrize(("keep", "group", "dataflow", "shared", "selection"), list(pe_cases()))
def test_a_pe_does_what_the_oracle_does_every_cycle(
    tmp_path, keep, group, dataflow, shared, selection
):
    pe = structure(keep, group, shared, dataflow=dataflow, selection=selection)
    own = Pe(dataflow, pe.macs, pe.macs_per_group, group, ordered=selection == "ordered")
    rng = np.random.default_rng([keep, group, len(dataflow), shared])
    stimuli, wanted = [], []
    lanes, a_words = pe.macs, (pe.groups * group if group > 1 else pe.macs)
    control = "load" if dataflow == "ws" else "drain"
    for cycle in range(60):
        a, b = words(rng, a_words), words(rng, lanes)
        index = [int(i) for i in rng.integers(0, pe.inputs, lanes)]
        sum_in = int(rng.integers(-(2**31), 2**31))
        on = bool(cycle < 2 or rng.random() < 0.3)
        valid = tuple(int(v) for v in rng.integers(0, 2, 2))
        stimuli.append(
            {
                "a_in": pack(a, 8),
                "b_in": pack(b, 8),
                "sum_in": sum_in,
                control: on,
                "a_valid_in": valid[0],
                **({"b_valid_in": valid[1]} if dataflow == "os" else {}),
                **({"index_in": pack(index, pe.index_bits)} if group > 1 else {}),
            }
        )
        wanted.append(shown(own, pe))
        own.step(a, b, index, sum_in, on, valid)
    found = run(tmp_path, pe_design(pe), "pe", stimuli)
    for cycle, (got, want) in enumerate(zip(found, wanted, strict=True)):
        for name, value in want.items():
            if value is not None:
                assert got[name] == value, (cycle, name)
    assert sum(one["sum_out"] is not None for one in wanted) > 50


def shown(own, pe):
    """What the outputs show of a PE."""
    values = {
        "a_out": None if own.a is None else pack(own.a, 8),
        "b_out": None if own.b is None else pack(own.b, 8),
        "sum_out": None if own.sum is None else wrapped(own.sum, 32),
        "a_valid_out": own.a_valid,
    }
    if pe.index_bits:
        values["index_out"] = None if own.index is None else pack(own.index, pe.index_bits)
    if pe.dataflow == "os":
        values["b_valid_out"] = own.b_valid
    return values


@installed
@pytest.mark.parametrize("passes", ["group", "none"])
@pytest.mark.parametrize(("group", "depth"), [(4, 1), (4, 4), (8, 2), (5, 3)])
def test_a_pe_that_intersects_does_what_the_oracle_does_every_cycle(tmp_path, group, depth, passes):
    pe = PeStructure.intersecting(group, depth, passes=passes)
    own = Intersecting(depth)
    rng = np.random.default_rng([group, depth])
    reset = {"reset": 1, "drain": 1}
    stimuli, wanted = [reset, reset], [None, None]
    for cycle in range(300):
        wanted.append((own.ready, not own.groups, wrapped(own.sum, 32)))
        density = 0.2 if cycle % 100 < 50 else 0.8
        a, b = words(rng, group), words(rng, group)
        a_kept, b_kept = (list(map(int, rng.random(group) < density)) for _ in "ab")
        comes = bool(own.ready and rng.random() < 0.7)
        drain, sum_in = bool(rng.random() < 0.05), int(rng.integers(0, 2**20))
        both = {"a_valid_in": comes, "b_valid_in": comes} if passes == "group" else {"push": comes}
        stimuli.append(
            {
                "a_in": pack(a, 8), "b_in": pack(b, 8),
                "a_kept_in": pack(a_kept, 1), "b_kept_in": pack(b_kept, 1),
                "sum_in": sum_in, "drain": drain, **both,
            }
        )  # fmt: skip
        own.step((a, a_kept, b, b_kept) if comes else None, sum_in, drain)
    found = run(tmp_path, pe_design(pe), "pe", stimuli)
    names = ("ready", "idle", "sum_out")
    got = [tuple(one[name] for name in names) for one in found[2:]]
    assert got == [(int(a), int(b), c) for a, b, c in wanted[2:]]
    assert {one[0] for one in got} == {0, 1}


def array_run(tmp_path, pe, size, a, b, index):
    """C of one fold under ws: ``a`` words of each array row by time, ``b`` and ``index`` of PEs."""
    rows, cols = size
    stimuli = []
    for r in reversed(range(rows)):
        stimuli.append({"load": 1, "b_in": edge(b[r], pe.macs * 8)})
        if pe.multiplexers:
            stimuli[-1]["index_in"] = edge(index[r], pe.index_bits)
    first = len(stimuli)
    times = range(len(a) + rows + cols)
    stimuli += [{"a_in": skewed(a, t, rows, a_bits(pe))} for t in times]
    found = run(tmp_path, array_design(pe, rows, cols), "array", stimuli)
    return [[column(found[first + i + rows + c], c) for c in range(cols)] for i in range(len(a))]


def a_bits(pe):
    """Bits that an array row is handed at a time."""
    return 8 * (pe.groups * pe.group if pe.multiplexers else pe.macs)


def skewed(words_at, time, lanes, bits):
    """What comes in at an edge: in each lane a cycle later than in the one before."""
    there = (lane for lane in range(lanes) if 0 <= time - lane < len(words_at))
    return sum(pack(words_at[time - lane][lane], 8) << lane * bits for lane in there)


def edge(values, bits):
    """Words of every column, side by side; ``bits`` are those of a word of an index."""
    each = bits if bits > 7 else bits * len(values[0])
    word = 8 if bits > 7 else bits
    return sum(pack(one, word) << c * each for c, one in enumerate(values))


@installed
@pytest.mark.parametrize(("keep", "group"), [(1, 1), (2, 4), (4, 8)])
def test_an_array_that_holds_sums_multiplies(tmp_path, keep, group):
    """os: slots of both operands follow each other, then sums shift out below; 8x8, ragged."""
    pe = structure(keep, group, False, dataflow="os")
    rows, cols, used, lanes = 8, 8, 6, 5
    rng = np.random.default_rng([keep, group])
    k = 4 * group - (3 if group > 1 else 0)
    a = np.zeros((rows, -(-k // group) * group), int)
    a[:lanes, :k] = rng.integers(-128, 128, (lanes, k))
    b, slots = compressed(rng, used, k, keep, group)
    along = [(g, slot) for g in range(-(-k // group)) for slot in range(keep)]
    stream = [
        [[int(x) for x in a[r, g * group : (g + 1) * group]] for r in range(rows)] for g, _ in along
    ]
    none = (0, 0)
    taken = [
        [slots[c][g][slot] if c < used and slot < len(slots[c][g]) else none for c in range(cols)]
        for g, slot in along
    ]
    stimuli = [{"drain": 1}] * rows
    for t in range(len(along) + rows + cols):
        there = [c for c in range(cols) if 0 <= t - c < len(along)]
        stimuli.append({"a_in": skewed(stream, t, rows, a_bits(pe))})
        stimuli[-1]["b_in"] = sum(pack([taken[t - c][c][0]], 8) << 8 * c for c in there)
        if group > 1:
            bits = pe.index_bits
            stimuli[-1]["index_in"] = sum(taken[t - c][c][1] << bits * c for c in there)
    first = len(stimuli)
    found = run(tmp_path, array_design(pe, rows, cols), "array", stimuli + [{"drain": 1}] * rows)
    got = [[column(found[first + rows - 1 - r], c) for c in range(cols)] for r in range(rows)]
    wanted = np.zeros((rows, cols), int)
    wanted[:, :used] = a[:, :k] @ b.T
    assert got == wanted.tolist()


@installed
def test_a_floating_point_mac_is_near_the_sum(tmp_path):
    """bf16 products are exact in fp32; the sum is truncated, off by one unit at most."""
    pe = PeStructure(operand_bits=16, floating=True)
    rng = np.random.default_rng(5)

    def drawn(bits):
        values = rng.standard_normal(400) * 2.0 ** rng.integers(-12, 12, 400)
        values[rng.random(400) < 0.1] = 0.0
        raw = values.astype(np.float32).view(np.uint32)
        return raw & np.uint32(0xFFFF0000) if bits == 16 else raw

    a, b, c = drawn(16), drawn(16), drawn(32)
    c[::3] = (-(a[::3].view(np.float32) * b[::3].view(np.float32))).view(np.uint32)  # cancels
    c[1::3] = (a[1::3].view(np.float32) * b[1::3].view(np.float32) * 1.01).view(np.uint32)
    stimuli = [
        {"a": int(x) >> 16, "b": int(y) >> 16, "c": int(z)} for x, y, z in zip(a, b, c, strict=True)
    ]
    text = pe_design(pe)["mac.v"].replace("module mac (\n", "module mac (\n  input  clk,\n")
    found = run(tmp_path, {"mac.v": text}, "mac", stimuli)
    got = np.array([one["y"] for one in found], np.uint32).view(np.float32).astype(float)
    exact = a.view(np.float32).astype(float) * b.view(np.float32) + c.view(np.float32)
    unit = 2.0 ** (np.floor(np.log2(np.abs(np.where(exact == 0, 1, exact)))) - 23)
    assert (np.abs(got - exact) <= unit).all()
    assert (got[::3] == 0).all()


@installed
@pytest.mark.parametrize("lanes", [3, 4])
def test_floating_point_lanes_add_up_to_the_sum(tmp_path, lanes):
    """Each adder truncates: within a unit of the largest term for each of them."""
    pe = PeStructure(operand_bits=16, floating=True, macs=lanes)
    rng = np.random.default_rng(lanes)
    a, b, c = (
        rng.standard_normal(size).astype(np.float32).view(np.uint32)
        for size in ((100, lanes), (100, lanes), 100)
    )
    a, b = a & np.uint32(0xFFFF0000), b & np.uint32(0xFFFF0000)
    stimuli = [
        {"a": pack(list(x >> 16), 16), "b": pack(list(y >> 16), 16), "c": int(z)}
        for x, y, z in zip(a.astype(object), b.astype(object), c, strict=True)
    ]
    text = pe_design(pe)["mac.v"].replace("module mac (\n", "module mac (\n  input  clk,\n")
    found = run(tmp_path, {"mac.v": text}, "mac", stimuli)
    got = np.array([one["y"] for one in found], np.uint32).view(np.float32).astype(float)
    terms = a.view(np.float32).astype(float) * b.view(np.float32)
    exact = terms.sum(axis=1) + c.view(np.float32)
    largest = np.abs(terms).sum(axis=1) + np.abs(c.view(np.float32))
    assert (np.abs(got - exact) <= lanes * largest * 2.0**-23).all()


@installed
@pytest.mark.parametrize(("keep", "group", "shared", "selection"), [
    (1, 1, False, "any"), (2, 4, False, "any"), (1, 4, False, "any"), (4, 8, False, "any"),
    (2, 4, True, "any"), (4, 8, True, "any"), (2, 4, False, "ordered"), (4, 8, True, "ordered"),
])  # fmt: skip
def test_an_array_of_8x8_that_is_ragged_both_ways_multiplies(
    tmp_path, keep, group, shared, selection
):
    """K and N below what the array has: zeros in the PEs that have nothing to do."""
    pe = structure(keep, group, shared, selection=selection)
    rows, cols, streamed, used = 8, 8, 11, 6
    rng = np.random.default_rng([keep, group, shared])
    per_row = group if shared or group == 1 else group / keep
    k = int(rows * per_row) - (3 if group > 1 else 1)  # the last group is short
    a = rng.integers(-128, 128, (streamed, k))
    b, slots = compressed(rng, used, k, keep, group)
    padded = np.zeros((streamed, -(-k // group) * group), int)
    padded[:, :k] = a
    values, index = placed(slots, pe, (rows, cols), keep, group)
    stream = [
        [row_words(padded[i], r, pe, keep, group) for r in range(rows)] for i in range(streamed)
    ]
    found = array_run(tmp_path, pe, (rows, cols), stream, values, index)
    wanted = np.zeros((streamed, cols), int)
    wanted[:, :used] = a @ b.T
    assert found == wanted.tolist()


def compressed(rng, n, k, keep, group):
    """A matrix N:M along K, and its slots: n x groups x N of (value, position), none 0 at 0."""
    b = np.zeros((n, k), int)
    slots = [[[] for _ in range(-(-k // group))] for _ in range(n)]
    for row in range(n):
        for g in range(-(-k // group)):
            length = min(group, k - g * group)
            kept = sorted(rng.choice(length, min(keep, length), replace=False).tolist())
            for position in kept:
                value = int(rng.integers(-128, 128))
                b[row, g * group + position] = value
                slots[row][g].append((value, position))
    return b, slots


def placed(slots, pe, size, keep, group):
    """Values and indices of every PE: of slots that follow each other, or a group's together."""
    rows, cols = size
    values = [[[0] * pe.macs for _ in range(cols)] for _ in range(rows)]
    index = [[[0] * pe.macs for _ in range(cols)] for _ in range(rows)]
    for c, groups in enumerate(slots):
        for g, own in enumerate(groups):
            for slot, (value, position) in enumerate(own):
                r, lane = (g, slot) if pe.macs == keep and keep > 1 else (g * keep + slot, 0)
                values[r][c][lane] = value
                behind = slot if pe.selection == "ordered" else 0
                index[r][c][lane] = position - behind
    return values, index


def row_words(a, r, pe, keep, group):
    """The words of A that an array row is handed: its group, or its element."""
    g = r if pe.macs == keep and keep > 1 else r // keep
    own = a[g * group : (g + 1) * group]
    return [int(x) for x in own] if len(own) else [0] * (group if pe.multiplexers else 1)


@installed
@pytest.mark.parametrize("inputs", [2, 3, 4, 5, 7, 9, 17, 32])
def test_a_multiplexer_passes_every_input(tmp_path, inputs):
    x = list(range(1, inputs + 1))
    files = {"select.v": select_module(inputs, 8).replace("(\n", "(\n  input  clk,\n", 1)}
    found = run(tmp_path, files, "select", [{"x": pack(x, 8), "index": i} for i in range(inputs)])
    assert [one["y"] for one in found] == x


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"holds_groups": True}, "holds is group"),
        ({"follows": "ab"}, "masks of A and B are followed"),
        ({"dataflow": "is"}, "dataflow is is"),
        ({"waiting_operands": True}, "registers that wait"),
        ({"passes": "none"}, "operands on buses"),
        ({"floating": True, "operand_bits": 8}, "floating point of 8"),
        ({"dataflow": "os", "selection": "ordered"}, "slots in order, one after the other"),
    ],
)
def test_what_is_not_drawn_is_refused_in_a_line(fields, what):
    with pytest.raises(SpecError, match=what) as caught:
        pe_design(PeStructure.selecting(2, 4, **fields))
    assert "\n" not in str(caught.value)


def test_arrays_of_pes_that_intersect_are_refused():
    with pytest.raises(SpecError, match="PEs that intersect"):
        array_design(PeStructure.intersecting(4, 2), 2, 2)
