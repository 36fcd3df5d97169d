"""Does 2:4 pay where Llama 3 is served? ``python -m reports.serving.build`` writes the page.

``index.html`` shows it, ``results.json`` has every figure and verdict. Six minutes on one core.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nmsim import __version__
from nmsim.report.notation import significant
from nmsim.report.pages.document import document
from nmsim.report.pages.markup import Cell, Head, Safe, el, joined, sheet
from reports.builder import Built, Origin, build, results_json
from reports.claims import Verdict, reproduced
from reports.page import verdict_table
from reports.serving.serving_claims import DENSE_OF, error, judge, judged_rows
from reports.serving.serving_figures import MODELS, REQUEST, measure

HERE = Path(__file__).resolve().parent
COMMAND = "python -m reports.serving.build"
QUESTION = "Does 2:4 pay where Llama 3 is served?"
ORIGIN = Origin(QUESTION, COMMAND)
_LEAD = (
    "Weights pruned by magnitude, in 16 bits and in 4 (int4 with a scale for 128, multiplied in "
    "16); whole steps, and sums between GPUs; prompts and contexts of 2,048 tokens. What pruning "
    "and rounding do to the answers is not told here. "
)
_BELIEVE = (
    "Dense speeds that others printed, beside what nmsim computes by the stack that they ran; none "
    "was used to fit anything. A ratio above 1: computed faster than printed. A step is all of "
    "it but for sampling and what the host does that no graph hides. No measured GEMM stands "
    "behind weights of 4 bits: steps are what Marlin's kernels could do at best, beside printed "
    "speeds what tinygemm's, which torch.compile calls, do by its loads in flight. No printed "
    "figure of a served 2:4 network in 16 bits is among them; int4 with 2:4 is on the page "
    "of reports/published."
)
Figures = Mapping[str, Any]


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
        *_choices(figures),
        el("h2", "What holds"),
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
        el(
            "p",
            f"{_BELIEVE} The median of those on one GPU is off by "
            f"{error(judged_rows(figures['printed'])):.1%}.",
            class_="lead",
        ),
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
            if row["weights"] == "2:4"
        ]
        yield f"{model}: requests with 2:4 weights gain {' and '.join(told)}."
    yield _packed(figures)


def _packed(figures: Figures) -> str:
    """What 2:4 gains where weights have 4 bits already."""
    gains = [row["speedup"] for row in figures["requests"] if row["weights"] == "2:4 + int4"]
    return f"On int4 weights 2:4 adds {min(gains):.2f} to {max(gains):.2f} to whole requests."


_SHOWN = ("decode, 1 sequence", "decode, 16 sequences", "decode, 64 sequences")


def _choices(figures: Figures) -> Iterable[Safe]:
    """What each sort of weights comes to, a table a network: what a buyer compares."""
    yield el("h2", "What to choose")
    yield el(
        "p",
        "Tokens a second of all GPUs together; first token of one prompt; "
        f"{REQUEST['batch']} whole requests, and how much faster than 16 bits dense on the same "
        "GPUs. No measured GEMM stands behind weights of 4 bits: read their rows as what Marlin's "
        "kernels could do at best; by tinygemm a fourth fewer tokens were printed.",
        class_="lead",
    )
    for model, gpus in MODELS.items():
        yield el("h3", f"{model}{f', on {gpus} GPUs' if gpus > 1 else ''}")
        rows = [row for row in figures["requests"] if row["model"] == model]
        yield sheet(_HEADS, [_choice(figures, row) for row in rows], "")


_HEADS = [
    Head("GPU"),
    Head("weights"),
    Head("memory", "GiB a GPU", number=True),
    Head("first token", "ms", number=True),
    *(Head(f"decode x {n}", "tokens/s", number=True) for n in (1, 16, 64)),
    Head("requests", "tokens/s", number=True),
    Head("over 16 bits", number=True),
    Head("by 2:4", number=True),
]


def _choice(figures: Figures, request: Figures) -> list[Cell]:
    def same(row: Figures, *names: str) -> bool:
        return all(row[name] == request[name] for name in ("model", "hardware", *names))

    steps = {row["step"]: row for row in figures["steps"] if same(row, "weights")}
    (plain,) = (r for r in figures["requests"] if same(r) and r["weights"] == "16 bits")
    sparse = request["weights"] in DENSE_OF
    return [
        Cell(request["hardware"]),
        Cell(request["weights"]),
        Cell(f"{steps['decode, 16 sequences']['memory_gib']:.0f}"),
        Cell(f"{steps['prefill, 1 prompt']['ms']:.0f}"),
        *(Cell(f"{steps[name]['tokens_per_s']:,.0f}") for name in _SHOWN),
        Cell(f"{request['tokens_per_s']:,.0f}"),
        Cell(f"{plain['seconds'] / request['seconds']:.2f}"),
        Cell(f"{request['speedup']:.2f}" if sparse else ""),
    ]


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
    "stack",
    "conditions",
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


def make() -> Built:
    """Compute, judge and draw everything."""
    figures = measure()
    verdicts = judge(figures)
    stored = results_json(
        ORIGIN, figures=figures, statements=[verdict.record() for verdict in verdicts]
    )
    files = {"results.json": stored, "index.html": page(figures, verdicts)}
    return Built(files, f"{reproduced(verdicts)} statements hold")


def main(arguments: list[str]) -> None:
    """Write page and results into a folder, this one unless told otherwise."""
    build(arguments, QUESTION, HERE, make)


if __name__ == "__main__":
    main(sys.argv[1:])
