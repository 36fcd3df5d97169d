"""Spreads, misfits and survivors of synthetic tensors beside those of recorded ones."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nmsim.network.catalog import load_model
from nmsim.network.tensors import Synthetic
from traces.tensor_statistics import PATTERNS, measured, of_layers, widest

__all__ = ["ASSUMED", "KINDS", "NETWORKS", "constants", "ends", "moved", "sensitivity"]

TRACES = Path(__file__).resolve().parents[2] / "traces"

Figures = dict[str, Any]
Recorded = Mapping[str, Any]
Layer = Mapping[str, Any]

NETWORKS = {"digits-cnn": "CNN", "digits-vit": "ViT", "chars": "characters"}
KINDS = {
    "across": "misfit share, read across",
    "narrow": "misfit share on 2:4 selectors",
    "survivors": "survivors, mean of a group",
}
_SYNTHETIC = Synthetic()
ASSUMED = {
    "gradient_sigma": _SYNTHETIC.gradient_sigma,
    "channel_sigma": _SYNTHETIC.channel_sigma,
    "correlation": _SYNTHETIC.correlation,
    "logit_sigma": _SYNTHETIC.logit_sigma,
    "tokens": 0.0,
    "gradient_zeros": 0.0,
    "weight_sigma": 1.1107,
}
"""By constant what synthetic tensors have; of a normal weight pi / sqrt(8)."""


def _picked(constant: str, of: Layer) -> float | None:
    """A layer's own figure of a constant; None: it has none."""
    if constant in ("correlation", "tokens"):
        return of.get("neighbours") if of["images"] == (constant == "correlation") else None
    return of.get(constant)


def _range(layers: Iterable[Layer], constant: str) -> list[float] | None:
    """Least, mean and largest of the layers."""
    found = [one for of in layers if (one := _picked(constant, of)) is not None]
    if not found:
        return None
    return [round(one, 4) for one in (min(found), sum(found) / len(found), max(found))]


def _last(network: Recorded) -> list[Layer]:
    layers = network["layers"]
    return list(layers[max(layers, key=int)].values())


def constants(recorded: Recorded) -> Figures:
    """Of every constant and network least, mean and largest over layers, recorded and synthetic.

    ``steps`` has the mean of each recorded step, for those change as a network learns.
    """
    networks = recorded["networks"]
    found: Figures = {name: {"assumed": value, "networks": {}} for name, value in ASSUMED.items()}
    for name in NETWORKS:
        of = networks[name]
        drawn = list(
            of_layers(load_model(TRACES / f"{name}.yaml"), Synthetic(), of["batch"]).values()
        )
        for constant, into in found.items():
            if (measure := _range(_last(of), constant)) is not None:
                steps = {s: _range(one.values(), constant) for s, one in of["layers"].items()}
                into["networks"][name] = {
                    "recorded": measure,
                    "synthetic": _range(drawn, constant),
                    "steps": {s: one[1] for s, one in steps.items() if one},
                }
    logits = networks["chars"]["logit_sigma"]
    last = logits[max(logits, key=int)]
    found["logit_sigma"]["networks"]["chars"] = {"recorded": [last] * 3, "steps": dict(logits)}
    return {"constants": found, "made": {name: _made(networks[name]) for name in NETWORKS}}


def _made(network: Recorded) -> Figures:
    return {name: one for name, one in network.items() if name not in ("layers", "masks")}


def ends(recorded: Recorded) -> list[Synthetic]:
    """Synthetic tensors with all constants at the least, and at the largest, of any layer's."""
    layers = [layer for name in NETWORKS for layer in _last(recorded["networks"][name])]
    names = ("gradient_sigma", "channel_sigma", "correlation")
    ranges = [_range(layers, constant) or [0.0, 0.0, 0.0] for constant in names]
    return [Synthetic(0, *(of[at] for of in ranges)) for at in (0, -1)]


def sensitivity(recorded: Recorded, names: Iterable[str] = tuple(NETWORKS)) -> Figures:
    """Misfits and survivors by network, pattern, kind and role or phase, of each source.

    ``synthetic`` has the constants that nmsim uses, ``least`` and ``largest`` those of ``ends``,
    ``recorded`` is the last step, and ``worst`` what no tensor exceeds.
    """
    least, largest = ends(recorded)
    found: Figures = {}
    for name in names:
        of = recorded["networks"][name]
        network = load_model(TRACES / f"{name}.yaml")
        sources = {
            key: measured(network, source, of["batch"])
            for key, source in (("synthetic", Synthetic()), ("least", least), ("largest", largest))
        }
        found[name] = _beside({**sources, "recorded": of["masks"]})
    return {"networks": found}


def _beside(sources: Mapping[str, Any]) -> Figures:
    """By pattern, kind and role the figure of each source."""

    def all_of(pattern: str, kind: str, role: str) -> Figures:
        each = {name: round(of[pattern][kind][role], 4) for name, of in sources.items()}
        return {**each, "worst": round(widest(pattern)[kind], 4)}

    return {
        pattern: {
            kind: {
                role: all_of(pattern, kind, role) for role in sources["synthetic"][pattern][kind]
            }
            for kind in KINDS
            if kind in sources["synthetic"][pattern]
        }
        for pattern in PATTERNS
    }


def moved(networks: Recorded, kind: str, far: Callable[[Layer], float]) -> tuple[float, str, Layer]:
    """Where a kind's figures move most: how far, what of which network and pattern, all figures."""
    return max(
        (
            (far(of), f"{NETWORKS[name]} {role}, {pattern}", of)
            for name, patterns in networks.items()
            for pattern, kinds in patterns.items()
            for role, of in kinds.get(kind, {}).items()
        ),
        key=lambda one: one[0],
    )
