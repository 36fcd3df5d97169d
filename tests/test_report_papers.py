"""The pages of the papers: printed beside computed, and verdicts that can come out otherwise."""

import copy
import doctest
import html
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nmsim
from nmsim.recipes.recipe import RECIPES
from reports.claims import Section, Verdict
from reports.papers import build, csr_kernels, mask_search, measure_kernels, training_step
from reports.papers.bambhaniya_training import measure_training
from reports.papers.bench import AS_IS
from reports.papers.chmiel_phases import (
    judge_phases,
    judge_throughput,
    measure_phases,
    measure_throughput,
)
from reports.papers.paper import Paper, Part
from reports.papers.systems import systems
from reports.papers.utilisation import measure_machines
from reports.papers.xu_layers import measure_layers
from reports.papers.xu_overheads import measure_overheads
from reports.papers.xu_rivals import smaller
from reports.papers.xu_speedups import measure_speedups, step_gain

HERE = Path(__file__).parents[1] / "reports" / "papers"
STORED = json.loads((HERE / "results.json").read_text(encoding="utf-8"))


PAPERS = {paper.slug: paper for paper in build.PAPERS}
SECTIONS = {
    (paper["slug"], section["name"]): section
    for paper in STORED["papers"]
    for section in paper["sections"]
}
PARTS = {
    (paper.slug, part.name): part
    for paper in build.PAPERS
    for part in paper.parts
    if isinstance(part, Part)
}
NETWORKS = {"phases", "throughput", "utilisation", "machines", "speedups"}
"""Parts that simulate whole networks: tested on a layer."""


def judge(slug, name, printed=None, figures=None):
    paper = replace(PAPERS[slug])
    if printed is not None:
        vars(paper)["document"] = {**paper.document, "tables": printed}
    held = SECTIONS[slug, name]["figures"] if figures is None else figures
    return PARTS[slug, name].verdicts(paper, held)


def differing(verdicts):
    """Statements that are met in no case."""
    return {v.statement for v in verdicts if not (v.reproduced or v.partly)}


def changed(tree, *path, to):
    result = copy.deepcopy(tree)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return result


def same(found, stored):
    """Equal, but for the rounding of a processor."""
    if isinstance(stored, dict):
        return found.keys() == stored.keys() and all(same(found[k], stored[k]) for k in stored)
    if isinstance(stored, list):
        return len(found) == len(stored) and all(map(same, found, stored))
    if isinstance(stored, float):
        return math.isclose(found, stored, rel_tol=1e-9, abs_tol=1e-12)
    return found == stored


def test_the_committed_results_are_of_these_papers_and_parts():
    assert [paper["slug"] for paper in STORED["papers"]] == list(PAPERS)
    for paper in STORED["papers"]:
        assert paper["printed"] == PAPERS[paper["slug"]].document
        assert [s["name"] for s in paper["sections"]] == [
            part.name for part in PAPERS[paper["slug"]].parts
        ]


@pytest.mark.parametrize(("slug", "name"), [key for key in PARTS if key[1] not in NETWORKS])
def test_the_committed_figures_are_what_is_computed(slug, name):
    computed = PARTS[slug, name].figures()
    assert same(computed, SECTIONS[slug, name]["figures"])


@pytest.mark.parametrize(("slug", "name"), PARTS)
def test_the_committed_verdicts_follow_from_print_and_figures(slug, name):
    assert [v.record() for v in judge(slug, name)] == SECTIONS[slug, name]["verdicts"]


def test_what_other_reports_compute_is_what_they_say():
    for paper in build.PAPERS:
        for part in paper.parts:
            if not isinstance(part, Part):
                assert part.section().record() == SECTIONS[paper.slug, part.name]
                assert f"reports.{part.report}.build" in part.caption


