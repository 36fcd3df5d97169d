"""What all reports have in common: a command that starts, a question, one form of results."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from reports.builder import Origin, results_json
from reports.claims import Verdict
from reports.page import headline

ROOT = Path(__file__).parents[1]
REPORTS = sorted(path.parent.name for path in ROOT.glob("reports/*/__init__.py"))


@pytest.mark.parametrize("name", REPORTS)
def test_the_overview_has_the_command_of_every_report(name):
    assert f"python -m reports.{name}.build " in (ROOT / "docs" / "overview.md").read_text(
        encoding="utf-8"
    )
    module = import_module(f"reports.{name}.build")
    assert f"python -m reports.{name}.build" in getattr(module, "COMMAND", module.__doc__)


@pytest.mark.parametrize("name", [name for name in REPORTS if name != "speed"])
def test_results_begin_with_the_question_and_how_to_get_them_again(name):
    module = import_module(f"reports.{name}.build")
    stored = json.loads((ROOT / "reports" / name / "results.json").read_text(encoding="utf-8"))
    assert list(stored)[:3] == ["question", "command", "nmsim"]
    assert (stored["question"], stored["command"]) == (module.QUESTION, module.COMMAND)


def test_results_are_strict_json():
    with pytest.raises(ValueError, match="JSON"):
        results_json(Origin("q", "c"), figures={"nan": float("nan")})


def test_a_record_is_the_verdict_that_it_is_of():
    verdict = Verdict(
        "s", "w", "2×", "a: 1.9×", "slow", "model", "± 0.05×", "GPU", ("a", "b"), ("a",)
    )
    assert Verdict.of(json.loads(json.dumps(verdict.record()))) == verdict
    assert verdict.partly
    plain = Verdict("s", "w", "p", "c")
    assert set(plain.record()) == {
        "statement",
        "where",
        "printed",
        "computed",
        "because",
        "reproduced",
    }


def test_what_is_one_sided_is_told_of_and_not_counted():
    verdicts = [Verdict("s", "w", "p", "c", kind="model", one_sided=one) for one in (True, False)]
    assert "models: 1 of 1 holds" in headline(verdicts)
    assert "1 statements are one-sided" in headline(verdicts)


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTS)
def test_the_command_of_a_report_starts(name):
    asked = [sys.executable, "-m", f"reports.{name}.build", "--help"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--out" in told.stdout
