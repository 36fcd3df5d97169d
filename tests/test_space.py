"""A sweep's design space: does every experiment get the figure that shows it?"""

import itertools
import json
import math
import re

import pytest
from fabricated import MANIFEST, SWEEP_MANIFEST, network, row, sweep
from test_report import drawn, stored

from nmsim import report
from nmsim.report.pages.page import page as page_of
from nmsim.report.plots.roofline import roofline_figure, roofs
from nmsim.report.plots.sweep.front import front, front_figure, pair
from nmsim.report.plots.sweep.groups import MOST_GROUPS
from nmsim.report.plots.sweep.parallel import MOST_LINES, importance, lines_of
from nmsim.report.plots.waterfall import losses, waterfall_figure
from nmsim.report.reasons import why
from nmsim.report.space import space_of
from nmsim.run.rows.frame import frame

KIB = [64, 128, 256, 512, 1024, 2048]
GBPS = [100.0, 225.0, 450.0]
ONE_MACHINE = {
    **SWEEP_MANIFEST,
    "hardware": ["systolic-128x128-2to4"],
    "machines": {"systolic-128x128-2to4": MANIFEST["machine"]},
}


def at(gain, **fields):
    """The row of a point that gains so much."""
    point = {"model": "gemm", "recipe": "asp", "pattern": "2:4", "batch": 1, "seed": 0}
    point |= {"fidelity": "analytical"}
    made = row("gemm", "forward", 4096, 1024, 1024)
    cycles = round(made["dense_cycles"] / gain)
    made |= {"cycles": cycles, "compute_cycles": cycles, "stall_cycles": 0}
    made |= {"time_us": cycles / 940, "speedup": made["dense_cycles"] / cycles}
    return {**point, **made, **fields}


def table(gain, **levels):
    """A row for every combination of levels, which gains what ``gain`` says of it."""
    rows = []
    for found in itertools.product(*levels.values()):
        fields = dict(zip(levels, found, strict=True))
        named = {name.replace("__", "."): value for name, value in fields.items()}
        rows.append({**named, **at(gain(**fields)), **named})
    return frame([{**dict.fromkeys(named), **one} for one in rows])


def one_number():
    return table(lambda sram__a_kib: 1 + math.log2(sram__a_kib) / 10, sram__a_kib=KIB)


def two_numbers():
    return table(lambda sram__a_kib, dram__gbps: 1 + dram__gbps / 900 + math.log2(sram__a_kib) / 50,
                 sram__a_kib=KIB, dram__gbps=GBPS)  # fmt: skip


def three_numbers():
    return table(lambda rows, sram__a_kib, dram__gbps: 1 + dram__gbps / 900 + rows / 1e4,
                 rows=[32, 64, 128], sram__a_kib=KIB, dram__gbps=GBPS)  # fmt: skip


def six_numbers():
    levels = {
        "rows": [32, 64, 128], "sram__a_kib": [64, 256], "sram__b_kib": [64, 256],
        "dram__gbps": GBPS, "dram__latency_ns": [50.0, 500.0], "arrays": [1, 2],
    }  # fmt: skip
    return table(lambda **fields: 1 + fields["dram__gbps"] / 900 + fields["arrays"] / 50, **levels)


def categories():
    return table(lambda pattern, recipe: {"2:4": 1.4, "4:8": 1.1, "1:4": 1.6}[pattern],
                 pattern=["2:4", "4:8", "1:4"], recipe=["asp", "transposable"])  # fmt: skip


def one_point():
    return table(lambda batch: 1.4, batch=[8])


def losses_only():
    return table(lambda pattern: {"2:4": 0.9, "4:8": 0.6, "1:4": 0.8}[pattern],
                 pattern=["2:4", "4:8", "1:4"])  # fmt: skip


def ten_thousand():
    levels = {
        "sram__a_kib": [2**n for n in range(4, 14)],
        "dram__gbps": [100.0 * n for n in range(1, 11)],
        "rows": [16 * n for n in range(1, 11)],
        "arrays": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    }
    return table(
        lambda sram__a_kib, dram__gbps, rows, arrays: (
            0.7
            + dram__gbps / 2000
            + math.log2(sram__a_kib) / 20
            + 0.01 * ((7 * rows + 3 * arrays) % 11)
        ),
        **levels,
    )


