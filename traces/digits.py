"""Train a small network on scikit-learn's 8x8 digits: real weights without a download.

Run ``python -m traces.digits`` with the extra ``digits``. It writes ``digits.safetensors`` beside
itself, tensors ``<layer>.weight`` of shape (out, in), which ``reports/pruning`` reads.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from nmsim.files import write_file

HIDDEN = (256, 128)


def main() -> None:
    """Train on three quarters of the digits, test on the rest, store the weights."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16.0, labels, test_size=0.25, random_state=0, stratify=labels)
    train, test, train_labels, test_labels = parts
    network = MLPClassifier(HIDDEN, alpha=1e-3, max_iter=60, tol=0.0, random_state=0)
    network.set_params(n_iter_no_change=60)
    with warnings.catch_warnings():
        # 60 epochs are what was asked for.
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(train, train_labels)
    weights = {
        f"fc{number}.weight": np.ascontiguousarray(matrix.T, np.float32)
        for number, matrix in enumerate(network.coefs_, 1)
    }
    made = {
        "data": "scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits)",
        "network": "64-256-128-10, ReLU, Adam, 60 epochs, L2 0.001, random_state 0",
        "test_accuracy": round(float(network.score(test, test_labels)), 4),
    }
    # One entry of metadata, because safetensors writes several in any order.
    stored = save(weights, {"made": json.dumps(made)})

    def write(path: Path) -> None:
        path.write_bytes(stored)

    write_file(Path(__file__).with_name("digits.safetensors"), write)


if __name__ == "__main__":
    main()
