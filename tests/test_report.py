"""The report: does it say what the table says, whatever stands in the table?"""

import csv
import io
import json
import math
import re
import shutil
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from fabricated import (
    MANIFEST,
    PATTERNS,
    SWEEP_MANIFEST,
    attention,
    network,
    row,
    sweep,
)
from rich.console import Console
from tiers import fast_every, fast_first

from nmsim import report
from nmsim.errors import SpecError
from nmsim.machines import COLUMNS
from nmsim.report import notation
from nmsim.report.pages import markup
from nmsim.report.pages.grid import unpacked
from nmsim.report.pages.page import page as page_of
from nmsim.report.plots import phases
from nmsim.report.plots import run as plots
from nmsim.report.terminal.selection import Room
from nmsim.result import totals
from nmsim.run.rows.columns import typed_rows
from nmsim.run.rows.frame import frame

NAMES = [column.name for column in COLUMNS]
NASTY = "</script><script>alert(1)</script><b>&amp;"


def uncompared(rows):
    """The rows without dense runs."""
    missing = dict.fromkeys(("speedup", "dense_cycles", "dense_time_us"))
    return [{**made, **missing} for made in rows]


def on_a_gpu():
    """Rows as a GPU's models make them."""
    kernels = ["cublas 64x128x64_3 split 12", "cusparselt 128x256x64_3", "cublas matrix-vector"]
    bounds = ["split-k reduction", "dram bandwidth", "l2 bandwidth"]
    names = ["encoder.attention.query", "encoder.output.query", "pooler"]
    return [
        {
            **row(name, "forward", 1024, 1024, 4096),
            "engine": "tensor-core",
            "kernel": kernel,
            "waves": waves,
            "bound": bound,
            "a_pattern": "dense",
            "b_pattern": "2:4",
            "count": 16,
            "repeat": 24,
        }
        for name, kernel, bound, waves in zip(
            names, kernels, bounds, (1.26, 0.5, None), strict=True
        )
    ]


def printed(df, width):
    """Lines of the terminal table, as a terminal of that width shows them."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(*report.render(df, totals(report.records(df)), Room(width)))
    return console.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    rows = network()[:5]
    rows[-1]["note"] = "the last cell of the table"
    report.write_report(folder, frame(rows), MANIFEST)
    return folder


class Reader(HTMLParser):
    """Collects what a browser would see of a page: its elements, links and text outside scripts."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.scripts, self.text, self.open = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        self.links += [value for name, value in attrs if name in {"href", "src"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag or tag in {"html", "body"}
        while self.open and self.open[-1] == "meta":
            self.open.pop()

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "meta":
            self.open.pop()
        (self.scripts if self.open and self.open[-1] == "script" else self.text).append(data)


@cache
def network_page():
    """The page of the network's rows, drawn once."""
    return page_of(frame(network()), MANIFEST)


def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def stored(page, name):
    """The columns of a page's large table, values as the browser unfolds them."""
    found = re.search(
        rf'<script type="text/plain" id="data-{name}"( data-encoding="(\w+)")?>(.*?)</script>', page
    )
    about = unpacked(found[3], found[2] or "")
    return {column["name"]: values(column["values"], about["count"]) for column in about["columns"]}


def values(column, count):
    if isinstance(column, list):
        return column
    if "one" in column:
        return [column["one"]] * count
    return [None if at < 0 else column["of"][at] for at in column["at"]]


def drawn(page):
    """The figures of a page by name, as its script hands them to plotly."""
    texts = json.loads(re.search(r"<script>const TEXTS = (.*?);</script>|$", page)[1] or "[]")
    figures = {
        name: json.loads(figure)
        for name, figure in re.findall(r'<script>draw\("([\w-]+)", (.*?)\);</script>', page)
    }
    for trace in (trace for figure in figures.values() for trace in figure["data"]):
        if "hovertext" in trace:
            trace["hovertext"] = [texts[number] for number in trace["hovertext"]]
    return figures


