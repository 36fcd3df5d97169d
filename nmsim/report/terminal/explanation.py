"""An explanation as text: the steps from promise to gain as a table, losses and mends as lines."""

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

__all__ = ["explanation_text"]

Document = Mapping[str, Any]

WIDTH = 100

_OF_PEAK = "takes: cycles of this GEMM, to which the steps add up. Steps:"

_LEGEND = (
    "takes: cycles of this GEMM. promised: those of the dense run, over the promise. lost: the "
    "difference, which takes the speed-up that is left from one step to the next. Steps:"
)


def explanation_text(of: Document) -> str:
    """What ``nmsim explain`` prints of one GEMM.

    Parameters
    ----------
    of
        As ``nmsim.run.explanation.Explained.document`` gives it.
    """
    return "\n".join([*_head(of), "", *_table(of), "", *_after(of), "", *_advice(of)])


def _head(of: Document) -> Iterator[str]:
    g = f" of {of['gradient_of']}" if of["gradient_of"] else ""
    g += f" {of['part']}" if of["part"] else ""
    copies = "".join(f", {name} {of[name]}" for name in ("count", "repeat") if of[name] > 1)
    yield f"{of['layer']}, {of['phase']}{g}: {of['m']:,} x {of['n']:,} x {of['k']:,}{copies}"
    yield f"on {of['hardware']}, {of['fidelity']} model, A {of['a_pattern']}, B {of['b_pattern']}"
    dense, cycles, us = of["dense_cycles"], of["cycles"], of["cycles"] / of["clock_mhz"]
    yield f"dense {dense:,} cycles, this GEMM {cycles:,} cycles ({us:,.1f} us)"
    yield (
        f"speed-up {_times(of['speedup'])} of {_times(of['promise'])} that the masks promise, "
        f"bound by {of['bound']}"
    )
    if text := _unused(of):
        yield from wrap(text, WIDTH)
    if of["slowest"]:
        many, share = of["slowest"]["of"], of["slowest"]["share"]
        told = f"of {many} GEMMs the one that takes most time, {share:.1%} of it"
        yield f"{told}: --layer tells others"


def _masks(of: Document) -> list[str]:
    """Patterns of the operands that have a mask."""
    return [of[f"{side}_pattern"] for side in "ab" if of[f"{side}_pattern"] != "dense"]


def _unused(of: Document) -> str:
    """Why masks that were offered are not used."""
    masked = _masks(of)
    if not masked:
        return "no mask is offered to this GEMM: it runs dense, and nothing is promised"
    if of["masks_used"]:
        return ""
    named, cycles, dense = (
        " and ".join(dict.fromkeys(masked)),
        of["mask_cycles"],
        of["dense_cycles"],
    )
    if cycles is None:
        return f"{named} is not used: the machine has no way to, see the note below"
    return (
        f"{named} is not used: with it the GEMM would take {cycles / dense:.2f} times the dense "
        f"cycles ({cycles:,} against {dense:,})"
    )


def _table(of: Document) -> Iterator[str]:
    return _waterfall(of) if _compared(of) else _spent(of)


def _compared(of: Document) -> bool:
    """Whether anything parts the GEMM from its dense run: a mask, or a number format."""
    return bool(_masks(of)) or of["cycles"] != of["dense_cycles"]


def _spent(of: Document) -> Iterator[str]:
    """Where the cycles of a GEMM go that has no mask."""
    yield _line("", "takes", "of all")
    yield _line("step", "cycles", "%")
    for step in of["steps"]:
        if step["cycles"]:
            share = _share(step["cycles"], of["cycles"])
            yield _line(step["name"], f"{step['cycles']:,}", share)
    yield _line("this GEMM", f"{of['cycles']:,}", _share(of["cycles"], of["cycles"]))


def _waterfall(of: Document) -> Iterator[str]:
    """Promised cycles, then losses, down to the cycles of the GEMM."""
    dense = of["dense_cycles"]
    yield _line("", "takes", "promised", "lost", "of dense", "left")
    yield _line("step", "cycles", "cycles", "cycles", "%", "speed-up")
    promised = of["promised_cycles"]
    yield _line(
        "what the masks promise",
        "",
        f"{promised:,}",
        "",
        _share(promised, dense),
        _times(of["promise"]),
    )
    for step in of["steps"]:
        if step["cycles"] or step["promised"]:
            yield _line(
                step["name"],
                f"{step['cycles']:,}",
                f"{step['promised']:,}",
                f"{step['lost']:+,}",
                _share(step["lost"], dense),
                _times(step["left"]),
            )
    cycles = of["cycles"]
    yield _line(
        "this GEMM", f"{cycles:,}", f"{promised:,}", f"{cycles - promised:+,}",
        _share(cycles, dense), _times(of["speedup"]),
    )  # fmt: skip
    if of["masks_us"]:
        masks = round(of["masks_us"] * of["clock_mhz"])
        yield _line(
            "with its masks made", f"{cycles + masks:,}", "", f"{masks:+,}",
            _share(masks, dense), _times(dense / (cycles + masks)),
        )  # fmt: skip


def _line(name: str, *cells: str) -> str:
    return f"{name:<24}" + "".join(f"{cell:>14}" for cell in cells)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""


def _times(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}x"


def _after(of: Document) -> Iterator[str]:
    """What the steps mean, and what the machine tells beside them."""
    yield from wrap(_LEGEND if _compared(of) else _OF_PEAK, WIDTH)
    for step in of["steps"]:
        if step["cycles"] or step["promised"]:
            yield from _hanging(step["name"], step["meaning"])
    for label, text in of["facts"]:
        yield from _hanging(label, text)


def _hanging(label: str, text: str) -> list[str]:
    return wrap(
        f"{label:<20}{text}", WIDTH, initial_indent="  ", subsequent_indent=" " * 22,
        break_on_hyphens=False,
    )  # fmt: skip


def _advice(of: Document) -> Iterator[str]:
    for number, loss in enumerate(of["losses"]):
        which = "largest loss" if not number else "next loss"
        beyond = "beyond its promise" if loss["against"] == "promise" else "beyond useful products"
        share = 100 * loss["cycles"] / of["cycles"]
        yield (
            f"{which}: {loss['name']}, {loss['cycles']:,} cycles {beyond}, {share:.1f}% of the "
            "cycles of this GEMM"
        )
        yield from _mend(of, loss)
    if not of["losses"]:
        yield "nothing to mend: no loss takes 1% of the cycles"


def _mend(of: Document, loss: Document) -> Iterator[str]:
    tried = loss["tried"]
    if loss["advised"]:
        best = tried[-1]
        saved = of["cycles"] - best["cycles"]
        yield f"  change: {best['options']}   ({best['says']})"
        yield f"  then:   {best['cycles']:,} cycles, {saved:,} less; the loss is {loss['cycles']:,}"
        gain = f"speed-up {_times(best['speedup'])}, now {_times(of['speedup'])}"
        yield f"  dense:  {best['dense_cycles']:,} cycles then, {gain}"
    elif not tried:
        yield "  nothing that could be tried mends it"
    else:
        yield f"  none of {len(tried)} changes that were tried takes away half of it; the nearest:"
        best = min(tried, key=lambda one: one["cycles"])
        yield f"  {best['options']}: {best['cycles']:,} cycles   ({best['says']})"
