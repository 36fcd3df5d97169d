"""What a run says in a sentence or two: which speed-up, of what, where, and what limits it.

Everything here reads rows and a manifest, so that a stored result answers as it did when it ran.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from nmsim.evidence.standing import STANDINGS
from nmsim.gemm import PHASES
from nmsim.result import macs_left, totals

__all__ = ["against", "answer", "evidence_said", "subject", "sums"]

Row = Mapping[str, Any]

_LEAST = 0.05
"""Of a step: what takes less limits nothing that is worth a sentence."""


def sums(rows: Iterable[Row], about: Row) -> dict[str, dict[str, Any]]:
    """`nmsim.result.totals`, with what a manifest adds to ``all``: memory, and what a step serves.

    ``tokens_per_s`` are tokens that all samples of a step of inference read, over its time, by all
    machines that share the network; ``dense_tokens_per_s`` of the dense step; ``ms_per_token`` is
    the step over the tokens of one sample. None in training, and where no tokens are read.

    ``energy_per_token_pj`` is the energy of all GEMMs, of all machines that share the network, over
    the tokens that all samples of a step read, in training too; ``energy_delay_pj_us`` that energy
    times the step's time. None where no run asked for its cost.
    """
    found = totals(rows)
    whole = found["all"]
    tokens, one = about.get("step_tokens"), about.get("sample_tokens")
    step, dense = _step_us(whole), _dense_us(whole)
    whole |= {
        "memory_bytes": about.get("memory_bytes"),
        "capacity_bytes": about.get("capacity_bytes"),
        "tokens_per_s": _over(tokens, step, 1e6),
        "dense_tokens_per_s": _over(tokens, dense, 1e6),
        "ms_per_token": _over(step, one, 1e-3),
    }
    energy = None if whole["energy_pj"] is None else (about.get("tp") or 1) * whole["energy_pj"]
    whole |= {
        "energy_per_token_pj": _over(energy, about.get("read_tokens") or tokens, 1.0),
        "energy_delay_pj_us": None if energy is None or step is None else energy * step,
    }
    return found


def _step_us(whole: Row) -> float | None:
    """Microseconds of the step; of its GEMMs where rows do not tell what stands beside them."""
    step: float | None = whole["time_us"] if whole["step_us"] is None else whole["step_us"]
    return step


def _dense_us(whole: Row) -> float | None:
    known = "dense_time_us" if whole["step_us"] is None else "dense_step_us"
    dense: float | None = whole[known]
    return dense


def _over(numerator: float | None, denominator: float | None, scale: float) -> float | None:
    return None if numerator is None or not denominator else scale * numerator / denominator


def answer(rows: Iterable[Row], about: Row) -> str:
    """The answer that a run gives, in words whose figures are those of its totals.

    Parameters
    ----------
    rows
        Of the run.
    about
        Its manifest.
    """
    table = list(rows)
    if not table:
        return f"{subject(about)}: nothing was run."
    whole = sums(table, about)["all"]
    said = (
        _gain(table, whole, about),
        _energy(whole),
        _limit(table, whole, about),
        evidence_said(table),
    )
    return f"{subject(about)}: {' '.join(filter(None, said))}"


def evidence_said(rows: Sequence[Row]) -> str:
    """How near measured data the rows stand, as a sentence; empty: rows do not say.

    Shares are of the time of GEMMs, in whole per cent; what is less than half of one is left out.
    """
    times = dict.fromkeys(STANDINGS, 0.0)
    for row in rows:
        if row.get("evidence"):
            times[row["evidence"]] += row["time_us"]
    whole = sum(times.values())
    if not whole:
        return ""
    shares = {word: round(100 * time / whole) for word, time in times.items()}
    said = [f"{share} % {_STANDS[word]}" for word, share in shares.items() if share]
    return f"Of the time of its GEMMs {_listed(said)}."


_STANDS = {
    "near": "stands near what was measured",
    "within": "within what was measured",
    "beyond": "beyond what was measured",
}


def subject(about: Row) -> str:
    """What a manifest is of: model, machine, what chooses there, and what a step is."""
    tp = about.get("tp") or 1
    machine = f"{tp} x {about['hardware']}" if tp > 1 else str(about["hardware"])
    parts = (about.get("choices"), about.get("step"))
    return ", ".join([f"{about['model']} on {machine}", *(str(one) for one in parts if one)])


def _gain(rows: Sequence[Row], whole: Row, about: Row) -> str:
    step, dense = _step_us(whole), _dense_us(whole)
    takes = [_time(step), *_served(whole["tokens_per_s"])]
    if dense is None:
        return f"{', '.join(takes)}; no dense run was made to compare with."
    if not _changed(rows):
        recipe = about["recipe"]
        none = "nothing is pruned" if recipe == "dense" else f"recipe {recipe} offers no mask to it"
        return f"{none}, {', '.join(takes)}."
    against = [_time(dense), *_served(whole["dense_tokens_per_s"])]
    instead = (f"{one} instead of {other}" for one, other in zip(takes, against, strict=True))
    return f"{_speedups(rows, whole, str(about['recipe']))}, {', '.join(instead)}."


def _energy(whole: Row) -> str:
    """What GEMMs take, where a run asked for it: of a token too, where a step reads any."""
    step, token = whole["energy_pj"], whole["energy_per_token_pj"]
    if step is None:
        return ""
    each = "" if token is None else f", {_joules(token)} a token"
    return f"Its GEMMs take {_joules(step)}{each}."


def _joules(pj: float) -> str:
    """Energy with three digits, in the unit in which it has one to three before the point."""
    for unit, size in (("J", 1e12), ("mJ", 1e9), ("uJ", 1e6), ("nJ", 1e3)):
        if pj >= size:
            return f"{_figures(pj / size)} {unit}"
    return f"{_figures(pj)} pJ"


def _changed(rows: Sequence[Row]) -> bool:
    """Whether a row offers a mask, or ran in another number format than the dense run."""
    return any(_offered(row) or row.get("format_speedup") is not None for row in rows)


def _speedups(rows: Sequence[Row], whole: Row, recipe: str) -> str:
    gemms, step = whole["speedup"], whole["step_speedup"]
    formats = whole["format_speedup"]
    part = "" if formats is None else f", number formats alone {_ratio(formats)}"
    by = f" by {_listed(_patterns(rows) or ['number formats'])} (recipe {recipe}{part})"
    if step is None:
        return f"speed-up {_ratio(gemms)} of the GEMMs{by}"
    alone = "" if _ratio(step) == _ratio(gemms) else f", {_ratio(gemms)} of its GEMMs alone,"
    return f"speed-up {_ratio(step)} of the step{alone}{by}"


def _patterns(rows: Sequence[Row]) -> list[str]:
    """Patterns of the masks that are offered."""
    found = {str(row[side]) for row in rows for side in ("a_pattern", "b_pattern")} - {"dense"}
    return sorted(found)


def _offered(row: Row) -> bool:
    return {row["a_pattern"], row["b_pattern"]} != {"dense"}


def _followed(row: Row) -> bool:
    """Whether the row's mask is used: it can be, and the machine did not pass it over."""
    passed = str(row.get("chosen") or "").startswith("dense")
    return row.get("mask_cycles") is not None and not passed


