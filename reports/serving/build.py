"""Does 2:4 pay where Llama 3 is served? ``python reports/serving/build.py`` writes the page.

``index.html`` shows it, ``results.json`` has every figure and verdict. Seconds on one core.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from serving_claims import error, judge
from serving_figures import MODELS, REQUEST, measure

from nmsim import __version__
from nmsim.files import write_folder
from nmsim.report.claims import Verdict, reproduced, verdict_table
from nmsim.report.markup import Cell, Head, Safe, el, joined, sheet
from nmsim.report.notation import significant
from nmsim.report.page import document

HERE = Path(__file__).resolve().parent
COMMAND = "python reports/serving/build.py"
QUESTION = "Does 2:4 pay where Llama 3 is served?"
_LEAD = (
    "Weights pruned by magnitude, 16 bits; GEMMs, fused attention and sums between GPUs; prompts "
    "and contexts of 2,048 tokens. "
)
_BELIEVE = (
    "Dense speeds that others printed, beside what nmsim computes; none was used to fit anything. "
    "A ratio above 1: computed faster than printed. The step is GEMMs, fused attention and "
    "communication; normalisation, activations, sampling and the host are left out. No printed "
    "figure of a served 2:4 network is among them."
)
Figures = Mapping[str, Any]


def stored(figures: Figures, verdicts: list[Verdict]) -> str:
    """Every figure and verdict as strict JSON."""
    content = {
        "question": QUESTION,
        "command": COMMAND,
        "nmsim": __version__,
        "figures": figures,
        "statements": [{**asdict(v), "holds": v.reproduced} for v in verdicts],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def page(figures: Figures, verdicts: list[Verdict]) -> str:
    """The whole page: the answer first, then what it rests on."""
    parts = [
        el(
            "header",
            el("div", f"nmsim {__version__} · serving", class_="eyebrow"),
            el("h1", QUESTION),
            *(el("p", said, class_="answer") for said in _answers(figures)),
            el("p", f"{_LEAD}{reproduced(verdicts)} statements hold.", class_="lead"),
        ),
        verdict_table(
            verdicts,
            [Head("statement"), Head("of"), Head("expected"), Head("found")],
            "holds",
            "does not",
        ),
        el("h2", "Whole requests"),
        el(
            "p",
            f"{REQUEST['batch']} requests of {REQUEST['tokens']:,} tokens of prompt and "
            f"{REQUEST['generate']:,} generated, which start and end together.",
            class_="lead",
        ),
        _table(figures["requests"], _OF_REQUESTS),
        el("h2", "Steps"),
        _table(figures["steps"], _OF_STEPS),
        el("h2", "What to believe of it"),
        el("p", f"{_BELIEVE} The median is off by {error(figures['printed']):.1%}.", class_="lead"),
        _table(figures["printed"], _OF_PRINTED),
        el("h2", "How to get it again"),
        el("pre", el("code", COMMAND)),
        el("p", "Every figure is in ", el("a", "results.json", href="results.json"), "."),
    ]
    return document(QUESTION, joined(parts))


def _answers(figures: Figures) -> Iterable[str]:
    """A sentence a network: what requests gain on each machine."""
    for model, gpus in MODELS.items():
        rows = [row for row in figures["requests"] if row["model"] == model]
        told = [
            f"{row['speedup']:.2f} on {f'{gpus} x ' if gpus > 1 else ''}{row['hardware']} "
            f"({row['tokens_per_s']:,.0f} tokens/s)"
            for row in rows
            if row["weights"] != "dense"
        ]
        yield f"{model}: requests with 2:4 weights gain {' and '.join(told)}."


_WHERE = ("model", "hardware", "gpus", "weights")
_OF_REQUESTS = (
    *_WHERE,
    "seconds",
    "first_token_ms",
    "per_token_ms",
    "tokens_per_s",
    "speedup",
)
_OF_STEPS = (
    *_WHERE,
    "step",
    "ms",
    "tokens_per_s",
    "gemms_speedup",
    "speedup",
    "once_ms",
    "memory_gib",
)
_OF_PRINTED = (
    "library",
    "hardware",
    "tp",
    "model",
    "what",
    "dtype",
    "batch",
    "prompt",
    "generated",
    "value",
    "unit",
    "computed",
    "speed_ratio",
    "source",
)


def _table(rows: Iterable[Figures], names: tuple[str, ...]) -> Safe:
    table = list(rows)
    heads = [
        Head(name.replace("_", " "), number=not isinstance(table[0][name], str)) for name in names
    ]
    return sheet(heads, [[_cell(row[name]) for name in names] for row in table], "sortable")


def _cell(value: Any) -> Cell:
    if isinstance(value, float):
        return Cell(significant(value, 3), f"{value:,}", value)
    return Cell(str(value))


def main(arguments: list[str]) -> None:
    """Write page and results into a folder, this one unless told otherwise."""
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write into")
    folder = parser.parse_args(arguments).out
    figures = measure()
    verdicts = judge(figures)
    write_folder(
        folder, {"results.json": stored(figures, verdicts), "index.html": page(figures, verdicts)}
    )
    print(f"{folder / 'index.html'}: {reproduced(verdicts)} statements hold")


if __name__ == "__main__":
    main(sys.argv[1:])
