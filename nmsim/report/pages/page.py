"""One self-contained page for a result: headline, totals, figures, every row, its origin."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nmsim.files import write_folder
from nmsim.report.again import commands
from nmsim.report.capacity import memory_said, rests_on
from nmsim.report.evidence import evidence_said
from nmsim.report.files import MANIFEST, PAGE, RESULTS
from nmsim.report.neighbours import NOBODY, Neighbours, neighbours
from nmsim.report.pages.captions import RUN, SPACE, SPEEDUP
from nmsim.report.pages.document import document
from nmsim.report.pages.machine import machines_section
from nmsim.report.pages.markup import Safe, command_box, drawings, el, facts, fields, joined
from nmsim.report.pages.points import points_grid
from nmsim.report.pages.rows import rows_grid
from nmsim.report.pages.sections import (
    best_points,
    glossary,
    space_said,
    tiles,
    totals_table,
)
from nmsim.report.pages.trust import trust_section
from nmsim.report.pages.validation import figure_parts, tail_parts, validation_tiles
from nmsim.report.plots.roofline import MOST_POINTS as GEMMS_SHOWN
from nmsim.report.plots.run import figures
from nmsim.report.plots.sweep.chosen import space_figures
from nmsim.report.plots.sweep.front import MOST_POINTS
from nmsim.report.plots.sweep.parallel import MOST_LINES
from nmsim.report.reasons import policy_said
from nmsim.report.rows import manifest_json, records, to_csv
from nmsim.report.space import Space, space_of
from nmsim.report.step import step_name, step_sheet
from nmsim.report.summary import of_sums
from nmsim.result import totals
from nmsim.run.answer import answer, sums

__all__ = ["PAGE", "page", "write_report"]


_LINKS = {
    "sweep": {
        "figures": "Figures",
        "points": "Points",
        "glossary": "Columns",
        "trust": "How far to trust it",
        "machine": "Machines",
        "origin": "How to get it again",
    },
    "simulate": {
        "figures": "Figures",
        "step": "The step",
        "rows": "Every row",
        "glossary": "Columns",
        "trust": "How far to trust it",
        "machine": "Machine",
        "origin": "How to get it again",
    },
    "validate": {
        "figures": "Figures",
        "worst": "The worst ten",
        "tables": "Sources and conditions",
        "groups": "Groups",
        "unmeasured": "What has no measured data",
        "rows": "How rows were taken",
        "origin": "How to get it again",
    },
}
_STEP = (
    "GEMMs, the masks that the recipe offers, and what is estimated beside them. A dense step has "
    "no masks. How masks are timed: "
)


def write_report(folder: str | Path, df: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write ``results.csv``, ``manifest.json`` and ``index.html`` into a folder, all or none.

    Of a table of the sums of points (`nmsim.report.summary.of_sums`) the page alone: the others
    are the store's.

    Raises
    ------
    SpecError
        if the file system refuses.
    """
    where = Path(folder)
    contents = {PAGE: page(df, manifest, neighbours(where, manifest))}
    if not of_sums(df):
        contents |= {RESULTS: to_csv(df), MANIFEST: manifest_json(manifest, df)}
    write_folder(where, contents)


def page(df: pd.DataFrame, manifest: Mapping[str, Any], near: Neighbours = NOBODY) -> str:
    """The whole page of a run, a sweep or a validation, as ``kind`` of its manifest says.

    Parameters
    ----------
    near
        Pages that it may point at.
    """
    if manifest["kind"] == "validate":
        return _validation(df, manifest)
    swept = manifest["kind"] == "sweep"
    return document(
        _title(manifest),
        _header(manifest),
        _sweep_sums(df, manifest, near) if swept else _run_sums(df, manifest),
        *_every_row(df, swept),
        el("h2", "What the columns mean", id="glossary"),
        glossary(swept),
        el("h2", "How far to trust it", id="trust"),
        trust_section(() if swept else records(df), manifest, near),
        el("h2", "Machines" if swept else "Machine", id="machine"),
        machines_section(_machines(manifest)),
        *_origin(df, manifest),
        grids=True,
    )


