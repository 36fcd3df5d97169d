"""The reasons for a speed-up reach the terminal, the page, its hovers and a sweep's table."""

import io
import re

import pytest
from fabricated import MANIFEST, SWEEP_MANIFEST, network, row, sweep
from rich.console import Console
from test_report import drawn, printed, read, stored

from nmsim import report
from nmsim.report.pages.page import page as page_of
from nmsim.report.plots import phases, theme
from nmsim.report.reasons import PASSED_OVER, counted, passed_over, reasons, told_once
from nmsim.report.terminal.selection import Room
from nmsim.result import totals
from nmsim.run.rows.frame import frame

CHOSEN = "dense as A.B^T; 2:4 of B as A.B^T would take 1.20 times the cycles"


def losing(**fields):
    """A row whose mask would take 1.2 times the cycles, and is passed over."""
    made = row("loses", "forward", 4096, 1024, 1024)
    cycles = made["cycles"]
    made |= {"dense_cycles": cycles, "speedup": 1.0, "dense_time_us": made["time_us"]}
    return {**made, "mask_cycles": cycles * 6 // 5, "chosen": CHOSEN, **fields}


def masked(rows, us=100.0):
    """Rows whose masks take time in forward."""
    return [{**one, "mask_us": us * (one["phase"] == "forward")} for one in rows]


def swept(rows):
    """Rows of one point of a sweep."""
    point = {"model": "resnet50", "recipe": "asp", "batch": 32, "fidelity": "cycle", "seed": 0}
    return [{**point, "pattern": "2:4", **one} for one in rows]


def terminal(df, width=200):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(*report.render_sweep(df, Room(width)))
    return console.file.getvalue().splitlines()


def test_notes_that_differ_in_figures_are_told_once_by_their_range():
    shares = ("48.2", "45.1", "50.0")
    rows = [{"note": f"runs dense: {share}% of the groups break 2:4"} for share in shares]
    rows += [{"note": f"{pattern} runs as 2:4"} for pattern in ("1:4", "1:8")]
    told = list(dict.fromkeys(told_once(rows).values()))
    assert told == [
        "runs dense: 45.1 to 50.0% of the groups break 2:4", "1:4 runs as 2:4", "1:8 runs as 2:4"
    ]  # fmt: skip
    assert counted(rows) == [f"3 GEMMs: {told[0]}", f"1 GEMM: {told[1]}", f"1 GEMM: {told[2]}"]
    padded = [{"note": f"K padded from {k} to {k + 24}"} for k in (392, 1568)]
    assert set(told_once(padded).values()) == {"K padded from 392 to 1568 to 416 to 1592"}
    moved = [{"note": f"{n:,} bytes more, of partial sums"} for n in (9_510_912, 724, 50_724_864)]
    assert set(told_once(moved).values()) == {"724 to 50,724,864 bytes more, of partial sums"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, [PASSED_OVER]),
        ({"note": "n; m"}, ["n", "m", PASSED_OVER]),
        ({"mask_cycles": None}, []),
        ({"chosen": "2:4 of B as A.B^T"}, ["its mask is used and saves no time"]),
        ({"chosen": "", "speedup": 0.8}, ["its mask is used and costs time"]),
        ({"chosen": "2:4 of B as A.B^T", "speedup": 1.01}, []),
        ({"chosen": "2:4 of B as A.B^T", "speedup": None}, []),
    ],
)
def test_a_row_says_why_it_gains_nothing(fields, said):
    assert reasons(losing(**fields)) == said


def test_a_mask_that_is_passed_over_shows_what_it_would_have_gained():
    rows = [losing(), row("gains", "forward", 4096, 1024, 1024)]
    assert [passed_over(one) for one in rows] == [True, False]
    df = frame(rows)
    head, units, first, second, *_ = lines = printed(df, 200)
    end = head.index("masks alone") + len("masks alone")
    assert units[:end].endswith("GEMMs ×")
    assert (first[:end].split()[-1], second[:end].split()[-1]) == ("0.83", "–")
    assert lines[-1] == f"[1] {PASSED_OVER}"
    page = page_of(df, MANIFEST)
    figure = drawn(page)["speedup"]
    (crosses,) = (t for t in figure["data"] if t["name"] == "the mask alone, passed over")
    assert crosses["x"] == [pytest.approx(5 / 6, rel=1e-3)]
    hover = figure["data"][0]["hovertext"][0]
    assert "speed-up of the GEMM 1.00×, ideal 2.00×; its mask alone 0.83×" in hover
    assert f"<i>{CHOSEN}</i>" in hover
    assert "masks alone" not in " ".join(printed(frame(rows[1:]), 200))


