"""Measure what synthetic tensors assume, on tensors of real training steps.

``python -m traces.tensors`` (extra ``digits``) trains the transformer of ``chars.py`` and, dense
and of seed 0, both networks of the digits. It writes ``reports/tensors/recorded.json``: spreads and
neighbours of every layer, misfits and survivors of every pattern. Beside itself it leaves
``tensors-sample.safetensors``, corners of some of the tensors, whose figures are there too.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from nmsim.files import write_file, write_folder
from nmsim.network.catalog import Network, load_model
from traces.chars import BATCH as CHARS_BATCH
from traces.chars import CONTEXT, library_text, train_chars
from traces.recording import step_tensors
from traces.tensor_statistics import measured, of_layers, of_matrix, recorded
from traces.train import EPOCHS, SOURCE
from traces.training import BATCH, Run, digits, train

HERE = Path(__file__).resolve().parent
REPORT = HERE.parent / "reports" / "tensors"
STEPS = (1, 50, 100, 200)
SAMPLED = {
    "digits-cnn": "conv3",
    "digits-vit": "blocks.1.mlp.2",
    "chars": "blocks_4_mlp_2",
}
SIDE = 64
"""Rows and columns of a sample."""

_DIGITS = 4
LIBRARIES = ("nmsim", "numpy", "scikit-learn", "torch")

Tensors = Mapping[str, NDArray[Any]]


class Made(NamedTuple):
    """A trained network: tensors of some of its steps, and how it came about."""

    name: str
    batch: int
    steps: Mapping[int, Tensors]
    told: dict[str, Any]


def of_chars(seed: int) -> Made:
    """Train the transformer of characters."""
    done = train_chars(seed, STEPS)
    told = {
        "data": f"the standard library's {len(library_text())} characters, Python "
        f"{platform.python_version()}",
        "training": f"{len(done.losses)} steps of {CHARS_BATCH} x {CONTEXT} characters, AdamW, "
        f"learning rate 0.001, two threads, seed {seed}",
        "parameters": done.parameters,
        "loss_first": round(done.losses[0], 3),
        "loss_last_ten": round(float(np.mean(done.losses[-10:])), 3),
        "logit_sigma": {str(step): round(one, _DIGITS) for step, one in done.logit_sigma.items()},
    }
    return Made("chars", CHARS_BATCH, done.tensors, told)


def of_digits(name: str) -> Made:
    """Train a network of the digits, dense."""
    epochs = EPOCHS[name]
    done = train(Run(name, "dense", "2:4", 0, epochs), digits())
    layers = _network(name).layers
    told = {
        "data": SOURCE,
        "training": f"{epochs} epochs of batches of {BATCH}, dense, seed 0",
        "parameters": sum(tensors["weight"].size for tensors in done.steps[-1].seen.values()),
        "accuracy": round(done.accuracy, _DIGITS),
    }
    steps = {step.number: step_tensors(layers, step.seen) for step in done.steps}
    return Made(name, BATCH, steps, told)


def _network(name: str) -> Network:
    return load_model(HERE / f"{name}.yaml")


def document(made: Made) -> dict[str, Any]:
    """What is told of a network: spreads at every step, misfits and survivors at the last."""
    network = _network(made.name)
    sources = {step: recorded(tensors) for step, tensors in made.steps.items()}
    found = {str(s): of_layers(network, source, made.batch) for s, source in sources.items()}
    last = measured(network, sources[max(sources)], made.batch)
    return {**made.told, "batch": made.batch, "layers": rounded(found), "masks": rounded(last)}


def sample(made: Made) -> dict[str, NDArray[np.float16]]:
    """Corners of a layer's tensors at the last step, features last, over the largest magnitude."""
    tensors, layer = made.steps[max(made.steps)], SAMPLED[made.name]
    found = {}
    for role in ("weight", "activation", "gradient"):
        values = tensors[f"{layer}.{role}"]
        last = np.moveaxis(values, 1, -1) if values.ndim == 4 else values
        corner = last.reshape(-1, last.shape[-1])[:SIDE, :SIDE]
        scaled = corner / np.abs(corner).max()
        found[f"{made.name}.{role}"] = np.ascontiguousarray(scaled, np.float16)
    return found


def rounded(value: Any) -> Any:
    """The same with four decimals, all the way down."""
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    return round(value, _DIGITS) if isinstance(value, float) else value


def every_network(seed: int) -> Iterator[Made]:
    """Train all three."""
    yield from map(of_digits, EPOCHS)
    yield of_chars(seed)


def main(arguments: list[str]) -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for everything, instead of the tree")
    out = parser.parse_args(arguments).out
    networks: dict[str, Any] = {}
    corners: dict[str, NDArray[np.float16]] = {}
    for made in every_network(seed=0):
        networks[made.name] = document(made)
        corners |= sample(made)
        print(f"{made.name}: {made.told}", flush=True)
    about = {
        **{name: version(name) for name in LIBRARIES},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "samples": {name: rounded(of_matrix(one)) for name, one in corners.items()},
    }
    whole = json.dumps({"conditions": about, "networks": networks}, indent=1, allow_nan=False)
    write_folder(out or REPORT, {"recorded.json": whole + "\n"})
    stored = save(corners)
    path = (out or HERE) / "tensors-sample.safetensors"
    write_file(path, partial(_write, stored=stored))


def _write(path: Path, stored: bytes) -> None:
    path.write_bytes(stored)


if __name__ == "__main__":
    main(sys.argv[1:])
