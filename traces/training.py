"""One training run on scikit-learn's 8x8 digits under a recipe, every mask made by nmsim.

Deterministic: one thread, seeds for weights, order of samples and draws. Extra ``digits``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

from nmsim.pattern import Pattern
from nmsim.recipes.recipe import Recipe, load_recipe
from traces.digits_networks import DigitsNetwork, Seen, made

__all__ = ["BATCH", "Digits", "Outcome", "Run", "Step", "digits", "recipe_of", "train"]

HERE = Path(__file__).resolve().parent
BATCH = 32
SRSTE_DECAY = 2e-4
"""Of pruned weights under ``fst``; inside the learning rate (Zhou et al., ICLR 2021, Eq. 8)."""

_STEPS = 100_000
"""Draws of step s of seed i come from i * this + s."""


@dataclass(frozen=True)
class Run:
    """What is trained, and how long; the last step whose masks are fresh is remembered.

    Of a dense run the first step of the second epoch is remembered too.
    """

    network: str
    recipe: str
    pattern: str
    seed: int
    epochs: int


class Digits(NamedTuple):
    """Pixels over 16 and labels."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """One step: its number, the seed of what it drew, tensors and masks by layer."""

    number: int
    draws: int
    seen: dict[str, Seen]


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Parameters
    ----------
    losses
        Mean cross-entropy of the steps of every epoch.
    accuracy
        On the test set, with the weights pruned as in forward.
    steps
        Those remembered, in order.
    """

    run: Run
    losses: tuple[float, ...]
    accuracy: float
    steps: tuple[Step, ...]


def digits() -> Digits:
    """Three quarters to train on, the rest to test: the split of ``digits.py``."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16.0, labels, test_size=0.25, random_state=0, stratify=labels)
    train, test, train_labels, test_labels = parts
    pixels = (np.asarray(part, np.float32) for part in (train, test))
    return Digits(next(pixels), train_labels, next(pixels), test_labels)


def recipe_of(name: str) -> Recipe:
    """A recipe of the catalog, or of the file beside this one."""
    beside = HERE / f"{name}.yaml"
    return load_recipe(beside if beside.is_file() else name)


def train(run: Run, data: Digits) -> Outcome:
    """Train one network under one recipe."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    network, recipe = made(run.network, run.seed), recipe_of(run.recipe)
    network.prune(recipe, Pattern.parse(run.pattern), BATCH)
    optimiser = _optimiser(run, network)
    per_epoch = len(data.images) // BATCH
    plan = _Plan(recipe, per_epoch, run.epochs)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan.steps)
    losses = np.empty(plan.steps)
    remembered = []
    for step, batch in enumerate(_batches(run.seed, data, run.epochs)):
        see, draws = step in plan.remembered, run.seed * _STEPS + step
        network.start_step(draws, make_masks=plan.makes_masks(step), see=see)
        if plan.prunes_for_good and step >= plan.first:
            _keep_only_masked(network)
        loss = F.cross_entropy(network(batch[0]), batch[1])
        optimiser.zero_grad()
        loss.backward()
        if recipe.name == "fst":
            _decay_pruned(network)
        optimiser.step()
        rate.step()
        losses[step] = loss.item()
        if see:
            remembered.append(Step(step, draws, network.seen()))
    curve = losses.reshape(run.epochs, per_epoch).mean(axis=1)
    accuracy = _accuracy(network, data, fresh=not plan.prunes_for_good)
    return Outcome(run, tuple(curve.tolist()), accuracy, tuple(remembered))


class _Plan:
    """When masks of weights are made over a run of so many steps."""

    def __init__(self, recipe: Recipe, per_epoch: int, epochs: int) -> None:
        self.steps = steps = per_epoch * epochs
        weights = [offer for offer in recipe.operands if offer.role == "weight"]
        # Trained dense for half of the run, pruned once, then trained on with the mask fixed.
        self.prunes_for_good = recipe.name == "asp"
        self.first = steps // 2 if self.prunes_for_good else 0
        self.every = min((offer.refresh for offer in weights), default=1)
        last = self.first if self.prunes_for_good else (steps - 1) // self.every * self.every
        self.remembered = (last,) if recipe.operands else (per_epoch, last)

    def makes_masks(self, step: int) -> bool:
        if self.prunes_for_good:
            return step == self.first
        return step % self.every == 0


def _optimiser(run: Run, network: DigitsNetwork) -> torch.optim.Optimizer:
    if run.network == "digits-cnn":
        return torch.optim.SGD(network.parameters(), lr=0.04, momentum=0.9)
    return torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)


def _batches(seed: int, data: Digits, epochs: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Whole batches of every epoch, in an order that depends on the seed alone."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(data.images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            at = order[start : start + BATCH]
            yield torch.from_numpy(data.images[at]), torch.from_numpy(data.labels[at])


def _keep_only_masked(network: DigitsNetwork) -> None:
    with torch.no_grad():
        for gemms in network.gemms.values():
            gemms.weight.copy_(gemms.weight_in("forward", gemms.weight))


def _decay_pruned(network: DigitsNetwork) -> None:
    with torch.no_grad():
        for gemms in network.gemms.values():
            pruned = gemms.weight - gemms.weight_in("forward", gemms.weight)
            gradient: Any = gemms.weight.grad
            gradient += SRSTE_DECAY * pruned


def _accuracy(network: DigitsNetwork, data: Digits, *, fresh: bool) -> float:
    """Share of the test set that is recognised, with masks of the weights as they are now."""
    network.start_step(0, make_masks=fresh, see=False)
    with torch.no_grad():
        found = network(torch.from_numpy(data.test_images)).argmax(1).numpy()
    return float((found == data.test_labels).mean())
