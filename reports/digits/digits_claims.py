"""What papers and chance say of real tensors, judged by the figures; intervals are over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Any, NamedTuple

from scipy.special import stdtrit

from reports.claims import Verdict, classed, judged

__all__ = [
    "Interval",
    "interval",
    "judge_estimators",
    "judge_fits",
    "judge_step",
    "judge_survivors",
    "judge_training",
    "paired",
]

Figures = Mapping[str, Any]

NETWORKS = {"digits-cnn": "CNN", "digits-vit": "ViT"}
CLOSE = 0.02
"""Relative: what is this close to chance is called the same, however narrow its interval."""

NO_GAIN = 1.005
"""A speed-up that rounds to 1.00."""


class Interval(NamedTuple):
    """A mean over seeds and half of its 95% confidence interval."""

    mean: float
    half: float

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half

    def shown(self, form: str = ".3f", factor: float = 1.0, unit: str = "") -> str:
        """As ``mean ± half`` with a unit."""
        middle = f"{self.mean * factor:{form}}".replace("-", "−")
        return f"{middle} ± {self.half * factor:{form.lstrip('+')}}{unit}"


def interval(values: Sequence[float]) -> Interval:
    """The mean of two values or more, one for each seed, and half of its 95% interval by Student.

    Examples
    --------
    >>> interval([1.0, 2.0, 3.0]).shown(".2f")
    '2.00 ± 2.48'
    """
    quantile = float(stdtrit(len(values) - 1, 0.975))
    return Interval(mean(values), quantile * stdev(values) / sqrt(len(values)))


def paired(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Mean difference of two runs of the same seeds."""
    return interval([a - b for a, b in zip(first, second, strict=True)])


def _points(difference: Interval) -> str:
    return difference.shown("+.2f", 100, " points")