EXPERIMENTS = [
    (one_number, "lines", "scatter"),
    (two_numbers, "heat map", "heatmap"),
    (three_numbers, "parallel", "parcoords"),
    (six_numbers, "parallel", "parcoords"),
    (categories, "groups", "scatter"),
    (one_point, "point", "scatter"),
    (losses_only, "groups", "scatter"),
    (ten_thousand, "parallel", "parcoords"),
]


@pytest.mark.parametrize(
    ("experiment", "kind", "trace"),
    [
        pytest.param(*one, marks=[pytest.mark.slow] if one[0] is ten_thousand else [])
        for one in EXPERIMENTS
    ],
)
def test_every_experiment_gets_its_figure(experiment, kind, trace):
    df = experiment()
    space = space_of(df)
    assert (space.kind, len(space.points)) == (kind, len(df))
    page = page_of(df, ONE_MACHINE)
    assert len(page.encode()) < 8e6
    figures = drawn(page)
    assert figures["speedup"]["data"][0]["type"] == trace
    assert figures["speedup"]["layout"]["height"] <= 900
    assert sum(figure["layout"]["height"] for figure in figures.values()) < 3500
    assert stored(page, "points")["speed-up of GEMMs"] == pytest.approx(
        df["speedup"].tolist(), rel=1e-5
    )


def test_a_line_joins_numbers_and_none_joins_patterns():
    lines = report.figures(one_number(), ONE_MACHINE)["speedup"].data
    (points,) = (trace for trace in lines if trace.name == "points")
    assert points.mode == "lines+markers"
    assert list(points.x) == KIB
    dots = report.figures(categories(), ONE_MACHINE)["speedup"].data
    assert {t.mode for t in dots if t.name != "dense run: 1×"} == {"markers"}


def test_a_cell_of_the_map_is_the_point_of_its_row():
    df = two_numbers()
    (heat,) = report.figures(df, ONE_MACHINE)["speedup"].data
    for line, gbps in enumerate(heat.y):
        for column, kib in enumerate(heat.x):
            found = df.iloc[heat.customdata[line][column]]
            assert (f"{found['sram.a_kib']:g}", f"{found['dram.gbps']:g}") == (kib, gbps)
            assert heat.z[line][column] == pytest.approx(found["speedup"])


def test_losses_are_said_to_be_losses():
    page = page_of(losses_only(), ONE_MACHINE)
    assert (
        "GEMMs gain from 0.60× to 0.90× over the dense run, most with pattern 2:4; all lose" in page
    )
    figure = report.figures(losses_only(), ONE_MACHINE)["speedup"]
    assert figure.layout.xaxis.range[1] > 1


def test_of_many_groups_the_best_have_lines():
    df = table(lambda hardware: 1 + hardware / 300, hardware=list(range(200)))
    df["hardware"] = [f"machine-{int(number):03d}" for number in df["hardware"]]
    figure = report.figures(df, ONE_MACHINE)["speedup"]
    assert figure.layout.yaxis.ticktext[0] == "machine-199"
    assert len(figure.layout.yaxis.ticktext) == MOST_GROUPS
    assert f"the best {MOST_GROUPS} of 200 groups" in figure.layout.title.subtitle.text


def test_only_fields_that_differ_of_their_own_are_dimensions():
    df = three_numbers()
    df["cols"] = df["rows"]
    fields = (df[name] for name in ("rows", "sram.a_kib", "dram.gbps"))
    df["hardware"] = ["-".join(map(str, one)) for one in zip(*fields, strict=True)]
    space = space_of(df)
    assert [field.name for field in space.fields] == ["rows", "sram.a_kib", "dram.gbps"]
    assert set(space.followers) == {"cols", "hardware"}
    assert space.fields[1].levels == tuple(KIB)
    assert {"recipe", "model", "batch"}.isdisjoint(stored(page_of(df, ONE_MACHINE), "points"))


def test_a_seed_is_no_axis():
    space = space_of(table(lambda seed: 1 + seed / 10, seed=[0, 1, 2]))
    assert space.kind == "groups"