# ---- what limits it


class _Part(NamedTuple):
    """A part of a step: microseconds, and what is to be said of it given its share of the step."""

    us: float
    said: Callable[[str], str]


def _limit(rows: Sequence[Row], whole: Row, about: Row) -> str:
    """The largest part of the step that no mask shortens, or else what those gain that are."""
    step = _step_us(whole)
    if not step or not any(map(_offered, rows)):
        return _left_out(about)
    parts = [*_of_rows(rows, about), *_beside(whole)]
    largest = max(parts, key=lambda part: part.us, default=None)
    if largest is None or largest.us < _LEAST * step:
        return " ".join(filter(None, (_masked(rows), _left_out(about))))
    said = largest.said(_share(largest.us / step))
    return " ".join(filter(None, (said, _left_out(about))))


def _of_rows(rows: Sequence[Row], about: Row) -> list[_Part]:
    """GEMMs that no mask shortens: of attention, with a mask that is not used, without one."""
    unused = [row for row in rows if _offered(row) and not _followed(row)]
    free = [row for row in rows if not _offered(row)]
    attention = [row for row in free if row["kind"] == "attention"]
    others = [row for row in free if row["kind"] != "attention"]
    over = " over the cache" if about.get("scenario") == "decode" else ""
    return [
        _Part(_us(attention), lambda share: f"Attention{over}, {share} of the step, has no mask."),
        _Part(
            _us(others),
            lambda share: f"{_named(others)}, {share} of the step, are offered no mask.",
        ),
        _Part(
            _us(unused), lambda share: f"Masks of {share} of the step are not used: {_why(unused)}."
        ),
    ]