class TestFrame:
    def test_has_the_declared_columns_in_order(self):
        assert list(frame(network()).columns) == NAMES

    def test_puts_columns_of_a_sweep_first(self):
        extra = [name for name in report.SWEPT if name != "hardware"]
        assert list(frame(sweep(1)).columns) == [
            "model", "recipe", "pattern", "batch", "fidelity", "seed", *NAMES
        ]  # fmt: skip
        assert set(extra) < set(frame(sweep(1)).columns)

    @pytest.mark.parametrize("rows", [network(), network()[:1], uncompared(network()), []])
    def test_types_do_not_depend_on_the_rows(self, rows):
        df = frame(rows)
        kinds = {name: str(df[name].dtype) for name in df.columns}
        assert kinds["macs_dense"] == kinds["cycles"] == kinds["repeat"] == "int64"
        assert kinds["speedup"] == kinds["time_us"] == kinds["utilization"] == "float64"
        assert kinds["dense_cycles"] == "Int64"
        assert kinds["transposed"] == "bool"
        assert kinds["layer"] == str(pd.Series([""], dtype="str").dtype)

    def test_takes_numpy_numbers(self):
        made = {**row("a", "forward", 8, 8, 8), "m": np.int64(8), "speedup": np.float32(1.5)}
        assert frame([made])["m"].dtype == "int64"
        assert frame([made])["speedup"][0] == 1.5

    def test_counts_beyond_64_bits_stay_exact(self):
        df = frame([row("a", "forward", 10**8, 10**8, 10**8)])
        assert df["macs_dense"][0] == 10**24

    def test_records_are_plain_and_missing_is_none(self):
        made = uncompared(network())
        optional = {column.name: None for column in COLUMNS if column.optional}
        words = ("survivors", "compressed", "chosen", "mask_work", "number_format", "partition")
        words += ("residual", "evidence", "evidence_why", "elementwise_work")
        records = report.records(frame(made))
        assert records == [
            {
                **optional,
                **row,
                **dict.fromkeys(words, ""),
            }
            for row in made
        ]
        assert type(report.records(frame(network()))[0]["cycles"]) is int

    @pytest.mark.parametrize("rows", [network(), uncompared(network()), on_a_gpu(), []])
    def test_typed_rows_are_the_records_of_their_table(self, rows):
        typed, df = typed_rows(rows), frame(rows)
        kinds = [[*map(type, one.values())] for one in typed]
        assert typed == report.records(df)
        assert kinds == [[*map(type, one.values())] for one in report.records(df)]
        assert report.to_csv(typed) == report.to_csv(df)
        assert report.to_json(MANIFEST, typed, {}) == report.to_json(MANIFEST, df, {})

    def test_records_feed_totals(self):
        total = totals(report.records(frame(uncompared(network()))))
        assert total["all"]["speedup"] is None
        assert totals(report.records(frame([])))["all"]["cycles"] == 0

    def test_names_a_column_that_is_missing(self):
        made = row("a", "forward", 8, 8, 8)
        del made["bound"]
        with pytest.raises(SpecError, match="no column 'bound'"):
            frame([made])


class TestJson:
    def test_is_strict_and_has_three_parts(self):
        df = frame(uncompared(network()))
        text = report.to_json(MANIFEST, df, totals(report.records(df)))
        document = json.loads(text, parse_constant=pytest.fail)
        assert list(document) == ["answer", "manifest", "rows", "total"]
        assert document["manifest"] == MANIFEST
        assert document["rows"][0]["speedup"] is None
        assert document["rows"][0]["m"] == 32 * 112 * 112
        assert document["total"]["all"]["speedup"] is None
        assert list(document["rows"][0]) == NAMES

    def test_numpy_and_non_finite_values(self):
        manifest = {"a": np.int64(3), "b": (np.float32(0.5), math.inf), "c": pd.NA, "d": {1: True}}
        document = json.loads(report.to_json(manifest, frame([]), {}))
        assert document["manifest"] == {"a": 3, "b": [0.5, None], "c": None, "d": {"1": True}}


