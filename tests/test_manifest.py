"""Manifests: one type a kind of command, written by it and held to it when read back."""

import json
import re

import pandas as pd
import pytest
from fabricated import MANIFEST, SWEEP_MANIFEST, network
from typer.testing import CliRunner

import nmsim
from nmsim import report
from nmsim.cli import app
from nmsim.errors import SpecError
from nmsim.report.pages.page import page as page_of
from nmsim.result import totals
from nmsim.run.manifest import (
    SCHEMA,
    TABLES,
    Simulated,
    Swept,
    Trained,
    Validated,
    Weighed,
    check_manifest,
)
from nmsim.run.rows.frame import frame

SMALL = ("gemm:8x8x16", "--hardware", "systolic-16x16")


def written(*command):
    """The manifest in a command's JSON."""
    result = CliRunner().invoke(app, [*command, "--format", "json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)["manifest"]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("simulate", *SMALL), Simulated),
        (("train", *SMALL, "--steps", "3"), Trained),
        (("memory", "vit-tiny"), Weighed),
    ],
)
def test_a_command_writes_a_manifest_of_its_kind(command, kind):
    about = written(*command)
    again = kind.model_validate(about)
    assert again.document() == about
    assert (about["schema"], about["nmsim"]) == (SCHEMA, nmsim.__version__)
    assert about["machine"]["clock_mhz"] > 0


@pytest.mark.parametrize("about", [MANIFEST, SWEEP_MANIFEST], ids=lambda about: about["kind"])
def test_every_field_that_a_kind_requires_is_missed_by_name(about):
    kind = TABLES[about["kind"]]
    for name, field in kind.model_fields.items():
        stored = field.alias or name
        if field.is_required() and name != "kind":
            rest = {key: value for key, value in about.items() if key != stored}
            with pytest.raises(SpecError, match=f"^m.json: {stored} is missing$"):
                check_manifest(rest, "m.json")
            with pytest.raises(SpecError, match=f"^m.json: {stored} is <.*, expected "):
                check_manifest({**about, stored: object()}, "m.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": "resnet18"}, "models is 'resnet18', expected a list"),
        ({"models": ["resnet18", 3]}, "models[1] is 3, expected text"),
        ({"batches": [True]}, "batches[0] is True, expected an integer"),
        ({"machines": {"mine": 3}}, "machines.mine is 3, expected an object"),
        ({"schema": -1}, "schema is -1, expected 0 or more"),
        ({"schema": SCHEMA + 1}, f"schema {SCHEMA + 1}, expected {SCHEMA} or older"),
        ({"kind": "train"}, "kind is 'train', expected simulate, sweep or validate"),
    ],
)
def test_an_altered_field_is_named_with_its_place(change, said):
    with pytest.raises(SpecError, match=f"^m.json: {re.escape(said)}$"):
        check_manifest({**SWEEP_MANIFEST, **change}, "m.json")


def test_fields_of_other_versions_are_kept():
    about = {**MANIFEST, "weather": {"rain": [1, None]}}
    assert Simulated.model_validate(about).document() == about


def test_a_manifest_of_version_0_1_is_read_and_drawn(tmp_path):
    """In 0.1 the kind of a GPU was called tensor-core, and dense twins went without saying."""
    machine = nmsim.load_hardware("a100-sxm4-80gb").model_dump(mode="json")
    about = {**MANIFEST, "hardware": machine["name"], "machine": {**machine, "kind": "tensor-core"}}
    report.write_report(tmp_path, frame(network()), about)
    table, kept = report.read_results(tmp_path)
    assert kept["machine"]["kind"] == "tensor-core"
    assert "tensor-core" in page_of(table, kept)


def test_a_table_of_version_0_1_keeps_its_speedups(tmp_path):
    """In 0.1 a row told the cycles of its dense run by its speed-up alone."""
    report.write_report(tmp_path, frame(network()), MANIFEST)
    path = tmp_path / "results.csv"
    stored = pd.read_csv(path)
    stored.drop(columns=["dense_cycles", "dense_time_us"]).to_csv(path, index=False)
    table, _ = report.read_results(tmp_path)
    assert list(table["dense_cycles"]) == list(stored["dense_cycles"])
    found, expected = (totals(report.records(df))["all"] for df in (table, frame(network())))
    assert found["speedup"] == expected["speedup"]
    assert found["dense_time_us"] == pytest.approx(expected["dense_time_us"])


def test_every_kind_of_table_has_its_type():
    assert {"simulate": Simulated, "sweep": Swept, "validate": Validated} == TABLES