def _us(rows: Sequence[Row]) -> float:
    return sum(float(row["time_us"]) for row in rows)


def _named(rows: Sequence[Row]) -> str:
    """GEMMs by what they have in common: whole phases, or a few layers."""
    phases = [str(phase) for phase in PHASES if any(row["phase"] == phase for row in rows)]
    if len(phases) > 1 or phases != ["forward"]:
        return f"GEMMs of {_listed(phases)}"
    layers = list(dict.fromkeys(str(row["layer"]) for row in rows))
    return f"GEMMs of {layers[0] if len(layers) == 1 else f'{len(layers)} layers'}"


def _listed(names: Sequence[str]) -> str:
    """Names in a row: "a", "a and b", "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _why(rows: Sequence[Row]) -> str:
    """Why masks are not used: what is said of those that take most of the time."""
    spent: dict[str, float] = {}
    for row in rows:
        notes = str(row.get("note") or "").split("; ")
        told = next((one for one in notes if " by synthetic " not in one), "")  # how it was made
        if row.get("mask_cycles") is not None:
            told = "their GEMMs are no slower dense"
        spent[told] = spent.get(told, 0.0) + float(row["time_us"])
    return max(spent, key=lambda one: spent[one]) or "no kernel takes them"


_BESIDE = {
    "mask_us": "Making masks takes {share} of the step.",
    "elementwise_us": "Elementwise work, estimated, takes {share} of the step.",
    "host_wait_us": "Waiting for the host, estimated, takes {share} of the step.",
    "communication_us": "Communication, estimated, takes {share} of the step.",
    "scatter_us": "Putting images together takes {share} of the step.",
}


def _beside(whole: Row) -> list[_Part]:
    """What a step takes beside its GEMMs."""
    if whole["step_us"] is None:
        return []

    def told(text: str) -> Callable[[str], str]:
        return lambda share: text.format(share=share)

    return [_Part(whole.get(name) or 0.0, told(text)) for name, text in _BESIDE.items()]


def _masked(rows: Sequence[Row]) -> str:
    """What GEMMs gain by masks that are used, and what these promise."""
    used = [row for row in rows if _offered(row) and _followed(row)]
    cycles, left = sum(row["cycles"] for row in used), sum(map(macs_left, used))
    if not cycles or not left or any(row["dense_cycles"] is None for row in used):
        return ""
    gain = sum(row["dense_cycles"] for row in used) / cycles
    promised = sum(row["macs_dense"] for row in used) / left
    return f"GEMMs with masks gain {_ratio(gain)} where these promise {_ratio(promised)}."


def _left_out(about: Row) -> str:
    """What a step of several machines lacks where nothing is known of the link between them."""
    machine = about.get("machine") or {}
    if (about.get("tp") or 1) == 1 or machine.get("link"):
        return ""
    return f"Communication is left out: {about['hardware']} has no link."


def against(value: float, dense: float, recipe: str, unit: str = "us") -> str:
    """A time (us, scaled to be read) or a rate, and the dense one where a recipe prunes.

    Examples
    --------
    >>> against(1500.0, 3000.0, "asp"), against(12.5, 10.0, "dense", unit="tokens/s")
    ('1.50 ms instead of 3.00 ms', '12.5 tokens/s')
    """
    one, other = (_time(v) if unit == "us" else f"{_figures(v)} {unit}" for v in (value, dense))
    return one if recipe == "dense" else f"{one} instead of {other}"


def _served(tokens: float | None) -> list[str]:
    return [] if tokens is None else [f"{_figures(tokens)} tokens/s"]


def _share(part: float) -> str:
    return f"{100 * part:.0f}%"


def _ratio(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _time(us: float | None) -> str:
    if us is None:
        return "unknown"
    scale, unit = next((pair for pair in _UNITS if us >= pair[0]), _UNITS[-1])
    return f"{_figures(us / scale)} {unit}"


_UNITS = ((1e6, "s"), (1e3, "ms"), (1.0, "us"))


def _figures(value: float) -> str:
    """Three significant digits, and all before the point."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"