def _every_row(df: pd.DataFrame, swept: bool) -> list[Safe]:
    """The table of rows; none where points have a row each, which their table tells."""
    if of_sums(df):
        text = (
            "Rows of GEMMs were not kept: of each point this sweep stores sums alone (keep of its "
            "experiment). What only rows tell, such as utilisation and what limits a GEMM, is not "
            "known here; the command of a point shows it."
        )
        return [el("p", text, class_="none")]
    if df.empty or (swept and len(space_of(df).points) == len(df)):
        return []
    lead = (
        "One row per GEMM; columns that hold nothing are left out. Choose columns and rows above "
        "the table; a heading sorts. Seven digits: results.csv has all. "
    )
    return [
        el("h2", "Every row", id="rows"),
        el("p", lead, el("a", "What columns and units mean", href="#glossary"), class_="lead"),
        rows_grid(df, linked=not swept),
    ]


def _machines(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    if manifest["kind"] == "sweep":
        found: Mapping[str, Any] = manifest["machines"]
        return found
    return {manifest["machine"].get("name") or manifest["hardware"]: manifest["machine"]}


def _validation(df: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    return document(
        _title(manifest),
        _header(manifest),
        validation_tiles(manifest),
        *figure_parts(df, manifest),
        *tail_parts(manifest),
        *_origin(df, manifest),
    )


def _title(manifest: Mapping[str, Any]) -> str:
    if manifest["kind"] == "sweep":
        return str(manifest.get("title") or "sweep")
    if manifest["kind"] == "validate":
        return f"Predicted against measured: {', '.join(manifest['machines'])}"
    return f"{manifest['model']} on {manifest['hardware']}"


def _header(manifest: Mapping[str, Any]) -> Safe:
    kind = {"sweep": "sweep", "validate": "validation"}.get(manifest["kind"], "simulation")
    links = _LINKS[manifest["kind"]]
    return el(
        "header",
        el("div", f"nmsim {manifest['nmsim']} · {kind}", class_="eyebrow"),
        el("h1", _title(manifest)),
        *(
            el("p", said, class_="lead")
            for said in (memory_said(manifest), *rests_on(manifest))
            if said
        ),
        *([el("p", manifest["question"], class_="lead")] if manifest.get("question") else []),
        el("ul", *(_tag(name, value) for name, value in _settings(manifest)), class_="tags"),
        el("nav", *(el("a", text, href=f"#{anchor}") for anchor, text in links.items())),
    )


def _policy(df: pd.DataFrame) -> list[Safe]:
    rows = records(df)
    told = (policy_said(totals(rows)["all"]), evidence_said(rows))
    return [el("p", said, class_="lead") for said in told if said]


def _settings(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = (
        *("model", "models", "hardware", "recipe", "recipes", "pattern", "patterns"),
        *("choices", "batch", "batches", "scenario", "tokens", "context", "tp"),
        *("fidelity", "fidelities", "seed"),
        *("phases", "layers", "files"),
    )
    plain = {"tp": 1, "layers": "*"}
    known = [n for n in names if manifest.get(n) not in (None, "", plain.get(n))]
    machine = "machines" if manifest["kind"] == "sweep" else "machine"
    return [
        (machine if name == "hardware" else name, fields(manifest[name])[0][1]) for name in known
    ]


def _tag(name: str, value: str) -> Safe:
    return el("li", el("span", name), " ", el("b", value))


def _run_sums(df: pd.DataFrame, manifest: Mapping[str, Any]) -> Safe:
    if df.empty:
        return el("p", "This result has no rows.", class_="none")
    return joined(
        (
            el("p", answer(records(df), manifest), class_="answer"),
            tiles(df, manifest),
            *_policy(df),
            el("h2", "Totals per phase"),
            totals_table(df),
            _plots(df, manifest),
            el("h2", f"A {step_name(manifest)}", id="step"),
            el("p", f"{_STEP}{manifest.get('mask_basis', 'not told')}.", class_="lead"),
            step_sheet(sums(records(df), manifest)),
        )
    )


def _sweep_sums(df: pd.DataFrame, manifest: Mapping[str, Any], near: Neighbours) -> Safe:
    if df.empty:
        return el("p", "This result has no rows.", class_="none")
    space = space_of(df)
    captions = {"speedup": SPEEDUP[space.kind], **SPACE}
    return joined(
        (
            el("p", space_said(space), class_="answer"),
            best_points(space),
            _figures(space_figures(space, df, manifest), captions, _counted(space)),
            el("h2", "Points", id="points"),
            el("p", "Sums over all rows of a point; only fields that differ.", class_="lead"),
            points_grid(space, commands(manifest), near.points),
        )
    )


def _counted(space: Space) -> dict[str, str]:
    """What is to be said of figures that do not show every point."""
    count = len(space.points)
    said = {}
    if space.kind == "parallel" and count > MOST_LINES:
        said["speedup"] = (
            f"Of {count:,} points at most {MOST_LINES:,} lines are drawn: those of the front, and "
            "an even sample of the points that are chosen."
        )
    if count > MOST_POINTS:
        said["front"] = f"Beside the front, an even sample of the {count:,} points is drawn."
    return said


def _plots(df: pd.DataFrame, manifest: Mapping[str, Any]) -> Safe:
    more = {}
    if len(df) > GEMMS_SHOWN:
        more["roofline"] = f"Of {len(df):,} GEMMs the {GEMMS_SHOWN:,} of most time are shown."
    return _figures(figures(df, manifest), RUN, more)


def _figures(
    drawn: Mapping[str, Any], captions: Mapping[str, str], more: Mapping[str, str]
) -> Safe:
    """Figures with their captions, and what is to be said of some beside."""
    parts = [el("h2", "Figures", id="figures")]
    if "speedup" not in drawn:
        parts.append(el("p", "No dense run was simulated: no speed-up.", class_="none"))
    for name, drawing in drawings(drawn).items():
        said = " ".join(filter(None, (captions[name], more.get(name))))
        parts += [drawing, el("p", said, class_="caption")]
    return joined(parts)


def _origin(df: pd.DataFrame, manifest: Mapping[str, Any]) -> list[Safe]:
    sources = [
        (key.replace("_", " "), manifest[key])
        for key in ("model_source", "recipe_source", "tensors", "tensors_unused")
        if manifest.get(key)
    ]
    sources += [
        (f"pruner {one['pruner']}", f"{one['file']}, sha256 {one['sha256'][:16]}")
        for one in manifest.get("plugins") or ()
        if isinstance(one, Mapping)  # in 0.1 there were none
    ]
    files = [el("a", name, href=name) for name in (RESULTS, MANIFEST)]
    return [
        el("h2", "How to get it again", id="origin"),
        command_box(manifest["command"]),
        facts(
            [
                *sources,
                ("files", joined((files[0], " (every row), ", files[1], " (every setting)"))),
            ]
        ),
        el("h3", "What to look at next"),
        el("ul", *(el("li", el("code", one), f": {why}") for one, why in _next(manifest))),
        el("details", el("summary", MANIFEST), el("pre", manifest_json(manifest, df))),
        el(
            "footer",
            f"Written by nmsim {manifest['nmsim']}. No part of this page comes from a network.",
        ),
    ]


def _next(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Commands that lead on from a page, each with what it shows."""
    said = [("nmsim report DIR", "draws this page again from the files beside it")]
    if manifest["kind"] == "validate":
        return said
    models = manifest.get("models") or [manifest.get("model")]
    machines = manifest.get("machines") or {manifest.get("hardware"): None}
    model, machine = str(models[0]), str(next(iter(machines)))
    about = f"{model} --hardware {machine}"
    return [
        (
            f"nmsim explain {about}",
            "where the cycles of a GEMM go, and what mends it (docs/explain.md)",
        ),
        (
            "nmsim sweep EXPERIMENT.yaml",
            "the same over patterns and machines (docs/files.md)",
        ),
        (f"nmsim validate --hardware {machine}", "how far off times were that somebody measured"),
        (f"nmsim show hardware {machine}", "every field, its unit and source"),
        *said,
    ]