def test_numbers_read_back_as_text_are_numbers():
    df = one_number()
    read = df.assign(**{"sram.a_kib": df["sram.a_kib"].astype(str)})
    assert space_of(read).fields == space_of(df).fields


def test_values_that_are_scattered_are_no_map_and_follow_nothing():
    rows = [
        {"sram.a_kib": 64.0 + n, "dram.gbps": 100.0 + n * n % 997, **at(1 + n / 100)}
        for n in range(80)
    ]
    space = space_of(frame(rows))
    assert len(space.numbers) == 2
    assert space.kind == "parallel"


def test_of_many_points_the_front_and_a_sample_have_lines():
    levels = {"a": list(range(1, 13)), "b": list(range(1, 13)), "c": list(range(1, 13))}
    df = table(lambda a, b, c: 1 + (5 * a + 3 * b + c) % 17 / 20, **levels)
    space = space_of(df)
    numbers = lines_of(space)
    assert len(space.points) == 12**3
    assert len(numbers) <= MOST_LINES
    best = front_figure(space, "").data[1].customdata
    assert set(best) <= set(numbers)


def test_the_front_is_what_no_other_point_beats():
    space = space_of(two_numbers())
    across, up = pair(space)
    assert (across.name, up.name) == ("sram.a_kib", "speedup")
    points = [(p["sram.a_kib"], s["all"]["speedup"]) for p, s in space.points]
    beaten = [any((x <= a and y >= b) and (x, y) != (a, b) for x, y in points) for a, b in points]
    figure = front_figure(space, "")
    assert sorted(figure.data[1].customdata) == [n for n, lost in enumerate(beaten) if not lost]
    assert "recipe" not in figure.data[1].hovertext[0]
    assert "sram.a_kib 64" in figure.data[1].hovertext[0]


def test_more_can_be_better_in_both():
    assert front([1, 2, 3], [3.0, 2.0, 1.0], (True, True)) == [2, 1, 0]
    assert front([1, 2, 3], [1.0, 2.0, 3.0], (True, True)) == [2]
    assert front([2, 2], [1.0, 1.0], (False, True)) == [0]


def test_importance_is_the_variance_that_a_field_explains():
    df = table(lambda a, b, c: math.exp(0.3 * a + 0.1 * b), a=[0, 1], b=[0, 1], c=[0, 1])
    shares = importance(space_of(df))
    assert list(shares) == ["a", "b", "c"]
    assert shares["a"] == pytest.approx(0.9, abs=0.01)
    assert shares["b"] == pytest.approx(0.1, abs=0.01)
    assert shares["c"] == pytest.approx(0, abs=1e-6)


def test_layers_stand_against_patterns():
    df = frame(sweep(3))
    heat = report.figures(df, SWEEP_MANIFEST)["layers"].data[0]
    of = df[(df["layer"] == heat.y[0]) & (df["pattern"] == heat.x[1])]
    assert heat.z[0][1] == pytest.approx(of["dense_cycles"].sum() / of["cycles"].sum())


# ---- a run


def test_losses_and_the_promise_add_up_to_the_time():
    rows = [{**made, "dram_wait_cycles": made["stall_cycles"], "fill_cycles": 300}
            for made in network()]  # fmt: skip
    promised = sum(
        made["dense_time_us"] * made["macs_useful"] / made["macs_dense"] for made in rows
    )
    whole = sum(made["time_us"] for made in rows)
    assert promised + sum(losses(rows).values()) == pytest.approx(whole)
    figure = waterfall_figure(frame(rows), MANIFEST)
    bars, words = figure.data
    levels = dict(zip(words.y, words.text, strict=True))
    dense = sum(made["dense_time_us"] for made in rows)
    assert levels["promised"].endswith(f"{dense / promised:.2f}×")
    assert levels["GEMMs"].endswith(f"{dense / whole:.2f}×")
    assert bars.x[bars.y.index("GEMMs")] == pytest.approx(whole / 1e3)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"fill_cycles": 5, "drain_cycles": 5}, {"fill, prologues", "drain, epilogues"}),
        ({}, {"not told apart"}),
        ({"mask_cycles": 9, "chosen": "dense as A.B^T"}, {"masks not used"}),
        ({"macs_issued": 10**12}, {"masks not used"}),
        ({"dense_time_us": 1e9}, {"gained beyond the promise"}),
    ],
)
def test_what_is_lost_has_its_name(fields, names):
    made = {**row("a", "forward", 512, 512, 512), **fields}
    found = losses([made])
    assert set(found) == names
    if "gained beyond the promise" in names:
        assert sum(found.values()) < 0


