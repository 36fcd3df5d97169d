"""Predictions of measured steps, GEMMs and all beside them, and how far off they are.

No constant was fitted to a step: GEMMs have the constants of GEMMs, the rest follows from bytes,
launches, and what the stack of each row is documented to do.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from nmsim.errors import NmsimError, SpecError
from nmsim.machines import Machine, load_hardware
from nmsim.measured.steps.tables import MeasuredStep
from nmsim.result import totals
from nmsim.run.point import Point, rows

__all__ = ["PredictedStep", "predict_steps", "summarize_steps"]

_STATES = {"momentum": 2, "adam": 3, "accumulated": 1, "none": 0}
"""Tensors of 32 bits that an optimizer reads and writes beside gradients: masters and states, or
the sum of gradients alone."""


@dataclass(frozen=True)
class PredictedStep:
    """A measured step and what nmsim makes of it; milliseconds.

    Parameters
    ----------
    gemms_ms, beside_ms, wait_ms
        GEMMs with passes that put images together, what is no GEMM, and waiting for the host.
    """

    measured: MeasuredStep
    gemms_ms: float
    beside_ms: float
    wait_ms: float

    @property
    def step_ms(self) -> float:
        """The whole step."""
        return self.gemms_ms + self.beside_ms + self.wait_ms

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.step_ms / self.measured.step_ms


def predict_steps(
    steps: Iterable[MeasuredStep], hardware: str | None = None, file: str = "steps"
) -> list[PredictedStep]:
    """What the closed form makes of measured steps; of rows without a network nothing.

    Parameters
    ----------
    hardware
        Predict on this machine instead of the one that each row names.
    file
        As it is called in messages.

    Raises
    ------
    SpecError
        naming the line whose network, machine or stack there is not.
    """
    return [_predicted(step, hardware, file) for step in steps if step.network]


def _predicted(step: MeasuredStep, hardware: str | None, file: str) -> PredictedStep:
    try:
        point = Point(
            step.network,
            hardware=_machine(step, hardware),
            batch=step.batch,
            tokens=step.tokens,
            scenario=step.scenario,
            fidelity="analytical",
            compare=False,
        )
        whole = totals(rows(point))["all"]
    except NmsimError as error:
        raise SpecError(f"{file}, line {step.line}: {error}") from error
    return PredictedStep(
        step,
        gemms_ms=(whole["time_us"] + whole["mask_us"] + whole["scatter_us"]) / 1e3,
        beside_ms=whole["elementwise_us"] / 1e3,
        wait_ms=whole["host_wait_us"] / 1e3,
    )


def _machine(step: MeasuredStep, hardware: str | None) -> Machine:
    """The machine of a row, in its number format, its clock as long work has left it."""
    machine: Machine = load_hardware(hardware or step.hardware)
    own = {
        "dtype": step.dtype,
        "stack": step.stack,
        "layout": step.layout,
        "fused_attention": step.attention == "fused",
        "conditions": "sustained",
    }
    known = {name: value for name, value in own.items() if name in type(machine).model_fields}
    states = _STATES[step.optimizer]
    found: Machine = load_hardware(machine, **known, **{"elementwise.optimizer.tensors": states})
    return found


def summarize_steps(
    steps: Sequence[MeasuredStep], found: Sequence[PredictedStep]
) -> dict[str, Any]:
    """Errors of predicted steps, in fractions, and the rows without one by their reasons.

    ``median_ape`` and ``bias`` (geometric mean of predicted over measured, less 1) are of rows that
    are fit to judge by; ``groups`` has them by source and scenario.
    """
    fit = [one for one in found if one.measured.fit]
    groups: dict[str, list[PredictedStep]] = {}
    for one in fit:
        groups.setdefault(_group(one.measured), []).append(one)
    left = Counter(step.note for step in steps if step.fit and not step.network)
    return {
        **_errors(fit),
        "groups": [{"group": name, **_errors(own)} for name, own in groups.items()],
        "steps": [_row(one) for one in found],
        "not_covered": [{"why": why, "rows": count} for why, count in left.most_common()],
        "indicative": sum(not step.fit for step in steps),
    }


def _group(step: MeasuredStep) -> str:
    return f"{step.hardware}, {step.scenario}, {step.dtype}, {step.stack}"


def _errors(found: Sequence[PredictedStep]) -> dict[str, Any]:
    if not found:
        return {"rows": 0, "median_ape": None, "mape": None, "bias": None}
    off = [abs(one.ratio - 1) for one in found]
    return {
        "rows": len(found),
        "median_ape": median(off),
        "mape": math.fsum(off) / len(off),
        "bias": math.exp(math.fsum(math.log(one.ratio) for one in found) / len(found)) - 1,
    }


def _row(one: PredictedStep) -> dict[str, Any]:
    step = one.measured
    return {
        "name": step.name,
        "network": step.network,
        "hardware": step.hardware,
        "scenario": step.scenario,
        "dtype": step.dtype,
        "batch": step.batch,
        "tokens": step.tokens,
        "stack": step.stack,
        "layout": step.layout,
        "fit": step.fit,
        "measured_ms": step.step_ms,
        "predicted_ms": one.step_ms,
        "gemms_ms": one.gemms_ms,
        "beside_ms": one.beside_ms,
        "wait_ms": one.wait_ms,
        "ratio": one.ratio,
        "note": step.note,
    }
