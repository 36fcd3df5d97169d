"""Figures of accuracy, and counts, as pages state them: all from one file, ``docs/figures.json``.

A page states a figure with its name behind it, in a comment that no reader sees,
``5.6<!--tables.a100-dense-bf16.mape--> %``, or a whole table between
``<!-- table accuracy a100-dense-bf16 -->`` and ``<!-- end of table -->``. ``make figures`` measures
all anew and puts them into the pages; a test fails where a page states another.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["FIGURES", "read_figures", "restated", "stating"]

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures.json"

STATED = re.compile(r"([+−-]?\d[\d,.]*\d|[+−-]?\d|\b[A-Za-z]+)<!--([\w.+-]+)-->")
TABLE = re.compile(r"(<!-- table (.*?) -->\n).*?(\n<!-- end of table -->)", re.DOTALL)
WORDS = (
    "none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
)  # fmt: skip

Figures = dict[str, Any]


def read_figures() -> Figures:
    """The figures as they were measured last."""
    found: Figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found


def stating() -> Iterator[Path]:
    """The pages that state a figure by its name."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in sorted(pages):
        text = page.read_text(encoding="utf-8")
        if STATED.search(text) or TABLE.search(text):
            yield page


def restated(text: str, figures: Figures) -> str:
    """A page's text with every figure as it was measured last.

    Raises
    ------
    KeyError
        if it names a figure that was not measured.
    """
    text = STATED.sub(lambda found: f"{_said(found[1], found[2], figures)}<!--{found[2]}-->", text)
    return TABLE.sub(lambda found: f"{found[1]}\n{_table(found[2], figures)}\n{found[3]}", text)


def _said(before: str, name: str, figures: Figures) -> str:
    """A figure as a page writes it: a number in words stays one, a bias has its sign."""
    value: Any = figures
    for part in name.split("/") if "/" in name else name.split("."):
        value = value[part]
    if isinstance(value, float):
        return f"{value:+.1f}" if name.endswith("bias") else f"{value:.1f}"
    if before.isalpha():
        word = WORDS[value]
        return word.capitalize() if before[0].isupper() else word
    return f"{value:,}"


def _table(asked: str, figures: Figures) -> str:
    name, *rows = asked.split()
    return TABLES[name](figures, rows)


def _rows(head: str, rows: list[list[str]], texts: int = 1) -> str:
    rule = ["---"] * texts + ["--:"] * (len(rows[0]) - texts)
    lines = [head, f"|{'|'.join(rule)}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _accuracy(figures: Figures, names: list[str]) -> str:
    """Errors of all rows of tables of GEMMs."""
    found = figures["tables"]
    rows = [
        [name, f"{one['rows']:,}", f"{one['mape']:.1f}", f"{one['median']:.1f}",
         f"{one['p90']:.1f}", f"{one['bias']:+.1f}"]
        for name in names or found
        for one in [found[name]]
    ]  # fmt: skip
    return _rows("| measured | rows | MAPE | median | p90 | bias |", rows)


def _residual(figures: Figures, names: list[str]) -> str:
    """Errors of GEMMs whose weight shapes were held out, with the residual and without."""
    rows = []
    for name in names:
        own, seen = figures["tables"][name]["held_out"], figures["tables"][name]["calibration"]
        rows.append([name, f"{own['rows']:,}", f"{own['mape']:.1f}", f"{own['residual']:.1f}",
                     f"{seen['mape']:.1f} → {seen['residual']:.1f}"])  # fmt: skip
    return _rows("| table | rows held out | physics | with residual | calibration |", rows)


CHIPS = {"a100-sxm4-80gb": "A100", "h100-sxm": "H100", "h200": "H200"}


def _attention(figures: Figures, _: list[str]) -> str:
    """Errors of fused attention, of heads that no fit has seen and of the others."""
    rows = []
    for one in figures["attention"]:
        own, seen = one["held_out"], one["seen"]
        chip = CHIPS[one["machine"]] + ("" if one["fitted"] else ", not fitted")
        rows.append([
            chip, one["library"], one["kind"], f"{own['rows']:,}", f"{own['mape']:.1f}",
            f"{own['median']:.1f}", f"{seen['rows']:,}", f"{seen['mape']:.1f}",
            f"{seen['median']:.1f}", f"{one['worst_heads']:.1f}",
        ])  # fmt: skip
    head = "| machine | library | kind | rows | MAPE | median | seen: rows | MAPE | median "
    return _rows(f"{head}| worst heads |", rows, 3)


def _attention_residual(figures: Figures, _: list[str]) -> str:
    """Errors of fused attention with its residual and without."""
    rows = [
        [CHIPS[one["machine"]], one["library"], one["kind"], f"{own['rows']:,}",
         f"{own['mape']:.1f}", f"{own['residual']:.1f}",
         f"{seen['mape']:.1f} → {seen['residual']:.1f}"]
        for one in figures["attention"]
        for own, seen in [(one["held_out"], one["seen"])]
    ]  # fmt: skip
    head = "| machine | library | kind | held out: rows | physics | with residual | seen |"
    return _rows(head, rows, 3)


def _steps(figures: Figures, _: list[str]) -> str:
    """Errors of measured steps of whole networks, by what ran them."""
    rows = [
        [
            name,
            str(one["rows"]),
            f"{one['median']:.1f}",
            f"{one['mape']:.1f}",
            f"{one['bias']:+.1f}",
        ]
        for name, one in figures["steps"]["groups"].items()
    ]
    return _rows("| steps | rows | median | MAPE | bias |", rows)


def _evidence(figures: Figures, which: list[str]) -> str:
    """Errors of what was left out in turn, by where it then stands: of GEMMs, or of attention."""
    rows = [
        [one["machine"], one["constants"], one["left_out"],
         *(_of_place(one[place]) for place in ("near", "within", "beyond")), one["order"]]
        for one in figures["evidence"]
        if (", attention, " in one["constants"]) == (which == ["attention"])
    ]  # fmt: skip
    return _rows("| machine | constants | left out | near | within | beyond | order |", rows, 7)


def _of_place(one: Figures) -> str:
    return f"{one['rows']:,}: {one['mape']:.1f} ± {one['error']:.1f}" if one["rows"] else "–"


TABLES: dict[str, Callable[[Figures, list[str]], str]] = {
    "accuracy": _accuracy,
    "attention": _attention,
    "attention-residual": _attention_residual,
    "evidence": _evidence,
    "residual": _residual,
    "steps": _steps,
}
"""Tables that pages may have, by name; what follows the name says which rows."""