class TestStored:
    @pytest.mark.parametrize(
        ("rows", "manifest"),
        fast_first(
            [
                (network()[:40], MANIFEST),
                (uncompared(network()[:9]), MANIFEST),
                (network()[:1], MANIFEST),
                ([], MANIFEST),
                ([row(NASTY + ',"\n\r x', "forward", 10**9, 10**9, 10**9)], MANIFEST),
                (sweep(1), SWEEP_MANIFEST),
            ],
            3,
        ),
    )
    def test_comes_back_as_it_was(self, tmp_path, rows, manifest):
        df = frame(rows)
        report.write_report(tmp_path / "out", df, manifest)
        again, kept = report.read_results(tmp_path / "out")
        pd.testing.assert_frame_equal(again, df)
        assert kept == {**manifest, "rows": len(df)}

    def test_drawn_again_it_is_the_same_page(self, tmp_path):
        report.write_report(tmp_path, frame(network()[:40]), MANIFEST)
        first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        report.write_report(tmp_path, *report.read_results(tmp_path))
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
        assert sorted(first) == ["index.html", "manifest.json", "results.csv"]

    @pytest.fixture
    def stored(self, original, tmp_path):
        for name in ("results.csv", "manifest.json"):
            shutil.copy(original / name, tmp_path)
        return tmp_path

    @pytest.mark.parametrize("name", ["results.csv", "manifest.json"])
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "cannot be read"),
            (b"", "empty"),
            (b" \n", "empty"),
            (b"\xff\xfe\x00", "not UTF-8"),
            (b"{", "not JSON|no column"),
            (b"[1]\n", "expected a JSON object|no column"),
        ],
    )
    def test_unusable_file_is_named(self, stored, name, content, said):
        path = stored / name
        path.unlink() if content is None else path.write_bytes(content)
        self.refused(stored, name, said)

    def refused(self, folder, name, said):
        with pytest.raises(SpecError, match=said) as caught:
            report.read_results(folder)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_no_folder(self, tmp_path):
        self.refused(tmp_path / "nowhere", "manifest.json", "cannot be read")

    def test_every_cut_through_the_table_is_noticed(self, stored):
        path = stored / "results.csv"
        whole = path.read_bytes()
        for length in (*range(1, len(whole), 29), *range(len(whole) - 20, len(whole))):
            path.write_bytes(whole[:length])
            self.refused(stored, "results.csv", "results.csv")

    def test_rows_cut_off_at_a_line_are_noticed(self, stored):
        path = stored / "results.csv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
        self.refused(stored, "results.csv", "4 rows, expected 5")

    def test_every_cut_through_the_manifest_is_noticed(self, stored):
        path = stored / "manifest.json"
        whole = path.read_bytes().rstrip()
        for length in range(1, len(whole), 29):
            path.write_bytes(whole[:length])
            self.refused(stored, "manifest.json", "not JSON")

    @pytest.mark.parametrize("column", [c.name for c in COLUMNS if c.optional])
    def test_a_table_without_an_optional_column_reads(self, stored, column):
        path = stored / "results.csv"
        pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
        table, _ = report.read_results(stored)
        assert table[column].isna().all() or set(table[column]) == {""}

    @pytest.mark.parametrize("column", [c.name for c in COLUMNS if not c.optional])
    def test_a_missing_column_is_named(self, stored, column):
        path = stored / "results.csv"
        pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
        self.refused(stored, "results.csv", f"no column '{column}'")

    @pytest.mark.parametrize(
        ("column", "cell", "said"),
        [
            ("cycles", "many", "line 3: cycles is 'many', expected an integer"),
            ("cycles", "1.5", "line 3: cycles is '1.5', expected an integer"),
            ("cycles", "-1", "line 3: cycles is '-1', expected an integer of 0 or more"),
            ("cycles", "", "line 3: cycles is '', expected an integer"),
            ("time_us", "nan", "line 3: time_us is 'nan', expected a number"),
            ("phase", "sideways", "line 3: phase is 'sideways', expected one of forward"),
            ("transposed", "2", "line 3: transposed is '2', expected True or False"),
        ],
    )
    def test_an_unusable_cell_is_named(self, stored, column, cell, said):
        path = stored / "results.csv"
        rows = list(csv.reader(io.StringIO(path.read_text())))
        rows[2][rows[0].index(column)] = cell
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        self.refused(stored, "results.csv", said)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"kind": "dance"}, "kind is 'dance', expected simulate, sweep or validate"),
            ({"schema": 2}, "schema 2, expected 1 or older"),
            ({"machine": "fast"}, "machine is 'fast', expected an object"),
            ({"command": None}, "command is None, expected text"),
        ],
    )
    def test_an_unusable_manifest_is_named(self, stored, change, said):
        (stored / "manifest.json").write_text(json.dumps({**MANIFEST, **change}))
        self.refused(stored, "manifest.json", said)

    @pytest.mark.parametrize("key", ["kind", "nmsim", "schema", "model", "machine", "seed"])
    def test_a_missing_key_is_named(self, stored, key):
        manifest = {name: value for name, value in MANIFEST.items() if name != key}
        (stored / "manifest.json").write_text(json.dumps(manifest))
        self.refused(stored, "manifest.json", key)

    def test_a_table_of_a_run_is_no_sweep(self, stored):
        (stored / "manifest.json").write_text(json.dumps(SWEEP_MANIFEST))
        self.refused(stored, "results.csv", "no column 'model', which a sweep has")

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(SpecError, match="cannot be written"):
            report.write_report(tmp_path / "file" / "out", frame([]), MANIFEST)