def test_a_dense_run_loses_nothing():
    made = row("a", "forward", 512, 512, 512)
    dense = {"a_pattern": "dense", "b_pattern": "dense", "macs_useful": made["macs_dense"]}
    dense |= {"dense_time_us": made["time_us"], "dense_cycles": made["cycles"], "fill_cycles": 9}
    assert sum(losses([{**made, **dense}]).values()) == pytest.approx(0)


def test_every_gemm_stands_under_its_roof():
    rows = network()
    (peak,) = roofs(rows)
    assert peak == pytest.approx(128 * 128 * 940e6, rel=1e-2)
    figure = roofline_figure(frame(rows), MANIFEST)
    points = [t for t in figure.data if t.customdata is not None and t.visible is True]
    assert sorted(n for t in points for n in t.customdata) == list(range(len(rows)))
    for trace in points:
        for x, y, number in zip(trace.x, trace.y, trace.customdata, strict=True):
            moved = rows[number]["dram_read_bytes"] + rows[number]["dram_write_bytes"]
            assert x == pytest.approx(rows[number]["macs_issued"] / moved)
            assert y <= 1.02 * min(peak, x * 450e9)
    assert "450 GB/s" in figure.data[0].name


def test_the_roofline_switches_between_fidelities_and_the_ideal():
    rows = [{**made, "model": "resnet50", "recipe": "asp", "pattern": "2:4", "batch": 32,
             "seed": 0, "fidelity": fidelity}
            for fidelity in ("cycle", "analytical") for made in network()[:9]]  # fmt: skip
    figure = report.figures(frame(rows), ONE_MACHINE)["roofline"]
    choices = dict(figure.layout.meta["switch"])
    assert list(choices) == ["cycle", "analytical", "ideal", "ideal and all of them"]
    for name, seen in choices.items():
        traces = zip(figure.data[1:], seen[1:], strict=True)
        shown = {trace.name.rpartition(", ")[2] for trace, there in traces if there}
        assert shown == ({"cycle", "analytical", "ideal"} if "all" in name.split() else {name})


def test_every_one_has_a_reason():
    rows = network()
    plain = {**rows[0], "a_pattern": "dense", "b_pattern": "dense", "speedup": 1.0, "note": ""}
    assert why(plain) == "no mask is offered to it"
    assert why({**plain, "note": "left dense"}) == "left dense"
    page = page_of(frame([plain, *rows[1:4]]), MANIFEST)
    assert stored(page, "rows")["why"][0] == "no mask is offered to it"


def test_fields_of_a_machine_have_meanings():
    page = page_of(frame(network()[:2]), MANIFEST)
    for path, value, meaning in (
        ("rows", "128", "R, processing elements"),
        ("dram.gbps", "450.0", "bandwidth, 1e9 bytes per second"),
    ):
        assert re.search(rf"<td>{path}</td><td>{value}</td><td>{re.escape(meaning)}", page)
    older = {**MANIFEST, "machine": {"kind": "abacus", "rows": 3}}
    assert "<td>rows</td><td>3</td>" in page_of(frame(network()[:2]), older)


def test_what_the_browser_needs_of_a_space_stands_in_its_page():
    page = page_of(three_numbers(), ONE_MACHINE)
    about = json.loads(re.search(r'id="space">(.*?)</script>', page)[1])
    kept = stored(page, "points")
    assert {one["column"] for one in about["measures"]} <= set(kept)
    assert [axis["column"] for axis in about["axes"]] == [
        "rows", "sram.a_kib", "dram.gbps", "~speedup", "~time_us"
    ]  # fmt: skip
    assert about["axes"][1]["places"] == KIB


