"""What a terminal shows: chosen rows, losses, whole names; help, completion and progress."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import typer
from fabricated import network, row, sweep
from typer.testing import CliRunner

import nmsim
from nmsim import cli, report
from nmsim.cli import drawing, panels
from nmsim.cli.commands import simulation
from nmsim.cli.examples import EXAMPLES
from nmsim.errors import UnknownName
from nmsim.report import Room, Selection
from nmsim.report.terminal.training import COLUMNS
from nmsim.result import totals
from nmsim.run.extent import how_many
from nmsim.run.keyword import keywords
from nmsim.run.memory import Keeping
from nmsim.run.point import Point, rows
from nmsim.run.serving import Requests
from nmsim.run.training import Training, run_training, training_document

ONE = ("resnet18", "--layer", "fc", "--batch", "8")
LONG = "encoder.block.11.attention.self.query_projection"


def printed(made, room=Room(), selection=Selection()):  # noqa: B008
    """Lines of the tables of a run."""
    table = report.frame(made)
    tables = report.render(table, totals(report.records(table)), room, selection)
    return drawing.text_of(tables, room).splitlines()


def run(monkeypatch, capsys, *arguments):
    """Status, stdout and stderr of a command line."""
    monkeypatch.setattr(sys, "argv", ["nmsim", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main()
    shown = capsys.readouterr()
    return stop.value.code or 0, shown.out, shown.err


class TestSelection:
    ROWS = ({"a": 2, "t": "b"}, {"a": None, "t": "c"}, {"a": 5, "t": "a"}, {"a": 5, "t": None})

    @pytest.mark.parametrize(
        ("selection", "shown", "rest"),
        [
            (Selection(), "0123", ""),
            (Selection(sort="a"), "2301", ""),
            (Selection(sort="-a"), "0231", ""),
            (Selection(sort="t"), "2013", ""),
            (Selection(sort="-t", top=1), "1", "023"),
            (Selection(top=2), "23", "01"),
            (Selection(top=9), "2301", ""),
            (Selection(totals=True), "", ""),
        ],
    )
    def test_chooses_and_orders(self, selection, shown, rest):
        found = selection.of(self.ROWS, "a")
        numbers = ["".join(str(self.ROWS.index(one)) for one in some) for some in found]
        assert numbers == [shown, rest]

    def test_takes_headers_for_columns_and_refuses_what_is_none(self):
        known = ["speedup", "dram_gbps", "dram_read_bytes", *(f"column{n}" for n in range(20))]
        Selection(sort="speed-up").check(known)
        Selection(sort="-DRAM").check(known)
        with pytest.raises(UnknownName, match=r"'dram'; did you mean 'dram_gbps'.*dram_read_bytes"):
            Selection(sort="-dram").check(known)

    def test_segments_of_a_training_run_have_the_columns_that_are_named(self):
        job = Training("gemm:8x8x8", hardware="ideal", recipe="sr-ste", steps=2)
        document = training_document(run_training(job, 2, ""))
        assert list(document["segments"][0]) == list(COLUMNS)


class TestTable:
    def test_one_line_stands_for_those_that_are_not_among_the_longest(self):
        made = network()
        lines = printed(made, selection=Selection(top=3))
        by_time = sorted(made, key=lambda one: -one["time_us"])
        body = lines[2 : lines.index("")]
        assert [line.split()[0] for line in body[:3]] == [one["layer"] for one in by_time[:3]]
        rest = sum(one["time_us"] for one in by_time[3:])
        share = 100 * rest / sum(one["time_us"] for one in made)
        assert re.match(rf"{len(made) - 3} more GEMMs +(\[\d\])* *{share:.1f}% of time ", body[3])
        assert len(body) == 4
        assert sum(line.startswith("total ") for line in lines) == 4

    def test_totals_alone_have_no_rows_and_no_notes(self):
        lines = printed(network(), selection=Selection(totals=True))
        assert [line.split()[0] for line in lines[2:6]] == ["total"] * 4
        assert "M×N×K" not in lines[0], "no sum has sizes"
        assert not any(line.startswith("[") for line in lines)

    def test_a_loss_is_marked_and_the_mark_explained(self):
        lossy = row("slow", "forward", 512, 512, 512, speedup=0.93)
        even = row("even", "forward", 512, 512, 512, speedup=0.998)
        lines = printed([lossy, even])
        assert "↓0.93" in lines[2]
        assert "1.00" in lines[3]
        assert "↓1.00" not in lines[3]
        assert "↓ slower than the dense run" in lines
        assert not any("↓" in line for line in printed([even]))

    @pytest.mark.parametrize("fields", [{}, {"waves": 1.0, "kernel": "cublas 64x128x64_3"}])
    def test_80_columns_keep_what_matters(self, fields):
        made = [row(LONG, phase, 512, 512, 512, **fields) for phase in ("forward", "update")]
        lines = printed(made, Room(80))
        for name in ("layer", "phase", "time", "bound by", "speed-up", "ideal"):
            assert name in lines[0], name
        assert max(map(len, lines)) <= 80
        assert "…" in lines[2]

    @pytest.mark.parametrize("room", [Room(), Room(80, whole=True)])
    def test_names_are_whole_where_no_terminal_is(self, room):
        lines = printed([row(LONG, "forward", 512, 512, 512)], room)
        assert lines[2].startswith(f"{LONG} ")
        assert ("kernel" in lines[0]) == (room.width is None)
        assert "ideal" in lines[0]

    def test_a_training_run_folds_segments(self):
        part = {"stage": "sparse", "masks": "", "formats": "", "first_step": 0, "steps": 5}
        part |= {"step_us": 1.0, "time_s": 2.0, "time_share": 0.5, "flops": 1, "dram_bytes": 1}
        job = Training("gemm:8x8x8", hardware="ideal", recipe="sr-ste", steps=2)
        document = training_document(run_training(job, 2, ""))
        segments = [{**part, "speedup": 0.5}, {**part, "speedup": 1.5, "time_s": 3.0}]
        tables = report.render_training(
            {**document, "segments": segments}, Room(), Selection(top=1)
        )
        lines = drawing.text_of(tables, Room()).splitlines()
        assert "1.50" in lines[2]
        assert re.match(r"1 more .* 2\.000? s +50\.0", lines[3])
        (sums,) = report.render_training(document, Room(), Selection(totals=True))
        assert sums.row_count > 5

    def test_a_sweep_shows_its_first_points(self):
        table, selection = report.frame(sweep(2)), Selection(top=2, sort="speedup")
        lines = drawing.text_of(report.render_sweep(table, Room(), selection), Room()).splitlines()
        gains = sorted((of["all"]["speedup"] for _, of in report.point_summaries(table)))
        shown = [line for line in lines if re.match(r"(resnet50|bert-base) ", line)]
        for gain, line in zip(gains[:-3:-1], shown, strict=True):
            assert f" {gain:.2f} " in line
        assert any(line.startswith(f"{len(gains) - 2} more points") for line in lines)

    def test_a_sweep_is_sorted_by_what_it_varies_whatever_that_is_called(self):
        table = report.frame([{**one, "rows": n} for n in (8, 16) for one in sweep(2)])
        tables = report.render_sweep(table, Room(), Selection(top=1, sort="rows"))
        head, _, first, *_ = drawing.text_of(tables, Room()).splitlines()
        assert first[head.index("rows") :].startswith("16 ")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--sort", "tiem_us"), "unknown column 'tiem_us'; did you mean 'time_us'"),
        (("--top", "2", "--totals"), "--top: --totals prints no rows"),
        (("--sort", "cycles", "--format", "json"), "--sort: chooses rows of a table, json has all"),
        (("--totals", "--format", "csv"), "--totals: chooses rows of a table, csv has all"),
        (("--top", "0"), "--top"),
        (("--images", "svg"), "--images: expected --out too"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(monkeypatch, capsys, arguments, named):
    status, out, err = run(monkeypatch, capsys, "simulate", "gemm:8x8x8", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert named in err


def test_simulate_chooses_rows_and_draws_images_beside_its_page(monkeypatch, capsys, tmp_path):
    drawn = []
    monkeypatch.setattr("nmsim.report.images.write_images", lambda *of: drawn.append(of) or ["a"])
    folder = str(tmp_path / "out")
    arguments = (*ONE, "--hardware", "ideal", "--recipe", "fst", "--top", "1")
    status, out, err = run(
        monkeypatch, capsys, "simulate", *arguments, "--out", folder, "--images", "pdf"
    )
    assert status == 0, err
    assert re.search(r"^2 more GEMMs +\d+\.\d% of time", out, re.MULTILINE)
    ((where, table, _, look),) = drawn
    assert (str(where), len(table), look.form) == (folder, 3, "pdf")


@pytest.mark.parametrize(
    "point",
    [
        Point("gemm:8x8x16", recipe="fst", hardware="ideal"),
        Point("resnet18", recipe="asp", fidelity="analytical", layers="layer[12]*", batch=1),
        Point("vit-tiny", recipe="asp", phases=("forward",), hardware="a100-sxm4-80gb",
              fidelity="analytical"),
    ],
    ids=lambda point: str(point.model),
)  # fmt: skip
def test_rows_are_counted_before_they_run(point):
    assert how_many(point) == len(list(rows(point)))


def test_rows_of_a_trace_are_counted(tmp_path):
    works = list(Point("resnet18", recipe="asp", batch=1, layers="layer1*").sparse_gemms())
    nmsim.Trace(works).save(tmp_path / "t.safetensors")
    point = Point(tmp_path / "t.safetensors", layers="*conv2", phases=("update",))
    assert how_many(point) == len(list(point.sparse_gemms())) == 2


def test_the_bar_of_a_simulation_knows_its_total(monkeypatch, capsys):
    told = []

    def steps(items, what, total):
        told.append((what, total()))
        return items

    monkeypatch.setattr(simulation, "steps", steps)
    assert run(monkeypatch, capsys, "simulate", *ONE, "--hardware", "ideal")[0] == 0
    assert told == [("simulating", 3)]


class TestHelp:
    """Every command in 80 columns: options in groups of the same names, and examples."""

    @staticmethod
    def commands():
        group = typer.main.get_command(cli.app)
        context = typer.Context(group)
        for name in group.commands:
            command = group.get_command(context, name)
            parts = getattr(command, "commands", None)
            if parts:
                yield from ((f"{name} {part}", one) for part, one in parts.items())
            else:
                yield name, command

    def test_every_command_has_examples_that_it_takes(self):
        found = dict(self.commands())
        assert set(found) == set(EXAMPLES)
        for lines in EXAMPLES.values():
            for line in "\n".join(lines).replace("\\\n", " ").split("\n"):
                _, name, *arguments = shlex.split(line, comments=True)
                if name == "trace":
                    name = f"trace {arguments.pop(0)}"
                found[name].make_context(name, arguments)

    def test_every_line_fits_and_groups_have_the_same_names_everywhere(self):
        groups = {*panels.ORDER, "Arguments", "Options", "Examples"}
        for name in EXAMPLES:
            told = CliRunner().invoke(cli.app, [*name.split(), "--help"], env={"COLUMNS": "80"})
            lines = told.output.splitlines()
            assert max(map(len, lines)) <= 80, name
            heads = [line[:-1] for line in lines if re.fullmatch(r"[A-Z]\w+:", line)]
            assert set(heads) <= groups, name
            assert heads[-1] == "Examples", name

    def test_options_of_all_commands_are_in_a_group_the_same_everywhere(self):
        of_option = {}
        for _, command in self.commands():
            for one in command.params:
                if one.param_type_name == "option" and one.name not in ("help", "steps"):
                    of_option.setdefault(one.opts[0], set()).add(one.rich_help_panel)
        differing = {name: found for name, found in of_option.items() if len(found) > 1}
        assert not differing
        assert {None} not in of_option.values()

    @pytest.mark.parametrize("kind", [Point, Training, Keeping, Requests])
    def test_every_keyword_has_a_group(self, kind):
        assert {one.name for one in keywords(kind)} - set(panels.BY_KEYWORD) <= {"steps"}

    def test_the_list_of_commands_is_cut_nowhere(self):
        told = CliRunner().invoke(cli.app, ["--help"], env={"COLUMNS": "80"}).output
        assert told.count("...") == 1, "that of the usage"
        assert "--install-completion" in told


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("nmsim simulate resnet1", {"resnet18", "resnet101"}),
        ("nmsim simulate resnet18 --tensor-n", {"--tensor-names"}),
        ("nmsim simulate resnet18 --hardware scale", {"scale-sim"}),
        ("nmsim memory resnet18 --recipe as", {"asp"}),
        ("nmsim simulate x --phase f", {"forward"}),
        ("nmsim simulate x --pattern 4:", {"4:8", "4:16"}),
        ("nmsim show mod", {"models"}),
        ("nmsim show hardware scale", {"scale-sim"}),
        ("nmsim show nosuch x", set()),
        ("nmsim trace re", {"record"}),
    ],
)
def test_names_are_completed(monkeypatch, capsys, line, completed):
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    for name, value in {**words, "_NMSIM_COMPLETE": "complete_bash"}.items():
        monkeypatch.setenv(name, value)
    status, out, err = run(monkeypatch, capsys)
    assert (status, err) == (0, "")
    assert set(out.split()) == completed


@pytest.mark.slow
def test_a_completion_loads_no_kernels_and_no_tables():
    check = (
        "import atexit, sys\n"
        "heavy = ('numba', 'pandas', 'plotly', 'rich.table', 'scipy.linalg')\n"
        "told = lambda: print(*[one for one in heavy if one in sys.modules], file=sys.stderr)\n"
        "atexit.register(told)\n"
        "from nmsim.__main__ import main\n"
        "main()\n"
    )
    for line in ("nmsim simulate resn", "nmsim simulate x --hardware a1"):
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        done = subprocess.run(
            [sys.executable, "-c", check],
            env={**os.environ, **asked, "_NMSIM_COMPLETE": "complete_bash"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout
        assert done.stderr.strip() == ""