class TestTerminal:
    @pytest.mark.parametrize("width", fast_every([50, 60, 80, 100, 120, 200], 2))
    @pytest.mark.parametrize(
        "rows",
        [
            network(),
            attention(),
            uncompared(network()),
            [row("x" * 300, "forward", 10**7, 10**7, 10**7)],
            network()[:1],
        ],
    )
    def test_one_line_per_row_and_no_number_cut(self, rows, width):
        df = frame(rows)
        lines = printed(df, width)
        assert all(len(line) <= width for line in lines)
        phases = {made["phase"] for made in rows}
        body = [line for line in lines if any(f" {phase} " in line for phase in phases)]
        assert len(body) == len(rows) + len(phases)
        assert not any("…" in line.split(" ", 1)[1] for line in body if not line.startswith("x"))

    def test_has_a_total_per_phase_and_one_for_all(self):
        lines = printed(frame(network()), 200)
        total = [line.split()[:2] for line in lines if line.startswith("total")]
        assert total == [["total", phase] for phase in ("forward", "backward", "update", "all")]
        whole = next(line for line in lines if re.match("total +all ", line))
        assert f"{sum(made['cycles'] for made in network()) / 1e3:,.1f}" in whole

    def test_one_phase_needs_no_sum_over_phases(self):
        lines = printed(frame(network(phases=("forward",))), 100)
        assert sum(line.startswith("total") for line in lines) == 1

    def test_says_which_columns_it_left_out(self):
        assert "no room for: M×N×K, kernel, util." in printed(frame(attention()), 100)[-1]
        assert not any("no room" in line for line in printed(frame(attention()), 200))

    def test_every_number_has_its_unit_above_it(self):
        head, units, *_ = printed(frame(network()), 200)
        for name, unit in {"stall": "%", "DRAM": "GB/s", "speed-up": "×", "time": "µs"}.items():
            end = head.index(name) + len(name)
            assert units[:end].endswith(unit)

    def test_rows_refer_to_their_notes(self):
        lines = printed(frame(network()), 100)
        assert re.match(r"conv1 +\[1\] ", lines[2])
        assert lines[-1].startswith("[1] activation ran dense")

    def test_obeys_nothing_that_stands_in_a_name(self):
        df = frame([row("[red]a[/red]\x1b[31m\nb", "forward", 8, 8, 8)])
        assert any(line.startswith("[red]a[/red]�[31m�b") for line in printed(df, 100))

    def test_missing_speedups_are_dashes(self):
        lines = printed(frame(uncompared(network()[1:2])), 100)
        assert notation.MISSING in lines[2]

    def test_no_rows(self):
        assert any(line.startswith("total") for line in printed(frame([]), 100))

    @pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
    def test_a_gpus_time_is_explained_before_its_rates_are_told(self, width):
        df = frame(on_a_gpu())
        lines = printed(df, width)
        assert all(len(line) <= width for line in lines)
        for told, least in {"bound by": 60, "waves": 60, "kernel": 80, "M×N×K": 120}.items():
            assert (told in lines[0]) == (width >= least)
        assert ("stall" in lines[0]) == ("DRAM" in lines[0]) == (width == 200)
        query, _, vector, total = (
            line for line in lines[2:] if re.search("query|pool|total", line)
        )
        if width >= 80:
            assert re.search(r" 64x128x64_3 ÷12 +1\.3 ", query)
            assert re.search(r" matrix-vector +– .* l2 ", vector)
            assert not re.search(r"\dx\d|÷", total)

    @pytest.mark.parametrize("width", [80, 100, 160])
    def test_sweep_has_a_line_per_point(self, width):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        console.print(*report.render_sweep(frame(sweep(2)), Room(width)))
        lines = console.file.getvalue().splitlines()
        assert len([line for line in lines if re.match(r"(resnet50|bert-base) ", line)]) == 48
        assert "recipe transposable+mvue, batch 32, seed 0" in " ".join(lines)
        assert all(len(line) <= width for line in lines)


