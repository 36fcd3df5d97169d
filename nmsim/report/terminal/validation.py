"""A validation for a terminal: errors of all rows and of groups, speed-ups, the worst rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from nmsim.evidence.standing import STANDINGS
from nmsim.report.notation import MISSING, grouped, printable, ratio, shorten, significant

__all__ = ["render_attention", "render_validation"]

_MOST_GROUPS = 40
_NAME = 40


def render_validation(summary: Mapping[str, Any]) -> list[Table]:
    """A validation as tables for a terminal.

    Parameters
    ----------
    summary
        What `nmsim.measured.accuracy.summarize` says.
    """
    tables = [_sources(summary["tables"]), _errors(summary)]
    if summary["speedup"]:
        tables.append(_speedups(summary["speedup"]))
    if summary.get("left_out"):
        tables.append(_left_out(summary["left_out"]))
    tables.append(_worst(summary["worst"]))
    if summary["refused"]:
        tables.append(_refused(summary["refused"]))
    return tables


def render_attention(summary: Mapping[str, Any], *, groups: bool = False) -> list[Table]:
    """Errors of measured attention for a terminal: by machine, library and kind of call.

    Parameters
    ----------
    summary
        What `nmsim.measured.attention.predict.summarize_attention` says.
    groups
        Whether the groups are shown instead, as where one column was asked for.
    """
    table = _table(
        *(("rows of", "", False), ("", "", False), ("rows", "", True), ("MAPE", "%", True)),
        *(("median", "%", True), ("p90", "%", True), ("bias", "%", True)),
        ("MAPE with", "residual, %", True),
        title="fused attention, predicted / measured - 1, closed form",
    )
    rows = summary["groups"] if groups else summary["tables"]
    for row in rows:
        if groups:
            _add(table, row["by"], row["group"], row)
        else:
            kind = f"{row['library']}, {row['kind']}, {row['part']}"
            _add(table, row["machine"], kind, row)
    table.add_section()
    _add(table, "all", "", summary, "bold")
    table.caption = Text("by heads/kv_heads/head_dim: --by key; all groups: --format json")
    return [table]


def _table(*heads: tuple[str, str, bool], title: str = "") -> Table:
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="bold",
        title=Text(title) if title else None,
        title_justify="left",
        caption_justify="left",
    )
    for name, unit, right in heads:
        table.add_column(
            Text(f"{name}\n{unit}"), justify="right" if right else "left", no_wrap=True
        )
    return table


def _sources(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(
        *(("source", "", False), ("machine", "", False), ("clock", "shapes", False)),
        *(("rows", "", True), ("MAPE", "%", True), ("median", "%", True)),
        *(("p90", "%", True), ("bias", "%", True), ("MAPE with", "residual, %", True)),
        title="by source and condition, weight shapes of calibration and hold-out apart",
    )
    for row in rows[:_MOST_GROUPS]:
        shares = [f"{100 * row[key]:.1f}" for key in ("mape", "median_ape", "p90_ape")]
        cells = [
            shorten(f"{Path(row['file']).name}, {row['source']}", 56),
            f"{row['machine']}, {row['dtype_in']}",
            f"{row['conditions']}, {row['shapes']}",
            f"{row['rows']:,}",
            *shares,
            _signed(row["bias"]),
            _with_residual(row),
        ]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    if len(rows) > _MOST_GROUPS:
        table.caption = Text(f"{len(rows) - _MOST_GROUPS:,} more: --format json has all")
    return table


def _refused(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows that are not to be trusted: of each file and reason the first, and how many follow."""
    table = _table(
        ("rows that cannot be", "predicted, or at all", False),
        ("line", "", True),
        ("why", "", False),
    )
    firsts: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        firsts.setdefault((row["file"], row["why"]), []).append(row["line"])
    for (file, why), lines in list(firsts.items())[:_MOST_GROUPS]:
        more = f" (and {len(lines) - 1:,} more)" if len(lines) > 1 else ""
        cells = (shorten(file, _NAME), f"{lines[0]:,}", f"{why}{more}")
        table.add_row(*(Text(printable(cell)) for cell in cells))
    if len(firsts) > _MOST_GROUPS:
        table.caption = Text(f"{len(firsts) - _MOST_GROUPS:,} more: --format json has all")
    return table