def leaves(tree, path=()):
    """Every printed number, tick and criterion; what identifies a row is not one."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key not in {"where", "note", "model", "recipe", "pattern", "patterns"}:
                yield from leaves(value, (*path, key))
    elif isinstance(tree, list):
        for at, value in enumerate(tree):
            yield from leaves(value, (*path, at))
    else:
        yield path, tree


def another(value):
    if isinstance(value, bool):
        return not value
    return "another" if isinstance(value, str) else 100 * value + 7


LEAVES = [(slug, *leaf) for slug, paper in PAPERS.items() for leaf in leaves(paper.printed)]


@pytest.mark.parametrize(("slug", "path", "value"), LEAVES)
def test_a_changed_print_changes_a_verdict(slug, path, value):
    printed = changed(PAPERS[slug].printed, *path, to=another(value))
    names = [name for at, name in PARTS if at == slug]
    before = [v for name in names for v in judge(slug, name)]
    after = [v for name in names for v in judge(slug, name, printed)]
    moved = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
    assert moved
    assert any(b.reproduced != a.reproduced or not a.reproduced for b, a in moved)


CHMIEL, HUBARA, XU, BAMBHANIYA = "chmiel-2023", "hubara-2021", "xu-2022", "bambhaniya-2024"
FST = "Table 3, ResNet-18, FST ×3"
TWICE = {
    ("strategies", name, "phases", phase, "speedup"): 2.0
    for name in ("WG", "WX", "GG", "GX")
    for phase in ("backward", "update")
}
A100 = "a100-sxm4-80gb"
WITH_INPUTS = "filters and the channels that they made"
WMT = "Encoder-decoder on 32 TPU v3 cores"
USUAL = next(iter(csr_kernels.CALLS))


@pytest.mark.parametrize(
    ("slug", "name", "path", "to", "statement"),
    [
        (CHMIEL, "phases", ("methods", "weights", "backward", "speedup"), 1.1, "weights: phases"),
        (CHMIEL, "phases", ("methods", "gradients", "update", "speedup"), 1.0, "gradients: phases"),
        (CHMIEL, "criteria", ("methods", "gradients", "gradient", "bias"), 0.1, "gradients: crit"),
        (CHMIEL, "criteria", ("methods", "weights", "weight", "bias"), 0.0, "weights: criterion"),
        (CHMIEL, "throughput", ("share", "offered"), 0.5, "this share of the training"),
        (CHMIEL, "products", ("pairs", "2:4, 2:4", "mask", "mean"), 0.9, "what the masks leave"),
        (CHMIEL, "bit-operations", ("mac_share", "2:4, 4:8"), 0.5, "an engine that skips"),
        (CHMIEL, "estimators", ("fused", "ms"), 500.0, "approx-MVUE 2:4: overhead"),
        (
            HUBARA,
            "utilisation",
            ("shares", "Table 3, ASP 2:4", "offered"),
            0.36,
            "Table 3, ASP 2:4",
        ),
        (HUBARA, "utilisation", ("ran", "Table 3, ASP 2:4", A100, "share"), 0.3, "ASP 2:4"),
        (HUBARA, "searches", ("nanoseconds", "4:8", "min-cost flow"), 5.0, "4:8: min-cost flow"),
        (HUBARA, "searches", ("step", "gpu_ms"), 20.0, "4:8, 2-approximation"),
        (HUBARA, "searches", ("gpu_pass_ms",), 1e4, "Optimised"),
        (HUBARA, "growth", ("tile_ns", "2-approximation", 3), 1e7, "2-approximation"),
        (HUBARA, "transposed", ("broken", "4:8-T", "transposed"), 0.1, "4:8-T"),
        (HUBARA, "transposed", ("broken", "ASP 2:4", "transposed"), 0.0, "ASP 2:4"),
        (XU, "layers", ("macs", "layer1.0.conv1", "update"), 10**10, "that is backward"),
        (XU, "layers", ("second", "weights"), 30_000, "Activations over weights"),
        (XU, "strategies", ("strategies", "GX", "masks", "update"), ["gradient"], "GX: one"),
        (XU, "strategies", ("strategies", "WG", "left", "backward"), 1.5, "WG: one"),
        (XU, "overheads", ("shift_ms",), 4.0, "shift"),
        (XU, "rivals", ("unstructured", "ResNet-50, DPF"), 1.2, "ResNet-50, DPF"),
        (XU, "rivals", ("channels", "ResNet-18, ASFP", WITH_INPUTS), 1.2, "ResNet-18, ASFP"),
        (CHMIEL, "norm", ("masked", "2:4"), 12.0, "N:M activations"),
        (BAMBHANIYA, "run", ("rows", WMT, "step_us", "16"), 1e6, WMT),
        (BAMBHANIYA, "flops", ("patches",), 197, "Sequence"),
        (BAMBHANIYA, "flops", ("operators", "query", "flops"), 2 * 10**9, "projections: FLOPs"),
        (BAMBHANIYA, "flops", ("operators", "mlp.3", "weights"), 10**7, "feed-forward: FLOPs"),
        (BAMBHANIYA, "flops", ("operators", "mlp.0", "flops"), 11 * 10**9, "2:4 in feed"),
        (BAMBHANIYA, "csr", ("gpus", "GH200", "1:8", USUAL, "speedup"), 3.5, "GH200, 1:8"),
    ],
)
def test_a_changed_figure_changes_its_verdict(slug, name, path, to, statement):
    figures = changed(SECTIONS[slug, name]["figures"], *path, to=to)
    before = {v.statement: v.met for v in judge(slug, name) if v.reproduced or v.partly}
    after = [v for v in judge(slug, name, figures=figures) if not v.reproduced]
    lost = [v.statement for v in after if set(v.met) < set(before.get(v.statement, ()))]
    gone = [v.statement for v in after if not v.cases and v.statement in before]
    assert any(statement in one for one in (*lost, *gone))


@pytest.mark.parametrize(
    ("slug", "name", "paths", "statement"),
    [
        (CHMIEL, "criteria", {("methods", "T-weights", "weight", "least_mse"): 1.0}, "T-weights:"),
        (
            CHMIEL,
            "throughput",
            {("machines", A100, "phases", "all", "speedup"): 2.0},
            "all GEMMs of training",
        ),
        (CHMIEL, "products", {("pairs", "2:4, 4:8", "non_zero", "mean"): 2.0}, "activations 4:8"),
        (CHMIEL, "bit-operations", {("macs", "first"): 0}, "ResNet-18"),
        (CHMIEL, "estimators", {("fused", "ms"): 0.5}, "MVUE 1:2: overhead"),
        (CHMIEL, "estimators", {("nanoseconds", "MVUE 2:4"): 200.0}, "MVUE 2:4 over approx"),
        (CHMIEL, "activations", {("nanoseconds", "4:8"): 0.9}, "4:8 over 2:4"),
        (CHMIEL, "activations", {("fused", "2:4", "ms"): 0.87}, "2:4: overhead"),
        (CHMIEL, "estimators", {("operators", "ms"): 120.0}, "MVUE 2:4: overhead"),
        (
            HUBARA,
            "utilisation",
            {("shares", "Table 4, ours 4:8-T, BERT-base", "offered"): 0.66},
            "BERT-base",
        ),
        (
            HUBARA,
            "machines",
            {("machines", A100, "2:4-T", "phases", "backward", "speedup"): 2.0},
            "backward GEMMs are twice as fast",
        ),
        (HUBARA, "searches", {("nanoseconds", "4:8", "integer program"): 260.0}, "4:8, integer"),
        (
            HUBARA,
            "searches",
            {
                ("nanoseconds", "2:4", method): 10.0
                for method in ("integer program", "2-approximation")
            },
            "cost less to find",
        ),
        (BAMBHANIYA, "savings", {("left", "1:16", "flops"): 9_444_800_000}, "inference FLOPs"),
        (BAMBHANIYA, "savings", {("left", "2:4", "weights"): 45_500_000}, "parameters"),
        (BAMBHANIYA, "training", {("shares", "sdgf-geometric", "1:32"): 0.6}, "over dense"),
        (BAMBHANIYA, "training", {("shares", "sr-ste", "2:4"): 1.2}, "over SR-STE"),
        (
            BAMBHANIYA,
            "run",
            {("rows", "ViT-Base on 16 A100", "step_us", "16"): 150_000.0},
            "ViT-Base on 16 A100: hours",
        ),
        (
            BAMBHANIYA,
            "inference",
            {("gpus", A100, "64", "sparse cores", "2:4"): 1.9},
            "ViT-Large, 2:4 in feed-forward, a100",
        ),
        (BAMBHANIYA, "csr", {("gpus", "V100", "1:128", USUAL, "speedup"): 9.0}, "V100, 1:128"),
        (XU, "strategies", TWICE, "One operand 2:4"),
        (XU, "layers", {("gpu", "time_us", "update"): 6500.0}, "that is backpropagation"),
        (
            XU,
            "speedups",
            {("rows", FST, "phases", "all", "speedup"): 2.0},
            "FST ×3: all GEMMs",
        ),
        (XU, "overheads", {("operators", "activation", "ms"): 400.0}, "S(activation): time"),
        (XU, "overheads", {("fused", "gradient", "ms"): 200.0}, "S(gradient)"),
        (XU, "overheads", {("gemms_ms", "dense bf16"): 160.0}, "Share of matrix"),
        (
            XU,
            "overheads",
            {("gemms_ms", "dense bf16"): 180.0, ("gemms_ms", "FST bf16"): 84.0},
            "Training acceleration",
        ),
    ],
)
def test_what_differs_could_have_been_reproduced(slug, name, paths, statement):
    figures = SECTIONS[slug, name]["figures"]
    for path, to in paths.items():
        figures = changed(figures, *path, to=to)
    found = differing(judge(slug, name)) - differing(judge(slug, name, figures=figures))
    assert any(statement in one for one in found)


def test_one_layer_has_the_ticks_of_the_whole_network():
    printed = PAPERS[CHMIEL].printed
    assert not differing(judge_phases(printed, measure_phases("layer3.1.conv1")))
    found = differing(judge_throughput(printed, measure_throughput("layer3.1.conv1")))
    assert not found


def test_attention_in_the_share_of_a_training_step_by_hand():
    shares = SECTIONS[HUBARA, "utilisation"]["figures"]["shares"]
    found = shares["Table 4, ours 4:8-T, BERT-base"]["attention"]
    width, tokens = 768, 128
    projections, products = 12 * width * width * tokens, 2 * tokens * tokens * width
    pooler = width * width / 12
    assert found == pytest.approx(products / (projections + products + pooler), rel=1e-12)


def test_speed_ups_are_macs_saved_times_their_pace():
    figures = measure_machines("layer3.1.conv2")
    of = figures["machines"][A100]["2:4-T"]
    for phase, pace in of["paces"].items():
        assert of["phases"][phase]["speedup"] == pytest.approx(pace["saved"] * pace["pace"])


def test_table_8_prints_more_than_the_flops_of_its_network_allow():
    figures = SECTIONS[BAMBHANIYA, "inference"]["figures"]
    assert figures["ideal"]["2:4"] == pytest.approx(1.477, abs=5e-4)
    width, tokens = 1024, 196
    dense = 8 * width * width
    attention = 4 * width * width + 2 * tokens * width
    assert figures["feed_forward_share"] == pytest.approx(dense / (dense + attention))
    for row in PAPERS[BAMBHANIYA].printed["inference"]["rows"].values():
        assert all(said > figures["ideal"][pattern] for pattern, said in row.items())
    short = changed(PAPERS[BAMBHANIYA].printed, "inference", "rows", "v100", "2:4", to=1.45)
    verdict = judge(BAMBHANIYA, "inference", short)[0]
    assert not verdict.reproduced
    assert verdict.statement == "ViT-Large, 2:4 in feed-forward, v100"
    assert "less than the FLOPs allow" in verdict.because


def test_training_flops_of_the_schedules_by_hand():
    figures = measure_training()
    masked = 1 - figures["least"]
    # A mask in forward saves a part of one GEMM of three; masks of 350 epochs are binary in 105.
    shares = figures["shares"]
    for pattern, density in (("2:4", 1 / 2), ("1:4", 1 / 4), ("1:16", 1 / 16)):
        assert shares["sr-ste"][pattern] == pytest.approx(1 - masked * (1 - density))
        for recipe in ("mdgf-linear", "mdgf-exponential"):
            saved = masked * (1 - density) * 105 / 350
            assert shares[recipe][pattern] == pytest.approx(1 - saved)
    assert masked == pytest.approx(0.64 / 3, abs=0.005)


def test_one_layer_has_the_mac_ratios_of_the_recipes():
    rows = PAPERS[XU].printed["speedups"]["rows"]
    some = {name: row for name, row in rows.items() if row["model"] == "resnet50"}
    found = measure_speedups(some, "*2.1.conv2")["rows"]
    for name, row in some.items():
        assert found[name]["phases"]["all"]["ideal"] == pytest.approx(row["factor"], abs=0.05)


def test_channels_that_are_pruned_leave_smaller_layers():
    network = nmsim.load_model("resnet18")
    alone, both = (smaller(network, 0.5, inputs=inputs).layers for inputs in (False, True))
    assert [x.weights for x in alone[:2]] == [32 * 147, 32 * 64 * 9]
    assert [x.weights for x in both[:2]] == [32 * 147, 32 * 32 * 9]
    assert (alone[-1].weights, both[-1].weights) == (512_000, 256_000)


def test_a_speed_up_without_masks_is_not_met():
    gains = {"all": {"ideal": 1.0, "speedup": 1.0}}
    figures = {"hardware": "h", "rows": {"T, R": {"batch": 1, "phases": gains, "paces": {}}}}
    found = step_gain({}, figures, ("T, R",))
    assert found.reason == "no GEMM has a 2:4 operand"
    assert set(found.cases.values()) == {1.0}


def test_the_bars_of_figure_2_are_the_convolutions_of_resnet18():
    figures = measure_layers()
    assert figures["forward_macs"] == 1_813_561_344
    assert len(figures["macs"]) == 20
    # 112 x 112 pixels of 64 channels, windows of 7 x 7 x 3; no gradient of the image.
    assert figures["macs"]["conv1"] == dict.fromkeys(("forward", "update"), 112**2 * 64 * 147)


def test_passes_of_fst_move_the_operands_of_the_convolutions():
    figures = measure_overheads()
    elements = {name: one["elements"] for name, one in figures["fused"].items()}
    # The weights of the network without its classifier; a gradient for every output.
    assert elements["weight"] == 11_689_512 - 512 * 1000 - 1000 - 9600
    assert figures["fused"]["gradient"]["bytes_per_element"] == 8
    assert figures["operators"]["gradient"]["bytes_per_element"] == 46
    assert figures["shift_ms"] <= figures["fused"]["gradient"]["ms"]
    assert figures["gemms_ms"]["fp32 lanes"] > figures["gemms_ms"]["dense bf16"]


def test_an_overhead_is_the_search_over_the_training_between_two_searches():
    figures = {
        "weights": 4_000_000,
        "step": {"gpu_ms": 10.0, "core_ms": 100.0},
        "nanoseconds": {"4:8": {"greedy": 50.0}},
    }
    # 4 million weights at 50 ns are 200 ms; 40 steps of 10 ms are 400.
    assert mask_search.overhead(figures, "4:8", "greedy", 40, "gpu") == pytest.approx(0.5)
    assert mask_search.overhead(figures, "4:8", "greedy", 20, "core") == pytest.approx(0.1)


def test_a_pass_moves_every_element_twice():
    gpu = AS_IS.gpu(training_step.MACHINE)
    found = training_step.one_pass([(10_000, 1000), (5000, 2000)], "2:4", gpu=gpu)
    assert (found["elements"], found["bytes_per_element"]) == (20_000_000, 8.0)
    floor = 20_000_000 * 8 / (gpu.dram.gbps * 1e6)
    assert floor < found["ms"] < 1.1 * floor


def test_the_step_of_the_machine_is_no_faster_than_its_lanes():
    gpu = AS_IS.gpu(training_step.MACHINE)
    found = training_step.step("resnet50", 32)
    assert gpu.sms * 64 * gpu.clock_mhz * 2e-6 == pytest.approx(13.4, rel=5e-3)
    assert found["gpu_ms"] > found["macs"] / (gpu.sms * 64 * gpu.clock_mhz * 1e3)


def test_the_integer_program_is_the_problem_that_the_flow_solves():
    values = np.random.default_rng(1).standard_normal((8, 12)).astype(np.float32)
    mask = measure_kernels.integer_program(values, 4)
    best = nmsim.prune(values, "2:4", "transposable").mask
    sizes = np.abs(values)
    assert sizes.sum(where=mask) == pytest.approx(sizes.sum(where=best))
    assert mask.reshape(2, 4, 12).sum(1).max() <= 2


def test_the_measurements_are_of_the_kernels_and_say_how():
    stored = json.loads((HERE / measure_kernels.RESULT).read_text(encoding="utf-8"))
    assert set(stored["nanoseconds"]) == set(measure_kernels.kernels(np.random.default_rng(0)))
    assert all(min(times) > 0 and len(times) >= 7 for times in stored["nanoseconds"].values())
    assert stored["conditions"]["threads"] == 1
    assert {"cpu", "numba", "remark", "timed", "data"} <= set(stored["conditions"])


def test_kernels_are_timed_in_turn():
    calls = []
    found = measure_kernels.timed(
        {name: ((lambda name=name: calls.append(name)), 10) for name in ("a", "b")}
    )
    assert calls[:6] == ["a", "b", "a", "b", "a", "b"]
    assert all(times == sorted(times) for times in found.values())


def stored_sections(slug):
    return [
        Section(
            **{key: s[key] for key in ("name", "title", "paper", "n_is", "meaning_of_n")},
            figures=s["figures"],
            verdicts=[Verdict.of(v) for v in s["verdicts"]],
        )
        for (at, _), s in SECTIONS.items()
        if at == slug
    ]


def test_pages_hold_every_verdict_and_lead_to_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(Paper, "sections", lambda paper: stored_sections(paper.slug))
    build.main(["--out", str(tmp_path)])
    written = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert written == {**STORED, "nmsim": nmsim.__version__}
    index = (tmp_path / "index.html").read_text("utf-8")
    for slug, paper in PAPERS.items():
        page = (tmp_path / f"{slug}.html").read_text("utf-8")
        verdicts = [v for (at, _), s in SECTIONS.items() if at == slug for v in s["verdicts"]]
        found = [Verdict.of(v) for v in verdicts]
        assert page.count('class="reproduced"') == sum(v.reproduced for v in found)
        assert page.count('class="partly"') == sum(v.partly for v in found)
        assert page.count('class="reproduced"') + page.count('class="partly"') + page.count(
            'class="differs"'
        ) == len(found)
        assert f'href="{paper.page}"' in index
        assert 'href="index.html"' in page
        assert '<script src="plotly.min.js">' in page
        assert len(page) < 1e6
    page = (tmp_path / "systems.html").read_text("utf-8")
    assert 'href="systems.html"' in index
    for name, system in systems().recipes.items():
        assert f"<td>{name}</td>" in page
        assert not system.because or f"not comparable because: {system.because}" in html.unescape(
            page
        )
    assert '<a href="xu-2022.html#strategies">WG: one' in page
    assert "plotly.js v" in (tmp_path / "plotly.min.js").read_text("utf-8")[:400]
    for slug, paper in PAPERS.items():
        page = (tmp_path / f"{slug}.html").read_text("utf-8")
        for part in paper.parts:
            assert part.caption.replace("'", "&#x27;") in page
            drawn = isinstance(part, Part) and part.draw is not None
            assert (f'id="figure-{part.name}"' in page) == drawn


def test_every_recipe_is_judged_or_says_why_it_is_not():
    held = systems()
    assert set(held.recipes) == set(RECIPES)
    stored = {slug: stored_sections(slug) for slug in PAPERS}
    for name, system in {**held.recipes, **held.others}.items():
        found = [at for at, _ in system.verdicts(stored)]
        assert {*found} == {at.replace("/", ".html#") for at in system.judged}, name


def test_examples():
    assert doctest.testmod(mask_search) == (0, 1)
