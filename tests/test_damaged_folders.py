"""Files that were right once: a stored folder, or a name in a file, that is refused in one line."""

import json
import re
import sqlite3
from contextlib import closing

import pytest
from test_sweep import plan_of, run

from nmsim import cli, report
from nmsim.cost.technology import load_technology
from nmsim.errors import NmsimError, SpecError
from nmsim.files.strict_json import parse_json
from nmsim.machines import load_hardware
from nmsim.report.files import MANIFEST, manifest_there
from nmsim.report.validation_manifest import Shown
from nmsim.run.manifest import sweep_manifest, what_is_wrong
from nmsim.run.store import STORE, Store

LONG = "x" * 10_000
ERRORS = {"rows": 1, "mape": 0.1, "median_ape": 0.1, "p90_ape": 0.1, "bias": 0}
SIZES = {"m": 1, "n": 2, "k": 3, "library": "cublas", "sparsity": "dense"}
VALIDATED = {
    **ERRORS,
    "machines": ["a"],
    "noise": {"two runs": 0.03},
    "groups": [{**ERRORS, "by": "machine", "group": "a"}],
    "worst": [
        {**SIZES, "file": "t.csv", "line": 2, "machine": "a", "dtype_in": "bf16", "batch": 1}
        | {"measured_us": 1.0, "predicted_us": 2, "ratio": 2.0, "model_kernel": "64x64", "split": 1}
        | {"tiles": 1, "waves": None, "bound": "launch"}
    ],
    "speedup_rows": [],
    "residual": {"rows": 1, "mape": 0.1, "physics": {"mape": 0.1}},
    "impossible": {"rows": 1, "treatment": "left out", "without_them": None},
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON, or cut short"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": 1e999}', "1e999 is beyond what a number can be"),
        (f'{{"a": 1{"0" * 400}}}', "an integer of 401 digits"),
        (f'{{"a": {"[" * 70 + "]" * 70}}}', "nested more than 64 deep"),
        ("[" * 100_000, "not JSON, or cut short"),
    ],
    ids=["cut", "NaN", "infinite", "large", "deep", "deepest"],
)
def test_json_that_nmsim_would_not_write_is_refused_with_its_file(text, said):
    with pytest.raises(SpecError, match=rf"^r/m\.json: .*{said}") as caught:
        parse_json(text, "r/m.json")
    assert len(str(caught.value)) < 200
    assert parse_json('{"a": [1, 2.5, 18446744073709551616]}', "m") == {"a": [1, 2.5, 2**64]}


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("mape",), "x", "mape is 'x', expected"),
        (("worst", 0, "n"), None, r"worst\[0\].n is None, expected an integer"),
        (("worst", 0, "ratio"), ..., r"worst\[0\].ratio is missing"),
        (("groups", 0, "bias"), [], r"groups\[0\].bias is \[\], expected"),
        (("groups", 0, "by"), ..., r"groups\[0\].by is missing"),
        (("residual", "physics"), {}, "residual.physics.mape is missing"),
        (("impossible", "rows"), "1", "impossible.rows is '1', expected an integer"),
    ],
)
def test_what_the_page_of_a_validation_shows_is_held_to_its_types(place, value, said):
    assert what_is_wrong(Shown, VALIDATED) == ""
    document = json.loads(json.dumps(VALIDATED))
    owner = document
    for step in place[:-1]:
        owner = owner[step]
    if value is ...:
        del owner[place[-1]]
    else:
        owner[place[-1]] = value
    assert re.match(said, what_is_wrong(Shown, document))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The bytes of a store, by what it keeps."""
    found = {}
    for keep in ("rows", "totals"):
        folder = tmp_path_factory.mktemp(keep)
        plan = plan_of(fidelity="analytical", vary={"rows": [8, 16]}, keep=keep)
        run(folder, plan)
        with Store.opened(folder) as store:
            store.describe(sweep_manifest(plan, "nmsim sweep e.yaml").document())
        found[keep] = (folder / STORE).read_bytes()
    return found


@pytest.mark.parametrize(
    ("keep", "change", "said"),
    [
        ("rows", "UPDATE gemm SET macs_dense = x'fffe'", "is no count"),
        ("rows", "UPDATE gemm SET cycles = 'many'", "cycles is 'many', expected another type"),
        ("rows", "ALTER TABLE gemm RENAME COLUMN cycles TO o", "rows have no column 'cycles'"),
        ("rows", "UPDATE sweep SET manifest = '[]'", "manifest is no JSON object"),
        ("totals", "DELETE FROM total WHERE phase = 'all'", "point 0 has no sums of all phases"),
        ("totals", "UPDATE total SET time_us = 'x'", "time_us is 'x', expected another type"),
    ],
)
def test_a_store_that_no_sweep_wrote_so_is_refused_by_name(tmp_path, stores, keep, change, said):
    (tmp_path / STORE).write_bytes(stores[keep])
    assert len(report.read_sweep(tmp_path)[0])
    with closing(sqlite3.connect(tmp_path / STORE)) as db, db:
        db.execute(change)
    reads = [report.read_sweep, report.load_results] if keep == "rows" else [report.read_sweep]
    for read in reads if "manifest" not in change else reads[:1]:
        with pytest.raises(SpecError, match=rf"results\.sqlite: .*{said}"):
            read(tmp_path)


@pytest.mark.parametrize("name", ["a.b", "x\0y", "x" * 5000])
def test_a_technology_that_is_based_on_none_names_its_file(tmp_path, name):
    (tmp_path / "own.yaml").write_text(json.dumps({"based_on": name, "node_nm": 7, "volts": 0.7}))
    with pytest.raises(SpecError, match=r"own\.yaml: based_on is") as caught:
        load_technology(tmp_path / "own.yaml")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("libraries.0.kernels", "cublas-sm8"),
        ("stack", "none-such"),
        ("attention", ["flash"]),
    ],
)
def test_a_name_in_a_gpus_file_that_is_none_is_told_with_the_gpu(field, value):
    with pytest.raises(NmsimError, match=rf"^a30: unknown .*{value[0]}"):
        load_hardware("a30", **{field: value})


def test_a_message_does_not_echo_a_long_word_whole():
    assert str(SpecError(f"f.yaml: {'x' * 10_000} is none")) == (
        f"f.yaml: {'x' * 80}...{'x' * 20} is none"
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("report", LONG), "cannot be read or written (File name too long)"),
        (("simulate", "gemm:8x8x8", "--tensors", LONG), "File name too long"),
        (("simulate", "gemm:8x8x8", "--fidelity", LONG), "--fidelity"),
        (("simulate", "gemm:8x8x8", f"--{LONG}"), "No such option"),
        ((LONG,), "No such command"),
    ],
    ids=lambda part: part[0][:8] if isinstance(part, tuple) else "",
)
def test_a_long_word_of_a_command_is_refused_by_its_ends(monkeypatch, capfd, command, said):
    monkeypatch.setattr("sys.argv", ["nmsim", *command])
    monkeypatch.setattr("nmsim.cli.discard_stdout", lambda: None)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    told = capfd.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert LONG[:60] in told
    assert len(told) < 400


@pytest.mark.parametrize("text", ["[" * 100_000, '{"kind": 1e999}', "{", "[]", "\x00"])
def test_a_manifest_that_is_only_looked_at_is_read_or_is_none(tmp_path, text):
    """Nested without end it was a RecursionError, after all points of a sweep had been run."""
    (tmp_path / MANIFEST).write_text(text)
    assert manifest_there(tmp_path) == manifest_there(tmp_path / "nowhere") == {}
    (tmp_path / MANIFEST).write_text('{"kind": "sweep"}')
    assert manifest_there(tmp_path) == {"kind": "sweep"}