def _told(found: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {text}" for name, text in found.items())


def _accuracies(figures: Figures, network: str, run: str) -> list[float]:
    return list(figures["runs"][network][run]["accuracy"])


def _difference(figures: Figures, first: str, second: str) -> dict[str, Interval]:
    return {
        name: paired(_accuracies(figures, network, first), _accuracies(figures, network, second))
        for network, name in NETWORKS.items()
    }


def _not_above(name: str, difference: Interval, than: str) -> Iterable[str]:
    if difference.low > 0:
        return
    what = "below" if difference.high < 0 else "not told apart from"
    yield f"{name}: {what} {than}, {_points(difference)}"


def _below(name: str, difference: Interval, than: str) -> Iterable[str]:
    if difference.high < 0:
        yield f"{name}: below {than}, {_points(difference)}"


def judge_training(figures: Figures) -> list[Verdict]:
    """Accuracy under a recipe is what it is without."""
    stated = {
        "transposable+mvue": (
            "2:4 in all three GEMMs (transposable+mvue) keeps the accuracy of dense training",
            "Chmiel et al., ICLR 2023, Table 5",
            "ResNet18 70.6 % and 70.6 %, ResNet50 77.1 % against 77.2 %, ImageNet",
        ),
        "asp": (
            "weights pruned once and trained on (asp) keep the accuracy of dense training",
            "Mishra et al., arXiv:2104.08378, abstract",
            "maintains accuracy",
        ),
        "fst": (
            "2:4 weights and half of the activations in update (fst) keep it",
            "Xu et al., AAAI 2022, Table 3",
            "0.2 % below dense, ResNet18, ImageNet",
        ),
        "sdgp": (
            "gradients pruned 2:4 along channels in backward (sdgp) keep it",
            "Chmiel et al., ICLR 2023, Table 11",
            "71.2 % against 71.4 %, ResNet18, ImageNet",
        ),
    }
    verdicts = []
    for recipe, (statement, where, printed) in stated.items():
        found = _difference(figures, f"{recipe} 2:4", "dense 2:4")
        verdicts.append(
            judged(
                statement,
                where,
                printed,
                _told({name: _points(of) for name, of in found.items()}),
                [w for name, of in found.items() for w in _below(name, of, "dense")],
            )
        )
    return verdicts


def judge_estimators(figures: Figures) -> list[Verdict]:
    """Unbiased against greedy gradients in update."""
    verdicts = []
    for pattern in ("2:4", "1:8"):
        gain = _difference(figures, f"mvue {pattern}", f"greedy {pattern}")
        verdicts.append(
            judged(
                f"gradients drawn {pattern} without bias train to a higher accuracy than the "
                "largest of each block",
                "Table 2 and Figure 3, left",
                "89.8 % against 85.5 % (1:2, ResNet18, Cifar10); severe degradation of greedy 2:4 "
                "on ImageNet",
                _told({name: _points(of) for name, of in gain.items()}),
                [w for name, of in gain.items() for w in _not_above(name, of, "greedy")],
            )
        )
    loss = _difference(figures, "mvue 2:4", "dense 2:4")
    verdicts.append(
        judged(
            "unbiased 2:4 gradients of update cost no accuracy",
            "Table 4",
            "ResNet18 70.6 % against 70.6 %, ResNet50 77.12 % against 77.2 % (approximate MVUE)",
            _told({name: _points(of) for name, of in loss.items()}),
            [w for name, of in loss.items() for w in _below(name, of, "dense")],
        )
    )
    return [*verdicts, *classed("algorithm", _judge_errors(figures))]


def _error(figures: Figures, network: str, pattern: str, name: str) -> Interval:
    return interval(figures["update_errors"][network][pattern][name])


def _judge_errors(figures: Figures) -> list[Verdict]:
    draws, biased, larger = figures["draws"], [], []
    means, errors = {}, {}
    for network, label in NETWORKS.items():
        for pattern in figures["update_errors"][network]:
            once, averaged, greedy = (
                _error(figures, network, pattern, name) for name in ("mvue", "mvue, mean", "greedy")
            )
            wanted = once.mean / sqrt(draws)
            place = f"{label} {pattern}"
            means[place] = f"{averaged.mean:.3f} (greedy {greedy.mean:.3f})"
            errors[place] = f"{once.mean:.3f} against {greedy.mean:.3f}"
            if not (averaged.mean < greedy.low and abs(averaged.mean / wanted - 1) < 0.1):
                biased.append(f"{place}: {averaged.mean:.3f}, expected {wanted:.3f}")
            if once.low <= greedy.high:
                larger.append(f"{place}: {errors[place]}")
    return [
        judged(
            f"the mean of many draws is the gradient: that of {draws} has 1/√{draws} of the error "
            "of one, while greedy's error is the same in every step",
            "section 4.1, Eq. 5",
            "bias 0",
            f"relative error of dYᵀX: {_told(means)}",
            biased,
        ),
        judged(
            "one unbiased draw has a larger error than greedy, which minimises it",
            "section 4.1",
            "best accuracy, though it does not minimise the MSE",
            f"relative error of dYᵀX: {_told(errors)}",
            larger,
        ),
    ]


def _gains(of_networks: Figures) -> dict[str, float]:
    """The least speed-up of the networks and fidelities, by phase."""
    return {
        phase: min(
            of["weighted"][phase]["speedup"]
            for fidelities in of_networks.values()
            for of in fidelities.values()
        )
        for phase in ("forward", "backward", "update")
    }


def judge_step(figures: Figures) -> list[Verdict]:
    """All three GEMMs of a step gain."""
    verdicts = []
    for machine, of_networks in figures["machines"].items():
        gains = _gains(of_networks)
        slow = [f"{phase} {gain:.2f}×" for phase, gain in gains.items() if gain < NO_GAIN]
        most = max(of["cycle"]["weighted"]["all"]["utilization"] for of in of_networks.values())
        why = f"no gain in {', '.join(slow)}: the GEMMs keep {most:.1%} of the machine busy"
        verdicts.append(
            judged(
                f"2:4 masks in all three GEMMs make each of them faster ({machine})",
                "section 1",
                "all training phases can potentially be accelerated by 2×",
                "the least of networks and fidelities: "
                + ", ".join(f"{phase} {gain:.2f}×" for phase, gain in gains.items()),
                [why] if slow else [],
            )
        )
    return verdicts


def _far(measured: Interval, expected: float) -> bool:
    """Whether the interval leaves chance out, and its middle is not close to it."""
    outside = not measured.low <= expected <= measured.high
    return outside and abs(measured.mean - expected) > CLOSE * expected


def judge_survivors(figures: Figures) -> list[Verdict]:
    """Surviving products of two masked operands, against independent masks."""
    verdicts = []
    for phase in ("forward", "backward", "update"):
        told, why = {}, []
        for network, label in NETWORKS.items():
            for pattern, phases in figures["survivors"][network].items():
                of = phases[phase]
                measured, expected = interval(of["mean"]), mean(of["expected"])
                place = f"{label} {pattern}"
                told[place] = f"{measured.shown()} of {expected:.3f}"
                if _far(measured, expected):
                    away = paired(of["mean"], of["expected"])
                    apart = paired(of["untied"], of["expected"])
                    why.append(
                        f"{place}: {away.shown('+.3f')} products a group, "
                        f"{apart.shown('+.3f')} if ties of zeros are broken at random"
                    )
        verdicts.append(
            judged(
                f"two masks leave N₁·N₂/M products of a group in {phase}",
                "section 5",
                "N₁·N₂/M: 1 (2:4), 2 (4:8), 0.25 (1:4); fewer beside a window's padding",
                _told(told),
                why,
            )
        )
    return verdicts


def _judge_chance(
    statement: str, printed: str, found: Mapping[str, Interval], expected: float
) -> Verdict:
    why = [
        f"{name}: {Interval(of.mean - expected, of.half).shown('+.1f', 100, ' points')}"
        for name, of in found.items()
        if _far(of, expected)
    ]
    told = {name: of.shown(".1f", 100, " %") for name, of in found.items()}
    return judged(statement, "no paper", f"{printed} by chance", _told(told), why)


def judge_fits(figures: Figures) -> list[Verdict]:
    """Groups that fit by chance: across the mask, and by halves."""
    verdicts = []
    for pattern, chance in figures["chance"]["transposed"].items():
        found = {
            f"{label} {role}": interval(values)
            for network, label in NETWORKS.items()
            for role, values in figures["transposed"][network][pattern].items()
        }
        verdicts.append(
            _judge_chance(
                f"a {pattern} mask made along features fits across them as often as chance has it",
                f"{100 * chance:.1f} %",
                found,
                chance,
            )
        )
    found = {
        f"{label} {role}": interval(values)
        for network, label in NETWORKS.items()
        for role, values in figures["halves"][network].items()
    }
    chance = figures["chance"]["halves"]
    verdicts.append(
        _judge_chance(
            "halves of 4:8 groups hold two each, so that 2:4 hardware can run them, as often as "
            "chance has it",
            f"{100 * chance:.1f} %",
            found,
            chance,
        )
    )
    return verdicts
