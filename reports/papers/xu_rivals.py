"""Table 3 of Xu et al.: channel pruning as smaller layers, unstructured masks without a promise."""

from collections.abc import Mapping
from typing import Any

import nmsim
from nmsim.gemm import PHASES
from nmsim.machines import Machine
from nmsim.network.catalog import Network
from nmsim.network.layer import Layer, Linear
from nmsim.network.layers.convolution import Convolution
from nmsim.run.point import Point, rows
from nmsim.spec import read_yaml, validate
from reports.claims import Found, Verdict, judged
from reports.papers.bench import AS_IS, Bench
from reports.papers.paper import HERE, Figures, Printed
from reports.papers.phase_gains import network_rows, phase_gains
from reports.papers.xu_layers import A100, BATCH, PATTERN

__all__ = ["channel_gain", "judge_rivals", "measure_rivals", "smaller"]

_ALIGNED = 8
"""Channels are kept by eights, which tensor cores need."""

_ROUNDING = 1e-9
_DIGIT = 0.05
"""Half of the last digit that the table prints of a speed-up."""


def smaller(network: Network, pruned: float, *, inputs: bool) -> Network:
    """A network without a share of the filters of every convolution.

    Parameters
    ----------
    inputs
        Whether layers lose the channels too that the filters before them made.
    """

    def left(channels: int) -> int:
        return max(_ALIGNED, round(channels * (1 - pruned) / _ALIGNED) * _ALIGNED)

    def cut(layer: Layer) -> Layer:
        fields: dict[str, int] = {}
        if isinstance(layer, Convolution):
            fields["out_channels"] = left(layer.out_channels)
            if inputs and layer.input != "data":
                fields["in_channels"] = left(layer.in_channels)
        elif isinstance(layer, Linear) and inputs:
            fields["in_features"] = left(layer.in_features)
        return layer.model_copy(update=fields)

    layers = [cut(layer).model_dump(exclude_defaults=True) for layer in network.layers]
    return validate(Network, {"layers": layers}, f"{network.name} without channels")


def measure_rivals(layers: str = "*", bench: Bench = AS_IS) -> dict[str, Any]:
    """Time of a step with a smaller forward; speed-up by masks that promise nothing."""
    table, gpu = read_yaml(HERE / "xu-2022.yaml")["tables"]["rivals"], bench.machine(A100)
    return {
        "hardware": A100,
        "batch": BATCH,
        "pruned_percent": 100 * (1 - nmsim.Pattern.parse(PATTERN).density),
        "channels": {
            name: _channels(nmsim.load_model(row["model"]), row["pruned_percent"] / 100, gpu)
            for name, row in table["channels"].items()
        },
        "unstructured": {
            name: phase_gains(
                network_rows(row["model"], row["recipe"], PATTERN, BATCH, gpu, layers)
            )["all"]["speedup"]
            for name, row in table["unstructured"].items()
        },
    }


def _channels(network: Network, pruned: float, gpu: Machine) -> dict[str, float]:
    dense = _times(network, gpu)
    cases = {"filters": False, "filters and the channels that they made": True}
    return {
        case: sum(dense.values())
        / (
            sum(dense.values())
            - dense["forward"]
            + _times(smaller(network, pruned, inputs=inputs), gpu)["forward"]
        )
        for case, inputs in cases.items()
    }


def _times(network: Network, gpu: Machine) -> dict[str, float]:
    """Microseconds of the dense GEMMs of every phase."""
    point = Point(
        network.gemms(BATCH), hardware=gpu, fidelity="analytical", compare=False, elementwise=False
    )
    found: dict[str, float] = dict.fromkeys(PHASES, 0.0)
    for row in rows(point):
        found[row["phase"]] += row["time_us"]
    return found


def channel_gain(_: Printed, figures: Figures, keys: tuple[str, ...]) -> Found:
    """Speed-up of a step whose forward has smaller layers."""
    return Found(
        figures["channels"][keys[0]],
        "a smaller forward, backward and update dense, as the table's columns have it",
        f"{figures['hardware']}, batch {figures['batch']}",
    )


def judge_rivals(printed: Printed, figures: Figures) -> list[Verdict]:
    """What the ratios that the table prints leave of the MACs, and whether hardware may use it."""
    table = printed["rivals"]
    return [
        *(_left(name, row, table) for name, row in table["channels"].items()),
        *(
            _actual(name, row, table["where"], figures)
            for name, row in table["unstructured"].items()
        ),
    ]


def _left(name: str, row: Mapping[str, Any], table: Printed) -> Verdict:
    gain = 3 / (3 - row["pruned_percent"] / 100)
    return judged(
        f"{name}: one of three GEMMs without {row['pruned_percent']} % of its channels",
        table["where"],
        f"{row['factor']}×",
        f"MACs allow {gain:.3f}×",
        [] if abs(gain - row["factor"]) <= _DIGIT else ["the ratio of MACs is another"],
    )


def _actual(name: str, row: Mapping[str, Any], where: str, figures: Figures) -> Verdict:
    gain, pruned = figures["unstructured"][name], figures["pruned_percent"]
    faster = gain > 1 + _ROUNDING
    wrong = [f"GEMMs run at {gain:.3f}× dense" for _ in [0] if faster != row["actual"]]
    wrong += [f"{pruned:g} % are pruned here" for _ in [0] if pruned != row["pruned_percent"]]
    return judged(
        f"{name}: actual speed-up by {row['pruned_percent']} % without structure",
        where,
        "✓" if row["actual"] else "✗",
        f"{gain:.3f}× (recipe {row['recipe']})",
        wrong,
    )
