"""The examples in the docs are what they say they are."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from nmsim.cli.describe import SCHEMAS
from nmsim.machines import KINDS, Machine
from nmsim.measured.accuracy import errors
from nmsim.measured.predict import predict
from nmsim.measured.tables import MEASURED, read_measurements
from nmsim.spec import validate

TEXT = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
BLOCKS = [
    YAML(typ="safe", pure=True).load(block)
    for block in re.findall("```yaml\n(.*?)```", TEXT, re.DOTALL)
]

README = (Path(__file__).parents[1] / "README.md").read_text()
ACCURACY = re.findall(r"^\| (\S+)" + r" \| (\S+)" * 5 + r" \|$", README, re.MULTILINE)
ACCURACY = [row for row in ACCURACY if row[0] in set(MEASURED)]


@pytest.mark.parametrize(("name", "rows", "mape", "median", "p90", "bias"), ACCURACY)
def test_the_readme_states_the_accuracy_that_there_is(name, rows, mape, median, p90, bias):
    measured = read_measurements(MEASURED.folder / f"{name}.csv")
    found = errors(predict([measured]).table["ratio"].to_numpy())
    stated = [float(text) for text in (mape, median, p90, bias)]
    names = ("mape", "median_ape", "p90_ape", "bias")
    assert [round(100 * found[key], 1) for key in names] == stated
    assert f"{found['rows']:,}" == rows


def test_the_readme_states_an_accuracy():
    assert len(ACCURACY) >= 3


MACHINES = {block["kind"]: block for block in BLOCKS if block.get("kind") in KINDS}
OTHERS = [block for block in BLOCKS if block.get("kind") not in KINDS]
EXAMPLES = {**MACHINES, **dict(zip([s for s in SCHEMAS if s not in KINDS], OTHERS, strict=True))}


def test_every_kind_of_yaml_has_an_example():
    assert set(EXAMPLES) == set(SCHEMAS)


@pytest.mark.parametrize(("kind", "document"), list(EXAMPLES.items()))
def test_the_commented_examples_are_valid(kind, document):
    value = validate(SCHEMAS[kind], document, f"docs, {kind}")
    written = set(document) | {"name", "seed"}
    if issubclass(SCHEMAS[kind], Machine):  # fields of every machine have a section of their own
        written |= set(Machine.model_fields)
    assert written >= {name for name, field in SCHEMAS[kind].model_fields.items()}
    if kind == "model":
        forward = sum(gemm.macs for gemm in value.gemms(1) if gemm.phase == "forward")
        parts = sum(part.count for part in value.published.elsewhere)
        assert forward == value.published.macs
        assert value.weights + parts == value.published.parameters
