"""What a run is asked for, in words and in tokens: "decode of 16 sequences at ... of context"."""

from collections.abc import Sequence
from typing import Any

from nmsim.gemm import PHASES
from nmsim.network.scenario import Scenario
from nmsim.run.workload import Workload

__all__ = ["asked", "counted"]


def asked(
    workload: Workload, samples: int, phases: Sequence[str] = PHASES, layers: str = "*"
) -> dict[str, Any]:
    """What one step of a run is, for its manifest.

    Parameters
    ----------
    samples
        In a step.
    phases, layers
        Of it that are run.

    Returns
    -------
    dict
        ``step``, in words; ``step_tokens``, that it reads of all samples, and ``sample_tokens``, of
        one: both None where nothing is inferred, or the network reads no tokens; ``read_tokens``,
        of all samples in training as well.
    """
    tokens = _tokens(workload)
    inferred = None if workload.scenario.trains else tokens
    return {
        "step": _part(workload, phases, layers) + _whole(workload, samples),
        "step_tokens": None if inferred is None else samples * inferred,
        "sample_tokens": inferred,
        "read_tokens": None if tokens is None else samples * tokens,
    }


def _tokens(workload: Workload) -> int | None:
    """Tokens of a sample that a step reads; of two sequences, the one read first."""
    if workload.sequence is None:
        return None
    read = workload.sequence.reading(workload.scenario).read
    return read.get("sequence") or read["source"] or read["target"]


def _part(workload: Workload, phases: Sequence[str], layers: str) -> str:
    """What is run of a step, where that is not all of it."""
    some = [] if layers == "*" else [f"layers {layers}"]
    missing = [phase for phase in workload.scenario.phases if phase not in phases]
    if missing and not workload.given and workload.trace is None:
        some.append(" and ".join(phases))  # two at most, as one is missing
    return "".join(f"{one} of " for one in some)


def _whole(workload: Workload, samples: int) -> str:
    scenario, sequence = workload.scenario, workload.sequence
    if workload.trace is not None:
        return "the recorded step"
    if workload.given:
        return "these GEMMs"
    if sequence is None:
        kind = "a training step" if scenario.trains else "inference"
        return f"{kind} of {counted(samples, 'sample')}"
    reading = sequence.reading(scenario)
    if scenario.name == "decode":
        return _decode(scenario, reading.read, reading.held, samples)
    whole = reading.read.get("sequence") or reading.read["source"]
    what, one = {
        "train": ("a training step", "sequence"),
        "infer": ("inference", "sequence"),
        "prefill": ("prefill", "prompt"),
    }[scenario.name]
    behind = reading.read.get("target", 1)
    more = f" and {counted(behind, 'token')} of target" if behind > 1 else ""
    return f"{what} of {counted(samples, one)} of {counted(whole, 'token')}{more}"


def _decode(scenario: Scenario, read: Any, held: Any, samples: int) -> str:
    """A step that reads tokens behind others: of each sequence one, unless more were asked for."""
    own = "sequence" if "sequence" in read else "target"
    context = held[own] - read[own]
    several = f"{counted(read[own], 'token')} of each of " if read[own] > 1 else ""
    source = f", behind a source of {counted(held['source'], 'token')}" if own == "target" else ""
    return (
        f"{scenario.name} of {several}{counted(samples, 'sequence')} at "
        f"{counted(context, 'token')} of context{source}"
    )


def counted(number: int, what: str) -> str:
    """A number of things, in words: "1 token", "2,048 tokens"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
