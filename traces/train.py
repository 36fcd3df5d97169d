"""Train two small networks under every recipe, record traces, and count what masks keep.

``python -m traces.train`` (extra ``digits``) writes ``digits-cnn-step.safetensors`` and
``digits-vit-step.safetensors`` beside itself and ``reports/digits/training.json``, which
``reports/digits/build.py`` shows. Every run ends with a check that nmsim records the masks that the
run multiplied with. ``--quick`` trains for two epochs with one seed and should go elsewhere
(``--out``); ``--tensors`` keeps the tensors of the recorded steps.
"""

import argparse
import json
import os
import platform
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from nmsim.errors import TraceError
from nmsim.files import write_file, write_folder
from nmsim.network.catalog import Network
from nmsim.run.point import Point
from traces.digits_networks import NETWORKS, shapes
from traces.mask_statistics import (
    PATTERNS,
    ROLES,
    errors_of_update,
    halves,
    retained,
    role_matrices,
    survivors,
    transposed_fit,
    untied,
)
from traces.recording import disagreements, record_step, step_tensors
from traces.training import BATCH, Outcome, Run, Step, digits, train

HERE = Path(__file__).resolve().parent
REPORT = HERE.parent / "reports" / "digits"

EPOCHS = {"digits-cnn": 8, "digits-vit": 12}
SEEDS = 5
RECORDED = "transposable+mvue"
"""The recipe of the traces, which masks all three GEMMs."""

RECIPES = tuple((name, "2:4") for name in ("dense", "asp", RECORDED, "fst", "sdgp"))
ESTIMATORS = tuple((name, pattern) for pattern in ("2:4", "1:8") for name in ("mvue", "greedy"))

SOURCE = "scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits)"
LIBRARIES = ("nmsim", "numpy", "scikit-learn", "torch")


def every_run(seeds: int, epochs: dict[str, int]) -> list[Run]:
    """All runs, long ones first, so that processes end together."""
    return [
        Run(network, recipe, pattern, seed, epochs[network])
        for network in reversed(NETWORKS)
        for recipe, pattern in (*RECIPES, *ESTIMATORS)
        for seed in range(seeds)
    ]