class TestSummary:
    def test_sums_agree_with_totals(self):
        rows = network()
        sums, expected = report.phase_summary(rows), totals(rows)
        assert list(sums) == list(expected)
        for phase, total in expected.items():
            assert {name: sums[phase][name] for name in total} == total

    def test_rates_follow_from_sums(self):
        rows = network()
        whole = report.phase_summary(rows)["all"]
        slots = sum(made["macs_issued"] for made in rows) / 128 / 128
        traffic = sum(made["dram_read_bytes"] + made["dram_write_bytes"] for made in rows)
        assert whole["utilization"] == pytest.approx(slots / whole["cycles"])
        assert whole["dram_gbps"] == pytest.approx(traffic / whole["time_us"] / 1e3)
        assert whole["dense_time_us"] == pytest.approx(whole["time_us"] * whole["speedup"])
        assert sum(whole["bound"].values()) == pytest.approx(1)

    def test_nothing_has_no_rates(self):
        whole = report.phase_summary([])["all"]
        assert whole["utilization"] is whole["dram_gbps"] is whole["dense_time_us"] is None

    def test_points_are_all_combinations(self):
        points = report.point_summaries(frame(sweep(1)))
        assert len(points) == 2 * len(PATTERNS) * 2 * 2
        assert list(points[0][1]) == ["forward", "backward", "update", "all"]


