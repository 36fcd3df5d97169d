"""Arrays whose PEs are handed what multiplexers at their edge chose, simulated."""

import numpy as np
import pytest
from oracle_pe import pack
from verilog_bench import column, installed, run

from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.verilog import array_design


class AtEdge:
    """An array of 4x3 at 2:4 whose columns keep the same elements, which rows pick at the edge."""

    rows, cols, keep, group = 4, 3, 2, 4

    def __init__(self, dataflow, selection, lanes, groups):
        own = {"macs": lanes, "macs_per_group": lanes, "selection": selection}
        self.pe = PeStructure.selecting(2, 4, dataflow=dataflow, passes="selected", **own)
        self.steps = self.keep // lanes
        rng = np.random.default_rng([lanes, len(selection), groups])
        self.kept = [sorted(rng.choice(4, 2, replace=False).tolist()) for _ in range(groups)]
        self.a = rng.integers(-128, 128, (7 if dataflow == "ws" else self.rows, groups * 4))
        self.b = np.zeros((self.cols, groups * 4), int)
        for g, own in enumerate(self.kept):
            self.b[:, [g * 4 + i for i in own]] = rng.integers(-128, 128, (self.cols, 2))

    def taken(self, g, step):
        """Elements that the lanes of a step take, and the indices that say so."""
        slots = range(step * self.pe.macs, (step + 1) * self.pe.macs)
        behind = [slot * (self.pe.selection == "ordered") for slot in slots]
        own = [self.kept[g][slot] for slot in slots]
        return own, [element - less for element, less in zip(own, behind, strict=True)]

    def words(self, matrix, row, g, elements):
        """Words of a group of a row of A or B."""
        return pack([int(matrix[row, g * 4 + element]) for element in elements], 8)

    def index(self, of):
        """Select bits of rows, each with the group and step that it is at."""
        bits = self.pe.macs * self.pe.multiplexer.select_bits
        picked = {r: pack(self.taken(*one)[1], bits // self.pe.macs) for r, one in of.items()}
        return sum(own << r * bits for r, own in picked.items())

    def run(self, folder, stimuli):
        design = array_design(self.pe, self.rows, self.cols, at_edge=True)
        assert set(design) == {"mac.v", "pe.v", "select.v", "array.v"}
        return run(folder, design, "array", stimuli)


@installed
@pytest.mark.parametrize(("selection", "lanes"), [("any", 1), ("ordered", 1), ("any", 2)])
def test_an_array_that_holds_b_and_chooses_at_its_edge_multiplies(tmp_path, selection, lanes):
    own = AtEdge("ws", selection, lanes, 4 * lanes // 2)
    rows, cols, whole = own.rows, own.cols, range(4)
    of = {r: (r // own.steps, r % own.steps) for r in range(rows)}
    stimuli = []
    for r in reversed(range(rows)):
        b = [own.words(own.b, c, of[r][0], own.taken(*of[r])[0]) for c in range(cols)]
        stimuli.append({"load": 1, "b_in": sum(one << 8 * lanes * c for c, one in enumerate(b))})
    for t in range(len(own.a) + rows + cols):
        there = [r for r in range(rows) if 0 <= t - r < len(own.a)]
        a = sum(own.words(own.a, t - r, of[r][0], whole) << r * 32 for r in there)
        stimuli.append({"a_group_in": a, "a_index_in": own.index(of)})
    found = own.run(tmp_path, stimuli)
    times = range(len(own.a))
    got = [[column(found[rows + i + rows + c], c) for c in range(cols)] for i in times]
    assert got == (own.a @ own.b.T).tolist()


@installed
@pytest.mark.parametrize(("selection", "lanes"), [("any", 1), ("ordered", 2)])
def test_an_array_that_holds_sums_and_chooses_at_its_edge_multiplies(tmp_path, selection, lanes):
    own = AtEdge("os", selection, lanes, 3)
    rows, cols = own.rows, own.cols
    along = [(g, step) for g in range(3) for step in range(own.steps)]
    stimuli = [{"drain": 1}] * rows
    for t in range(len(along) + rows + cols):
        of = {r: along[t - r] for r in range(rows) if 0 <= t - r < len(along)}
        down = {c: along[t - c] for c in range(cols) if 0 <= t - c < len(along)}
        a = sum(own.words(own.a, r, g, range(4)) << r * 32 for r, (g, _) in of.items())
        b = sum(
            own.words(own.b, c, one[0], own.taken(*one)[0]) << 8 * lanes * c
            for c, one in down.items()
        )
        stimuli.append({"a_group_in": a, "a_index_in": own.index(of), "b_in": b})
    first = len(stimuli)
    found = own.run(tmp_path, stimuli + [{"drain": 1}] * rows)
    got = [[column(found[first + rows - 1 - r], c) for c in range(cols)] for r in range(rows)]
    assert got == (own.a @ own.b.T).tolist()