def test_a_sweep_tells_reasons_in_its_table_its_page_and_its_hovers():
    df = frame(swept([losing(note="1:4 runs as 2:4"), losing(), losing()]))
    lines = terminal(df)
    assert " 0.83" in lines[2]
    assert "[1][2]" in lines[2]
    assert f"[2] {PASSED_OVER}" in [line.strip() for line in lines]
    page = page_of(df, SWEEP_MANIFEST)
    assert f"3 GEMMs: {PASSED_OVER}; 1 GEMM: 1:4 runs as 2:4" in stored(page, "points")["why"]
    figure = report.figures(df, SWEEP_MANIFEST)["speedup"]
    curve = next(trace for trace in figure.data if trace.name == "points")
    assert f"3 GEMMs: {PASSED_OVER}" in curve.hovertext[0]
    assert "masks alone 0.83×" in curve.hovertext[0]
    crosses = [t for t in figure.data if t.name.startswith("masks alone")]
    assert [list(trace.x) for trace in crosses] == [[pytest.approx(5 / 6, rel=1e-3)]]


def test_the_card_is_of_the_step_where_masks_cost_something():
    rows = network()[:9]
    for cost, said in ((0.0, "Speed-up of the GEMMs"), (9.0, "Speed-up of the step, with masks")):
        df = frame(masked(rows, cost))
        total = totals(report.records(df))["all"]
        text = "|".join(read(page_of(df, MANIFEST)).text)
        gain = total["step_speedup"] if cost else total["speedup"]
        assert f"|{said}|{gain:.2f}×|" in text
        if cost:
            assert f"its GEMMs alone {total['speedup']:.2f}×" in text
            assert f"{gain:.2f}" != f"{total['speedup']:.2f}"


def test_the_time_of_a_phase_has_its_masks_on_top_and_both_speedups():
    df = frame(masked(network()[:9]))
    sums = totals(report.records(df))
    figure = phases.phase_time_figure(df, MANIFEST)
    bars = {trace.name: trace for trace in figure.data}
    top = bars["forward, making masks"]
    assert top.base[0] == pytest.approx(sums["forward"]["time_us"])
    assert top.y[0] == pytest.approx(sums["forward"]["mask_us"])
    texts = [note.text for note in figure.layout.annotations]
    gains = [f"{sums['forward'][name]:.2f}×" for name in ("step_speedup", "speedup")]
    assert texts[0].endswith("<br>with masks {}<br>GEMMs {}".format(*gains))
    assert "with masks" not in texts[1]
    plain = phases.phase_time_figure(frame(network()[:9]), MANIFEST)
    assert not any("masks" in (trace.name or "") for trace in plain.data)


def estimated(rows, us=400.0):
    """Rows that say what is no GEMM beside them, in the dense step too."""
    return [
        {
            **one,
            "elementwise_us": us,
            "dense_elementwise_us": us,
            "host_us": 1.0,
            "dense_host_us": 1.0,
        }
        for one in masked(rows)
    ]


def test_an_estimated_step_is_called_so_and_its_gemms_stand_beside():
    df = frame(estimated(network()[:9]))
    total = totals(report.records(df))["all"]
    text = "|".join(read(page_of(df, MANIFEST)).text)
    assert f"|Speed-up of the step, estimated|{total['step_speedup']:.2f}×|" in text
    assert f"its GEMMs alone {total['speedup']:.2f}×" in text
    share = 100 * total["time_us"] / total["step_us"]
    assert f"an estimate; {share:.1f} % of it GEMMs" in text
    assert f"{total['step_speedup']:.2f}" != f"{total['speedup']:.2f}"