class TestFigures:
    def test_of_a_run(self):
        figures = report.figures(frame(network()), MANIFEST)
        assert list(figures) == [
            "waterfall", "phase-time", "layer-time", "roofline", "speedup", "bandwidth", "macs"
        ]  # fmt: skip

    def test_titles_say_what_was_run(self):
        for figure in report.figures(frame(network()), MANIFEST).values():
            subtitle = figure.layout.title.subtitle.text
            for part in ("resnet50 on systolic-128x128-2to4", "recipe transposable+mvue",
                         "pattern 2:4", "batch 32", "fidelity cycle", "seed 0"):  # fmt: skip
                assert part in subtitle

    @pytest.mark.parametrize(
        ("rows", "manifest"), [(network(), MANIFEST), (sweep(1), SWEEP_MANIFEST)]
    )
    def test_every_axis_is_labelled(self, rows, manifest):
        for name, figure in report.figures(frame(rows), manifest).items():
            assert all(axis.title.text for axis in figure.select_xaxes())
            named = figure.layout.yaxis.title.text or figure.layout.yaxis.ticktext
            assert named or name in {"waterfall", "importance", "layers"}

    def test_titles_say_that_layers_were_selected(self):
        figure = plots.macs_figure(frame(network()), {**MANIFEST, "layers": "layer1*"})
        assert figure.layout.title.subtitle.text.endswith("layers layer1*")

    def test_a_long_subtitle_is_not_cut_off(self):
        names = [f"machine-{number}-of-a-long-name" for number in range(9)]
        manifest = {**SWEEP_MANIFEST, "models": names, "hardware": names, "recipes": names}
        figure = report.figures(frame(sweep(1)), manifest)["speedup"]
        lines = figure.layout.title.subtitle.text.split("<br>")
        assert len(lines) > 1
        assert all(len(line) <= 170 for line in lines)

    def test_the_longest_layers_have_lines_and_the_others_one(self):
        rows = network()
        times = {}
        for made in rows:
            times[made["layer"]] = times.get(made["layer"], 0.0) + made["time_us"]
        longest = sorted(times, key=lambda layer: -times[layer])[:24]
        figure = plots.speedup_figure(frame(rows), MANIFEST)
        labels = figure.layout.yaxis.ticktext
        assert list(labels) == [*longest, "30 lines more, together"]
        for trace, phase in zip(
            [trace for trace in figure.data if trace.type == "bar"],
            ("forward", "backward", "update"),
            strict=True,
        ):
            of_phase = [made for made in rows if made["phase"] == phase]
            alone = [made for made in of_phase if made["layer"] in longest]
            bars = sorted(zip(trace.x, trace.y, trace.customdata, strict=True), key=lambda b: b[2])
            assert [(x, labels[y]) for x, y, _ in bars[1:]] == [
                (made["speedup"], made["layer"]) for made in alone
            ]
            assert [rows[number] for *_, number in bars[1:]] == alone
            rest = [made for made in of_phase if made["layer"] not in longest]
            gain = sum(m["dense_cycles"] for m in rest) / sum(m["cycles"] for m in rest)
            assert bars[0][0] == pytest.approx(gain)
            assert bars[0][1:] == (24, -1)

    def test_layers_of_one_name_are_not_merged(self):
        rows = [row("gemm", "forward", size, 64, 64) for size in (512, 256, 256)]
        figure = plots.macs_figure(frame(rows), MANIFEST)
        assert list(figure.layout.yaxis.ticktext) == ["gemm", "gemm #2", "gemm #3"]
        assert list(figure.data[0].y) == [0, 1, 2]

    def test_both_gradients_of_a_matmul_have_lines(self):
        labels = plots.macs_figure(frame(attention()), MANIFEST).layout.yaxis.ticktext
        assert set(labels) == {
            "encoder.qkv ×12",
            "encoder.scores ×12",
            "encoder.scores dA ×12",
            "encoder.scores dB ×12",
        }

    def test_the_order_of_rows_does_not_matter(self):
        rows = sorted(network(), key=lambda made: made["phase"])
        one, other = (
            plots.speedup_figure(frame(made), MANIFEST).layout.yaxis.ticktext
            for made in (network(), rows)
        )
        assert sorted(one) == sorted(other)

    def test_speedup_is_held_against_one_and_the_ideal(self):
        figure = plots.speedup_figure(frame(network()), MANIFEST)
        named = {trace.name: trace for trace in figure.data if trace.showlegend}
        assert set(named["dense run: 1×"].x) == {1.0}
        ideal = named["ideal of the mask: dense / useful MACs"]
        assert list(ideal.x) == pytest.approx([2.0] * 25, rel=1e-6)

    def test_an_ideal_far_beyond_stays_at_the_edge(self):
        figure = plots.speedup_figure(frame(network(pattern="1:16")), MANIFEST)
        ideal = next(t for t in figure.data if t.name.startswith("ideal"))
        assert max(ideal.x) <= figure.layout.xaxis.range[1]
        assert set(ideal.marker.symbol) == {"triangle-right"}
        assert "16.00×" in ideal.hovertext[0]
        assert ideal.name.endswith("(arrow: up to 16.00×)")

    def test_bandwidth_is_held_against_the_machine(self):
        figure = plots.bandwidth_figure(frame(network()), MANIFEST)
        line = next(trace for trace in figure.data if "has" in (trace.name or ""))
        assert line.name == "the machine has 450 GB/s"
        assert set(line.x) == {450.0}

    @pytest.mark.parametrize("dram", [{"gbps": None}, {}, None])
    def test_bandwidth_without_a_limit_says_so(self, dram):
        manifest = {**MANIFEST, "machine": {**MANIFEST["machine"], "dram": dram}}
        figure = plots.bandwidth_figure(frame(network()), manifest)
        assert "does not limit" in figure.layout.title.text

    def test_time_of_a_phase_is_computing_and_stalls(self):
        df = frame(network())
        sums = report.phase_summary(report.records(df))
        figure = phases.phase_time_figure(df, MANIFEST)
        bars = {trace.name: trace for trace in figure.data}
        for phase, total in sums.items():
            compute, stall = bars[f"{phase}, compute"], bars[f"{phase}, stall"]
            assert compute.y[0] + stall.y[0] == pytest.approx(total["time_us"] / 1e3)
            assert stall.base[0] == pytest.approx(compute.y[0])
            assert compute.y[0] == pytest.approx(total["compute_cycles"] / 940e3)

    def test_nothing_to_compare_is_no_speedup(self):
        figures = report.figures(frame(uncompared(network())), MANIFEST)
        assert "speedup" not in figures
        assert not any(t.name == "dense run" for t in figures["phase-time"].data)

    def test_no_rows_no_figures(self):
        assert report.figures(frame([]), MANIFEST) == {}

    def test_colours_of_phases_are_fixed(self):
        df = frame(network(phases=("update",)))
        figure = plots.speedup_figure(df, MANIFEST)
        assert figure.data[0].marker.color == "#009E73"

    @pytest.mark.parametrize("value", [0, 10**40])
    def test_extreme_figures_draw(self, value):
        made = row("a", "forward", 8, 8, 8)
        names = [column.name for column in COLUMNS if column.unit in {"MACs", "bytes"}]
        extreme = {**made, **dict.fromkeys(names, value), "dense_cycles": max(value, 1)}
        assert page_of(frame([extreme]), MANIFEST)