def told_of(outcome: Outcome, step: Step) -> dict[str, Any]:
    """What a trace says of the training that it was recorded in."""
    run = outcome.run
    return {
        "data": SOURCE,
        "network": f"{run.network}.yaml, {run.epochs} epochs of batches of {BATCH}",
        "training_seed": run.seed,
        "step": step.number,
        "test_accuracy": round(outcome.accuracy, 4),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def done(run: Run, folder: Path) -> dict[str, Any]:
    """Train, check masks, count them; keeps trace and tensors of the first seed in ``folder``."""
    outcome = train(run, digits())
    network, step = shapes(run.network), outcome.steps[-1]
    result: dict[str, Any] = {
        **asdict(run),
        "losses": [round(loss, 5) for loss in outcome.losses],
        "accuracy": outcome.accuracy,
    }
    if run.recipe == "dense":
        found = (_counted(run, network, one) for one in outcome.steps)
        return {**result, "masks": list(found)}
    kept = run.recipe == RECORDED and run.seed == 0
    with ExitStack() as stack:
        own = folder if kept else Path(stack.enter_context(TemporaryDirectory()))
        result["gemms"] = _recorded(outcome, step, network, own)
    return result


def _recorded(outcome: Outcome, step: Step, network: Network, folder: Path) -> int:
    """Write tensors and trace of a step; how many GEMMs, whose masks are those of the step."""
    run = outcome.run
    tensors = folder / f"{run.network}-tensors.safetensors"
    save_file(step_tensors(network.layers, step.seen), tensors)
    beside = HERE / f"{run.recipe}.yaml"
    point = Point(
        model=HERE / f"{run.network}.yaml",
        recipe=beside if beside.is_file() else run.recipe,
        pattern=run.pattern,
        batch=BATCH,
        seed=step.draws,
        tensors=tensors,
        lowering="columns",  # as the networks of the digits multiply
    )
    path = folder / f"{run.network}-step.safetensors"
    said = f"training step {step.number} on 8x8 digits, seed {run.seed}"
    gemms = record_step(point, path, told_of(outcome, step), said)
    wrong = disagreements(gemms, step.seen)
    if wrong:
        raise TraceError(f"{path}: masks other than those that {run} used: {', '.join(wrong)}")
    return len(gemms)


def _counted(run: Run, network: Network, step: Step) -> dict[str, Any]:
    """Statistics of one step of a dense run: what its tensors would be pruned to."""
    tensors = step_tensors(network.layers, step.seen)
    by_role = {role: role_matrices(network.layers, tensors, role) for role in ROLES}
    both = _survivors(run, step, tensors)
    apart = _survivors(run, step, untied(tensors, step.draws))
    for pattern, phases in apart.items():
        for phase, of in phases.items():
            both[pattern][phase]["untied"] = of["mean"]
    seen = step.seen.values()
    gradients, columns = ([one[name] for one in seen] for name in ("gradient", "columns"))
    return {
        "step": step.number,
        "zeros": {role: _zeros(matrices) for role, matrices in by_role.items()},
        "survivors": both,
        "transposed": {
            pattern: {role: transposed_fit(by_role[role], pattern) for role in ROLES}
            for pattern in PATTERNS
        },
        "halves": {role: halves(by_role[role]) for role in ROLES},
        "retained": retained(by_role["weight"]),
        "update_errors": {
            pattern: errors_of_update(gradients, columns, pattern) for pattern in ("2:4", "1:8")
        },
    }


def _survivors(run: Run, step: Step, tensors: dict[str, Any]) -> dict[str, Any]:
    """Surviving products by pattern and phase, of tensors with these values."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tensors.safetensors"
        save_file(tensors, file)
        whole = Point(
            model=HERE / f"{run.network}.yaml",
            recipe=HERE / "every-operand.yaml",
            batch=BATCH,
            seed=step.draws,
            tensors=file,
            lowering="columns",
        )
        return {
            pattern: survivors(replace(whole, pattern=pattern), step.seen) for pattern in PATTERNS
        }


def _zeros(matrices: list[Any]) -> float:
    zeros = sum(int(np.count_nonzero(matrix == 0)) for matrix in matrices)
    return zeros / sum(int(matrix.size) for matrix in matrices)


def conditions(seeds: int, epochs: dict[str, int]) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        **{name: version(name) for name in LIBRARIES},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "seeds": seeds,
        "epochs": epochs,
        "batch": BATCH,
        "data": SOURCE,
        "split": "1347 to train on, 450 to test",
    }


def main(arguments: list[str]) -> None:
    """Train everything and write traces and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two epochs, one seed")
    parser.add_argument("--out", type=Path, help="folder for everything, instead of the tree")
    parser.add_argument("--tensors", action="store_true", help="keep the recorded steps' tensors")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    told = parser.parse_args(arguments)
    if told.quick and told.out is None:
        parser.error("--quick: expected --out, so that it does not replace what is committed")
    seeds = 1 if told.quick else SEEDS
    epochs = dict.fromkeys(EPOCHS, 2) if told.quick else EPOCHS
    traces, report = told.out or HERE, told.out or REPORT
    with TemporaryDirectory() as aside, ProcessPoolExecutor(
        told.workers, mp_context=get_context("spawn")
    ) as pool:  # fmt: skip
        results = []
        for result in pool.map(partial(done, folder=Path(aside)), every_run(seeds, epochs)):
            results.append(result)
            print(
                f"{result['network']} {result['recipe']} {result['pattern']}, seed "
                f"{result['seed']}: loss {result['losses'][-1]:.4f}, {result['accuracy']:.2%}",
                flush=True,
            )
        ending = "" if told.tensors else "-step"
        traces.mkdir(parents=True, exist_ok=True)
        for path in Path(aside).glob(f"*{ending}.safetensors"):
            write_file(traces / path.name, partial(shutil.copyfile, path))
    about = conditions(seeds, epochs)
    document = {"conditions": about, "runs": results}
    write_folder(report, {"training.json": json.dumps(document, indent=1, allow_nan=False) + "\n"})


if __name__ == "__main__":
    main(sys.argv[1:])
