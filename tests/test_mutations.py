"""Verdicts on models can come out otherwise: changes of the models turn them, as they declare."""

import pytest

from nmsim.errors import SpecError
from nmsim.spec import validate
from reports.claims import Claim, Within
from reports.claims import judge as judge_claim
from reports.papers import csr_kernels
from reports.papers.bench import AS_IS, Bench, Change
from reports.papers.build import PAPERS
from reports.papers.gate import PUBLISHED, Mutation, judged_on, mutations, turned_by
from reports.papers.matrix import matrix_page
from reports.papers.paper import Part, turned

WHOLE_NETWORKS = {"speedups", "machines", "throughput", "rivals"}
"""Parts that simulate whole networks on several machines: the campaign alone runs them."""

QUICK = {
    part.name
    for paper in PAPERS
    for part in paper.parts
    if isinstance(part, Part) and part.formulas and part.name not in WHOLE_NETWORKS
} | {PUBLISHED}
A100 = "a100-sxm4-80gb"


def claims():
    return {
        claim.name: claim
        for paper in PAPERS
        for part in paper.parts
        if isinstance(part, Part)
        for claim in part.claims(paper)
    }


def test_what_mutations_turn_are_verdicts_on_models():
    known = {name for name, claim in claims().items() if claim.kind == "model"}
    named = {name for one in mutations() for name in one.turns}
    assert {name for name in named if not name.startswith(PUBLISHED)} <= known
    assert len({one.name for one in mutations()}) == len(mutations())


def test_every_statement_has_a_class_and_a_model_one_is_counted_only_if_it_turns():
    for paper in PAPERS:
        for part in paper.parts:
            verdicts = part.section().verdicts if not isinstance(part, Part) else []
            assert all(verdict.kind for verdict in verdicts)
            assert all(verdict.kind != "model" for verdict in verdicts)


@pytest.mark.parametrize("mutation", mutations(), ids=lambda one: one.name)
def test_a_mutation_changes_a_machine_or_a_cost(mutation):
    bench = mutation.bench
    machines = (A100, "v100", "systolic-128x128-flexible")
    changed = [bench.machine(name) != AS_IS.machine(name) for name in machines]
    assert any(changed) or bench.csr != AS_IS.csr


def test_a_mutation_of_more_than_two_is_refused():
    change = {"kind": "gpu", "fields": ["dram.gbps"], "times": 3}
    with pytest.raises(SpecError, match="factors of 1/2 to 2"):
        validate(Mutation, {"name": "m", "mechanism": "bandwidth", "changes": [change]}, "file")


def test_a_change_reaches_entries_of_lists_and_takes_the_value_beside():
    change = Change(kind="gpu", fields=("formats.bf16.sparse_macs_per_clk",), like="macs_per_clk")
    bf16, fp16 = Bench((change,)).gpu(A100).formats[:2]
    assert (bf16.sparse_macs_per_clk, fp16.sparse_macs_per_clk) == (1024, 1979)
    halved = Change(kind="gpu", fields=("dram.gbps",), times=0.5)
    assert Bench((halved,)).gpu(A100).dram.gbps == pytest.approx(1769 / 2)
    assert Bench((halved,)).machine("systolic-128x128") == AS_IS.machine("systolic-128x128")


def test_the_host_turns_entries_of_the_csr_table():
    (host,) = (one for one in mutations() if one.name == "host costs nothing")
    before = judged_on(AS_IS, PAPERS, {"csr"})
    expected = {name for name in host.turns if "/csr/" in name}
    assert set(turned_by(host, PAPERS, before, {"csr"})) == expected
    assert len(expected) > 5
    assert all(len(v.cases) == len(csr_kernels.CALLS) for v in before.values())


def test_tolerances_go_to_both_sides():
    for within, near, far in (
        (Within(factor=1.15), (1.74, 2.29), (1.73, 2.31)),
        (Within(by=0.05), (1.951, 2.049), (1.94, 2.06)),
    ):
        assert all(within.met(2.0, value) for value in near)
        assert not any(within.met(2.0, value) for value in far)


def test_an_unmet_claim_says_in_how_many_cases_it_holds():
    claim = Claim("n", "s", "w", 2.0, "×", "f", (), Within(by=0.1), "model", "the machine")
    cases = {"one": 2.0, "two": 1.0, "three": 2.05}
    verdict = judge_claim(claim, csr_kernels.Found(cases, "it is slow"))
    assert verdict.partly
    assert not verdict.reproduced
    assert verdict.because == "holds for 2 of 3: one, three; it is slow"


def test_the_matrix_has_a_row_for_every_verdict_and_a_dot_for_every_turn():
    before = judged_on(AS_IS, PAPERS, {"csr"})
    page = matrix_page(mutations(), before, turned())
    assert page.count("●") == sum(len(turned().get(name, ())) for name in before)
    for verdict in before.values():
        assert verdict.statement in page


@pytest.mark.slow
def test_mutations_turn_what_they_say():
    before = judged_on(AS_IS, PAPERS, QUICK)
    for mutation in mutations():
        found = turned_by(mutation, PAPERS, before, QUICK)
        assert set(found) == {*mutation.turns} & before.keys(), mutation.name