class TestPage:
    @pytest.mark.parametrize(
        ("rows", "manifest"),
        fast_first(
            [
                (network()[:1], MANIFEST),
                (attention(), MANIFEST),
                (uncompared(network()[:9]), MANIFEST),
                ([], MANIFEST),
                (sweep(2), SWEEP_MANIFEST),
                (uncompared(sweep(1)), SWEEP_MANIFEST),
                ([], SWEEP_MANIFEST),
            ],
            3,
        ),
    )
    def test_stands_alone(self, rows, manifest):
        self.alone(page_of(frame(rows), manifest))

    def test_that_of_a_network_stands_alone(self):
        self.alone(network_page())

    @staticmethod
    def alone(page):
        reader = read(page)
        assert len(page.encode()) < 6.1e6
        assert page.count("plotly.js v") == 1
        assert not {"link", "img", "iframe"} & set(reader.tags)
        assert all(re.match(r"#\w+$|results\.csv$|manifest\.json$", link) for link in reader.links)
        assert "NaN" not in "".join(reader.text)

    def test_shows_every_row_and_column(self):
        page = network_page()
        kept, rows = stored(page, "rows"), network()
        assert kept["layer"] == [made["layer"] for made in rows]
        assert kept["cycles"] == [made["cycles"] for made in rows]
        assert kept["speedup"] == pytest.approx([made["speedup"] for made in rows], rel=1e-6)
        given = {name for made in rows for name, value in made.items() if value not in (None, "")}
        assert given <= set(kept)
        text = "|".join(read(page).text)
        assert all(column.meaning in text for column in COLUMNS)

    def test_shows_totals_and_origin(self):
        text = "|".join(read(network_page()).text)
        total = totals(network())
        for phase in total.values():
            assert f"|{phase['speedup']:.2f}|" in text
            assert f"|{phase['cycles'] / 1e3:,.2f}|" in text
        for said in (MANIFEST["command"], "Norrie et al.", "He et al.", "dram.gbps", "0.1.0"):
            assert said in text

    def test_figures_arrive_whole(self):
        df = frame(network())
        figures = drawn(network_page())
        expected = report.figures(df, MANIFEST)
        assert list(figures) == list(expected)
        for name, figure in expected.items():
            assert figures[name] == json.loads(figure.to_json())

    def test_data_is_never_markup(self):
        made = {**row(NASTY, "forward", 64, 64, 64), "note": NASTY, "kernel": NASTY, "bound": NASTY}
        told = dict.fromkeys(("model", "recipe", "hardware", "command", "tensors"), NASTY)
        machine = {**MANIFEST["machine"], "summary": NASTY, "source": NASTY, NASTY: NASTY}
        plain = read(page_of(frame(network()[1:2]), MANIFEST))
        page = page_of(frame([made]), {**MANIFEST, **told, "machine": machine})
        reader = read(page)
        assert reader.tags.count("script") == plain.tags.count("script")
        assert reader.tags.count("b") == plain.tags.count("b")
        assert NASTY in "".join(reader.text)
        for figure in drawn(page).values():
            assert "<script" not in json.dumps(figure)

    def test_nothing_ends_the_script_that_a_figure_stands_in(self):
        figure = go.Figure(layout={"title": {"text": "</script><!-- <script>"}, "height": 100})
        html = markup.drawings({"x": figure})["x"]
        assert html.count("</script>") == html.count("<script>") == 2
        assert "<!--" not in html
        assert drawn(html)["x"]["layout"]["title"]["text"] == "</script><!-- <script>"

    def test_a_sweep_is_data_too(self):
        rows = [{**made, "model": NASTY, "hardware": NASTY} for made in sweep(1)[:3]]
        manifest = {**SWEEP_MANIFEST, "models": [NASTY], "title": NASTY, "question": NASTY}
        manifest["machines"] = {NASTY: {"dram": {"gbps": 100.0}}}
        page = page_of(frame(rows), manifest)
        assert "<script>alert" not in page

    def test_a_figure_that_is_missing_is_explained(self):
        page = page_of(frame(uncompared(network()[:3])), MANIFEST)
        assert "No dense run was simulated" in page

    def test_of_too_many_rows_a_page_holds_the_longest_and_a_sample(self, monkeypatch):
        monkeypatch.setattr("nmsim.report.pages.rows.MOST_ROWS", 100)
        rows = network()
        page = page_of(frame(rows), MANIFEST)
        kept = stored(page, "rows")
        assert f"Of {len(rows)} rows this page holds {len(kept['layer'])}: the 50 that" in page
        longest = sorted((made["time_us"] for made in rows), reverse=True)[:50]
        assert {f"{us:.6g}" for us in longest} <= {f"{us:.6g}" for us in kept["time_us"]}
        assert 80 <= len(kept["layer"]) <= 100
        assert list(drawn(page)) == list(drawn(network_page()))

    def test_a_sweep_lists_its_points(self):
        text = "|".join(read(page_of(frame(sweep(1)), SWEEP_MANIFEST)).text)
        assert "Which pattern pays off" in text
        assert "Does a finer group gain more than it costs?" in text
        assert "resnet50: highest speed-up of the GEMMs" in text


class TestNotation:
    @pytest.mark.parametrize("value", [None, math.nan, math.inf])
    def test_what_is_not_known_is_a_dash(self, value):
        for write in (
            notation.grouped, notation.significant, notation.ratio, notation.percent,
            notation.duration, lambda v: notation.si(v, "B"),
        ):  # fmt: skip
            assert write(value) == notation.MISSING

    def test_short_text_stays(self):
        assert notation.shorten("conv1", 5) == "conv1"
        assert len(notation.shorten("x" * 99, 14)) == 14
