"""The page of a validation: headline, figures, the worst rows, groups, what nobody measured."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from nmsim.evidence.standing import STANDINGS
from nmsim.report.notation import MISSING, grouped, significant
from nmsim.report.pages.markup import Cell, Head, Safe, drawings, el, facts, sheet
from nmsim.report.plots.validation import MOST_POINTS, shown_rows, validation_figures

__all__ = ["figure_parts", "tail_parts", "validation_tiles"]

_CAPTIONS = {
    "times": "Left: the closer to the line, the better. Right: the same rows as a ratio, where "
    "errors can be read; dotted and dashed: how far two measurements of the same GEMM are apart. "
    "No bad row is left out. The pointer names a row and what the model thinks of it.",
    "region": "Every measured row by its octave of M, N and K. Where there is no colour nothing "
    "was measured: an answer there stands beyond, unless a measured GEMM spends its time alike "
    "(column evidence). Machines of most rows.",
    "sources": "Filled: weight shapes that were fitted to; open: held out. Grey bands: the clock "
    "was not free. A line joins what the closed form misses without and with its residual.",
    "sizes": "A model that is closer than two measurements of the same GEMM are to each other has "
    "learnt one machine's noise. Shorter GEMMs are mostly launch, longer ones mostly arithmetic.",
    "speedups": "Dense over sparse time of the same source, GPU and sizes. Grey: measured gains "
    "within 5 % of none, where the direction is not judged.",
}
_MOST_REFUSED = 200
_ERRORS = (
    Head("rows", "", "measured GEMMs", number=True),
    Head("MAPE", "%", "mean of |predicted / measured - 1|", number=True),
    Head("median", "%", "median of the same", number=True),
    Head("p90", "%", "ninetieth percentile of the same", number=True),
    Head("bias", "%", "geometric mean of predicted / measured, minus 1", number=True),
    Head("MAPE", "%, with residual", "where a learned residual corrects all rows", number=True),
)
_BY_TABLE = (
    Head("rows", "", "measured GEMMs", number=True),
    Head("physics", "MAPE %", "mean of |predicted / measured - 1|, closed form", number=True),
    Head("residual", "MAPE %", "the same where a learned residual corrects all rows", number=True),
    Head("physics", "bias %", "geometric mean of predicted / measured, minus 1", number=True),
    Head("residual", "bias %", "the same with the residual", number=True),
    Head("median", "%", "of the absolute error", number=True),
    Head("p90", "%", "ninetieth percentile of the same", number=True),
)
_LEFT_OUT = (
    Head("machine"),
    Head("constants", "library, kernels, pattern, width"),
    Head("left out"),
    *(
        Head(word, unit, meaning, number=True)
        for word in STANDINGS
        for unit, meaning in (
            ("rows", "of what was left out"),
            ("MAPE %", "± standard error of the mean, over weight shapes"),
        )
    ),
    Head("near < within < beyond"),
)
_WORST = (
    Head("M×N×K", "×batch"),
    Head("routine", "format pattern library"),
    Head("machine"),
    Head("measured", "µs", number=True),
    Head("predicted", "µs", number=True),
    Head("error", "%", number=True),
    Head("kernel", "tile_stages", "that the model picks"),
    Head("split", "parts of K", number=True),
    Head("tiles", "", number=True),
    Head("waves", "", number=True),
    Head("bound by", "the model says"),
    Head("where", "file, line"),
)


def validation_tiles(manifest: Mapping[str, Any]) -> Safe:
    """The numbers of a validation that a reader looks for first, as tiles."""
    shown = [
        ("Mean error (MAPE)", _percent(manifest["mape"]), f"{manifest['rows']:,} measured GEMMs"),
        (
            "Median, p90",
            f"{100 * manifest['median_ape']:.1f}, {_percent(manifest['p90_ape'])}",
            "of the absolute error",
        ),
        ("Bias", _signed(manifest["bias"]), "geometric mean of predicted / measured, minus 1"),
    ]
    learned = manifest.get("residual")
    if learned:
        shown.append(
            (
                "MAPE with residual",
                _percent(learned["mape"]),
                f"{_percent(learned['physics']['mape'])} without, over {learned['rows']:,} rows",
            )
        )
    speedup = manifest.get("speedup")
    if speedup:
        shown += [
            (
                "Error of predicted speed-ups",
                _percent(speedup["mape"]),
                f"mean over {speedup['rows']:,} sparse rows of |predicted / measured − 1|",
            ),
            (
                "Gain or loss",
                f"{speedup['direction_right']} of {speedup['direction_checked']}",
                "said rightly, where beyond 5 %",
            ),
        ]
    tiles = (
        el(
            "div",
            *(
                el("div", text, class_=c)
                for c, text in zip(("what", "much", "more"), t, strict=True)
            ),
            class_="tile",
        )
        for t in shown
    )
    return el("div", *tiles, class_="tiles")


def figure_parts(df: pd.DataFrame, manifest: Mapping[str, Any]) -> list[Safe]:
    """Every figure of a validation and its caption, as parts of a page."""
    parts = [el("h2", "Figures", id="figures")]
    for name, drawing in drawings(validation_figures(df, manifest)).items():
        text = _CAPTIONS[name]
        if name == "times" and len(df) > MOST_POINTS:
            left = len(df) - shown_rows(df)
            text += (
                f" Of {len(df):,} rows {left:,} are left out here, none of them 25 % off or more."
            )
        parts += [drawing, el("p", text, class_="caption")]
    return parts


def tail_parts(manifest: Mapping[str, Any]) -> list[Safe]:
    """The worst rows, groups, what has no measured data, and how the figures came about."""
    return [
        el("h2", "The worst ten", id="worst"),
        el(
            "p",
            "Farthest from the measured time, and what the analytical model thinks of them.",
            class_="lead",
        ),
        _worst(manifest["worst"]),
        el("h2", "Sources, conditions, and what was held out", id="tables"),
        el(
            "p",
            "Weight shapes are dealt to calibration and hold-out by a hash of (n, k): a fit "
            "by nmsim calibrate has not seen the held-out ones.",
            class_="lead",
        ),
        _tables(manifest),
        *_left_out(manifest),
        el("h2", "Errors by group", id="groups"),
        _groups(manifest),
        el("h2", "What has no measured data", id="unmeasured"),
        el("p", "No row here says anything about:", class_="lead"),
        _listed(manifest["unmeasured"]),
        el("h2", "How rows were taken", id="rows"),
        _listed([*_treatment(manifest), *manifest["notes"]]),
        *_refused(manifest),
        *_sources(manifest),
    ]


def _worst(rows: Sequence[Mapping[str, Any]]) -> Safe:
    return sheet(_WORST, (_worst_cells(row) for row in rows), "sortable")


def _worst_cells(row: Mapping[str, Any]) -> list[Cell]:
    copies = f" ×{row['batch']}" if row["batch"] > 1 else ""
    return [
        Cell(f"{row['m']}×{row['n']}×{row['k']}{copies}"),
        Cell(f"{row['dtype_in']} {row['sparsity']} {row['library']}"),
        Cell(row["machine"]),
        Cell(significant(row["measured_us"]), key=row["measured_us"]),
        Cell(significant(row["predicted_us"]), key=row["predicted_us"]),
        Cell(_signed(row["ratio"] - 1, ""), key=row["ratio"]),
        Cell(row["model_kernel"]),
        Cell(grouped(row["split"])),
        Cell(grouped(row["tiles"] or None)),
        Cell(grouped(row["waves"] or None, 1)),
        Cell(row["bound"]),
        Cell(f"{row['file']}, {row['line']}"),
    ]


def _tables(manifest: Mapping[str, Any]) -> Safe:
    names = ("file", "source", "machine", "dtype_in", "conditions", "shapes")
    heads = (*(Head(name.replace("dtype_in", "format")) for name in names), *_BY_TABLE)
    rows = (
        [*(Cell(str(one[name]) or MISSING) for name in names), *_table_cells(one)]
        for one in manifest.get("tables", ())
    )
    return sheet(heads, rows, "sortable")


def _table_cells(one: Mapping[str, Any]) -> list[Cell]:
    mapes = (one.get("physics_mape", one["mape"]), one.get("residual_mape"))
    biases = (one.get("physics_bias", one["bias"]), one.get("residual_bias"))
    return [
        Cell(grouped(one["rows"]), key=one["rows"]),
        *map(_residual_cell, mapes),
        *(Cell(MISSING) if b is None else Cell(_signed(b, ""), key=b) for b in biases),
        *map(_residual_cell, (one["median_ape"], one["p90_ape"])),
    ]


def _left_out(manifest: Mapping[str, Any]) -> list[Safe]:
    """What was left out, and how far off rows are by where they stand among the rest."""
    found = manifest.get("left_out") or []
    if not found:
        return []
    rows = (
        [
            Cell(one["machine"]),
            Cell(one["constants"]),
            Cell(one["left_out"]),
            *(cell for word in STANDINGS for cell in _mean_cells(one[word])),
            Cell(one["order"]),
        ]
        for one in found
    )
    return [
        el("h2", "Whether standings are earned", id="evidence"),
        el(
            "p",
            "A table, or a fourth of the weight shapes of the only one, is left out; where its "
            "rows stand among the rest, and how far their times are missed. The order of means "
            "holds, is broken, or cannot be told from their noise.",
            class_="lead",
        ),
        sheet(_LEFT_OUT, rows, "sortable"),
    ]


def _mean_cells(one: Mapping[str, Any]) -> list[Cell]:
    if not one["rows"]:
        return [Cell("0", key=0), Cell(MISSING)]
    mean, error = 100 * one["mape"], 100 * one["error"]
    return [
        Cell(grouped(one["rows"]), key=one["rows"]),
        Cell(f"{mean:.1f} ± {error:.1f}", key=mean),
    ]


def _refused(manifest: Mapping[str, Any]) -> list[Safe]:
    rows = manifest.get("refused") or []
    if not rows:
        return []
    heads = (Head("file"), Head("line", number=True), Head("judged"), Head("why"))
    cells = (
        [
            Cell(str(one["file"])),
            Cell(grouped(one["line"])),
            Cell("yes" if one["judged"] else "no"),
            Cell(str(one["why"])),
        ]
        for one in rows[:_MOST_REFUSED]
    )
    more = len(rows) - _MOST_REFUSED
    rest = [el("p", f"{more:,} more: manifest.json has all.", class_="caption")] if more > 0 else []
    return [
        el("h2", f"Rows that cannot be predicted, or cannot be: {len(rows):,}", id="refused"),
        sheet(heads, cells, "sortable"),
        *rest,
    ]


def _groups(manifest: Mapping[str, Any]) -> Safe:
    heads = (Head("column"), Head("group"), *_ERRORS)
    rows = (
        [Cell(str(g["by"])), Cell(str(g["group"]) or MISSING), *_error_cells(g)]
        for g in manifest["groups"]
    )
    return sheet(heads, rows, "sortable")


def _error_cells(group: Mapping[str, Any]) -> list[Cell]:
    return [
        Cell(grouped(group["rows"]), key=group["rows"]),
        *(
            Cell(f"{100 * group[name]:.1f}", key=group[name])
            for name in ("mape", "median_ape", "p90_ape")
        ),
        Cell(_signed(group["bias"], ""), key=group["bias"]),
        _residual_cell(group.get("residual_mape")),
    ]


def _residual_cell(share: float | None) -> Cell:
    """The mean error of a group that a learned residual corrects, every row of it."""
    return Cell(MISSING) if share is None else Cell(f"{100 * share:.1f}", key=share)


def _treatment(manifest: Mapping[str, Any]) -> list[str]:
    return [*_floor(manifest.get("timing_floor")), *_impossible(manifest.get("impossible"))]


def _impossible(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return []
    rest = found["without_them"]
    text = f"{found['rows']:,} rows have times that cannot be: {found['treatment']}."
    return [text + (f" Without them MAPE is {_percent(rest['mape'])}." if rest else "")]


def _floor(floor: Mapping[str, Any] | None) -> list[str]:
    if not floor:
        return []
    inside, rest = floor["rows_within_floor"], floor["without_rows_within_floor"]
    text = (
        f"{floor['rows']:,} rows note a floor of their timer, {inside:,} of them are no longer "
        f"than it: {floor['treatment']}."
    )
    return [text + (f" Without those {inside:,} MAPE is {_percent(rest['mape'])}." if rest else "")]


def _sources(manifest: Mapping[str, Any]) -> list[Safe]:
    sources = manifest.get("sources") or {}
    if not sources:
        return []
    parts = [el("h2", "Where the measured times come from", id="sources")]
    for name, about in sources.items():
        parts += [
            el("h3", name),
            el("p", about["summary"], class_="lead"),
            facts((key, about[key]) for key in ("source", "licence", "conditions")),
        ]
    return parts


def _listed(texts: Iterable[str]) -> Safe:
    items = [el("li", text) for text in texts]
    return el("ul", *items) if items else el("p", "Nothing to say.", class_="none")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _signed(share: float, unit: str = " %") -> str:
    text = f"{100 * share:+.1f}"
    return ("0.0" if float(text) == 0 else text.replace("-", "−")) + unit
