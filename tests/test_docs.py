"""The examples in the docs are what they say they are."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from nmsim.describe import SCHEMAS
from nmsim.spec import validate

TEXT = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
BLOCKS = [
    YAML(typ="safe", pure=True).load(block)
    for block in re.findall("```yaml\n(.*?)```", TEXT, re.DOTALL)
]


@pytest.mark.parametrize(("kind", "document"), list(zip(SCHEMAS, BLOCKS, strict=True)))
def test_the_commented_examples_are_valid(kind, document):
    value = validate(SCHEMAS[kind], document, f"docs, {kind}")
    written = set(document) | {"name", "seed"}
    assert written >= {name for name, field in SCHEMAS[kind].model_fields.items()}
    if kind == "model":
        forward = sum(gemm.macs for gemm in value.gemms(1) if gemm.phase == "forward")
        parts = sum(part.count for part in value.published.elsewhere)
        assert forward == value.published.macs
        assert value.weights + parts == value.published.parameters