# ---- fields of every kind


@pytest.mark.parametrize("others", [{}, {"rows": [32, 64]}, {"rows": [32, 64], "arrays": [1, 2]},
                                    {"hardware": ["one", "two"]}])  # fmt: skip
def test_a_field_that_some_points_have_not_is_drawn_and_told(others):
    df = table(lambda sram__a_kib, **_: 1.5 if sram__a_kib is None else 1.2,
               sram__a_kib=[None, 64, 128], **others)  # fmt: skip
    space = space_of(df)
    (field,) = (one for one in space.fields if one.name == "sram.a_kib")
    assert field.levels == (64, 128, None)
    page = page_of(df, ONE_MACHINE)
    assert "sram.a_kib none" in page
    kept = stored(page, "points")
    assert kept["sram.a_kib"] == [point["sram.a_kib"] for point, _ in space.points]
    figures = drawn(page)
    if not others:
        line, alone = (t for t in figures["speedup"]["data"] if t["name"] == "points")
        assert (line["mode"], line["x"]) == ("lines+markers", ["64", "128"])
        assert (alone["mode"], alone["x"], alone["y"]) == (
            "markers",
            ["none"],
            [pytest.approx(1.5, rel=1e-3)],
        )


def test_a_field_may_be_called_as_a_sum_of_a_point_is():
    df = table(lambda masks, time: 1.2, masks=["always", "where_they_pay"], time=[1, 2])
    kept = stored(page_of(df, ONE_MACHINE), "points")
    assert sorted(set(kept["masks"])) == ["always", "where_they_pay"]
    assert kept["time"] == df["time"].tolist()
    assert kept["time (result)"] == pytest.approx(df["time_us"].tolist(), rel=1e-5)


def test_values_that_differ_have_rows_of_their_own():
    near = [1_000_000, 1_000_001, 1_000_002]
    df = table(lambda clock_mhz, rows: 1 + rows / 100, clock_mhz=near, rows=[32, 64])
    (heat,) = report.figures(df, ONE_MACHINE)["speedup"].data
    assert set(map(str, near)) == set(heat.x) | set(heat.y) - {"32", "64"}
    long = [f"encoder.{'x' * 30}.{number}.{'y' * 30}" for number in (1, 2)]
    both = frame([at(1.2, layer=layer, pattern=p) for layer in long for p in ("2:4", "1:4")])
    layers = report.figures(both, ONE_MACHINE)["layers"].data[0]
    assert len(set(layers.y)) == 2
    assert [told[0] for told in layers.text] == [f"{layer}, 2:4" for layer in long]
    names = [f"machine-{'x' * 40}-{n}-{'y' * 40}" for n in (1, 2)]
    groups = report.figures(frame([at(1.2, hardware=n) for n in names]), ONE_MACHINE)["speedup"]
    assert len(set(groups.layout.yaxis.ticktext)) == 2


def test_axes_have_the_values_that_were_run():
    axes = report.figures(three_numbers(), ONE_MACHINE)["speedup"].data[0].dimensions
    assert list(axes[0].tickvals) == [32, 64, 128]
    assert list(axes[2].ticktext) == ["100", "225", "450"]
    many = table(lambda a, b, c: 1 + a / 1000, a=list(range(1, 200)), b=[1, 2], c=[1, 2])
    found = report.figures(many, ONE_MACHINE)["speedup"].data[0].dimensions[0].tickvals
    assert {1, 199} <= set(found) <= set(range(1, 200))
    assert len(found) <= 21
    front = report.figures(two_numbers(), ONE_MACHINE)["front"]
    assert list(front.layout.xaxis.tickvals) == KIB


def test_what_does_not_fit_an_axis_is_cut_and_told():
    short = [{**row(f"l{n}", "forward", 512, 512, 512), "time_us": 30 - n / 10} for n in range(200)]
    figures = report.figures(frame(short), MANIFEST)
    for name, most in (("layer-time", 30), ("macs", 512**3)):
        (axis,) = {figures[name].layout.xaxis.range}
        assert axis[1] == pytest.approx(1.06 * most)
        assert any("▸" in one.text for one in figures[name].layout.annotations)