def _errors(summary: Mapping[str, Any]) -> Table:
    table = _table(
        ("rows of", "", False),
        ("", "", False),
        ("rows", "", True),
        ("MAPE", "%", True),
        ("median", "%", True),
        ("p90", "%", True),
        ("bias", "%", True),
        ("MAPE with", "residual, %", True),
        title=f"predicted / measured - 1, {summary['fidelity']} model",
    )
    groups = summary["groups"]
    last = ""
    for group in groups[:_MOST_GROUPS]:
        by = str(group["by"])
        _add(table, by if by != last else "", str(group["group"]) or MISSING, group)
        last = by
    table.add_section()
    _add(table, "all", "", summary, "bold")
    said = []
    if summary["residual"]:
        said.append(residual_text(summary["residual"]))
    if len(groups) > _MOST_GROUPS:
        said.append(f"{len(groups) - _MOST_GROUPS:,} groups more: --format json has all")
    table.caption = Text("\n".join(said)) if said else None
    return table


def residual_text(found: Mapping[str, Any]) -> str:
    """A sentence on the rows that learned residuals correct: their errors with and without."""
    return (
        f"{found['rows']:,} rows that a learned residual corrects: MAPE {found['mape']:.1%} with "
        f"it, {found['physics']['mape']:.1%} without"
    )


def _add(table: Table, by: str, name: str, errors: Mapping[str, Any], style: str = "") -> None:
    shares = [f"{100 * errors[key]:.1f}" for key in ("mape", "median_ape", "p90_ape")]
    cells = [printable(shorten(by, _NAME)), printable(shorten(name, _NAME)), f"{errors['rows']:,}"]
    cells += [*shares, _signed(errors["bias"])]
    if len(table.columns) > len(cells):
        cells.append(_with_residual(errors))
    table.add_row(*(Text(cell) for cell in cells), style=style)


def _with_residual(errors: Mapping[str, Any]) -> str:
    """The mean error of rows that a learned residual corrects, all of them; else nothing."""
    share = errors.get("residual_mape")
    return "" if share is None else f"{100 * share:.1f}"


def _signed(share: float) -> str:
    text = f"{100 * share:+.1f}"
    return "0.0" if float(text) == 0 else text


def _speedups(speedup: Mapping[str, Any]) -> Table:
    table = _table(
        ("speed-up of sparse rows", "over their dense run", False),
        ("rows", "", True),
        ("MAPE", "%", True),
        ("bias", "%", True),
        ("gain or loss right", "of those beyond 5 %", True),
    )
    for name, errors in (*((g["group"], g) for g in speedup["groups"]), ("all", speedup)):
        cells = [printable(shorten(name, _NAME)), f"{errors['rows']:,}"]
        cells += [f"{100 * errors['mape']:.1f}", _signed(errors["bias"])]
        cells += [f"{errors['direction_right']} of {errors['direction_checked']}"]
        table.add_row(*(Text(cell) for cell in cells), style="bold" if name == "all" else "")
    return table


def _left_out(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Errors of what was left out, by where it stands among the rest."""
    table = _table(
        *(("left out", "", False), ("constants", "", False)),
        *((word, "rows: MAPE %", True) for word in STANDINGS),
        ("order", "", False),
        title="errors of what is left out, by where it stands among the rest",
    )
    for row in rows:
        cells = [
            shorten(row["left_out"], 44),
            shorten(f"{row['machine']}: {row['constants']}", 48),
            *(_mean(row[word]) for word in STANDINGS),
            row["order"],
        ]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _mean(one: Mapping[str, Any]) -> str:
    if not one["rows"]:
        return MISSING
    return f"{one['rows']:,}: {100 * one['mape']:.1f} ± {100 * one['error']:.1f}"


def _worst(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(
        ("worst rows", "M×N×K", False),
        ("routine", "", False),
        ("measured", "µs", True),
        ("predicted", "µs", True),
        ("ratio", "×", True),
        ("kernel", "tile_stages", False),
        ("split", "of K", True),
        ("waves", "", True),
        ("bound by", "", False),
    )
    for row in rows:
        cells = [
            f"{row['m']}×{row['n']}×{row['k']}" + (f" ×{row['batch']}" * (row["batch"] > 1)),
            shorten(f"{row['dtype_in']} {row['sparsity']} {row['library']}", 28),
            significant(row["measured_us"]),
            significant(row["predicted_us"]),
            ratio(row["ratio"]),
            row["model_kernel"],
            f"{row['split']:,}",
            grouped(row["waves"] or None, 1),
            row["bound"],
        ]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