def test_the_time_of_a_phase_has_what_is_no_gemm_on_top():
    df = frame(estimated(network()[:9]))
    sums = totals(report.records(df))
    figure = phases.phase_time_figure(df, MANIFEST)
    bars = {trace.name: trace for trace in figure.data}
    top = bars["forward, no GEMM, estimated"]
    made = sums["forward"]["time_us"] + sums["forward"]["mask_us"]
    assert top.base[0] == pytest.approx(made)
    assert top.y[0] == pytest.approx(sums["forward"]["elementwise_us"])
    assert bars["dense run"].y[0] == pytest.approx(sums["forward"]["dense_step_us"])
    texts = [note.text for note in figure.layout.annotations]
    gains = [f"{sums['forward'][name]:.2f}×" for name in ("step_speedup", "speedup")]
    assert texts[0].endswith("<br>step {}<br>GEMMs {}".format(*gains))
    assert "an estimate" in figure.layout.title.text


def test_a_sweep_of_estimated_steps_says_so():
    rows = estimated(sweep(2))
    figure = report.figures(frame(rows), SWEEP_MANIFEST)["speedup"]
    assert "Speed-up of the step, an estimate," in figure.layout.title.text
    head = terminal(frame(rows))
    assert "step" in head[0]
    assert "estimate ×" in head[1]


def test_a_sweep_draws_the_step_and_its_gemms_where_they_differ():
    rows = masked(sweep(2), 20.0)
    figure = report.figures(frame(rows), SWEEP_MANIFEST)["speedup"]
    assert "Speed-up of the step, masks included," in figure.layout.title.text
    assert figure.layout.xaxis.title.text == "speed-up with masks [×]"
    points = report.point_summaries(frame(rows))
    steps = {sums["all"]["step_speedup"] for _, sums in points}
    gemms = {sums["all"]["speedup"] for _, sums in points}
    dots = [trace for trace in figure.data if trace.customdata is not None]
    assert steps <= {x for trace in dots for x in trace.x}
    pale = [x for t in figure.data if t.name == "its GEMMs alone" for x in t.x]
    assert gemms <= set(pale)
    # Backward has no masks here: its two speed-ups are one.
    assert not {sums["backward"]["speedup"] for _, sums in points} & set(pale)
    assert sum(t.name == "its GEMMs alone" and t.showlegend for t in figure.data) == 1
    plain = report.figures(frame(sweep(2)), SWEEP_MANIFEST)["speedup"]
    assert "Speed-up of the GEMMs over" in plain.layout.title.text
    assert not any(t.name == "its GEMMs alone" for t in plain.data)
    text = "|".join(read(page_of(frame(rows), SWEEP_MANIFEST)).text)
    cycle = [sums["all"] for point, sums in points if point["fidelity"] == "cycle"][:12]
    best = max(cycle, key=lambda total: total["step_speedup"])
    shown = f"{best['step_speedup']:.2f}×"
    assert shown != f"{best['speedup']:.2f}×"
    assert f"|resnet50: highest speed-up of the step, with masks|{shown}|" in text


@pytest.mark.parametrize("cost", [0.0, 20.0])
def test_a_sweeps_table_has_the_step_where_masks_cost_something(cost):
    head = terminal(frame(masked(sweep(2), cost)))[0]
    assert ("step" in head) == bool(cost)


def test_what_number_formats_gain_stands_beside_the_gain():
    rows = [{**one, "format_speedup": 1.25} for one in network()[:3]]
    text = "|".join(read(page_of(frame(rows), MANIFEST)).text)
    assert "|of formats|speed-up ×|" in text
    assert "|speed-up of GEMMs, by formats|×|1.25|" in text


def test_a_long_reason_is_wrapped_in_a_hover_not_cut():
    long = "a reason of many words that goes on " * 5
    (one,) = report.records(frame([row("a", "forward", 8, 8, 8, note=long)]))
    text = theme.hover({**one, "speedup_ideal": 2.0, "mask_speedup": None})
    assert " ".join(re.findall("<i>(.*?)</i>", text)) == long.strip()
