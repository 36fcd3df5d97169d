"""One self-contained page for a result: headline, totals, figures, every row, its origin."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from nmsim.files import write_folder
from nmsim.report.capacity import corrected, memory_said, unfitted
from nmsim.report.evidence import evidence_said, measured_on
from nmsim.report.pages.markup import Safe, drawings, el, facts, fields, joined, script
from nmsim.report.pages.sections import (
    best_points,
    glossary,
    machines,
    points_table,
    rows_table,
    tiles,
    totals_table,
)
from nmsim.report.pages.validation import figure_parts, tail_parts, validation_tiles
from nmsim.report.plots.run import figures
from nmsim.report.reasons import policy_said
from nmsim.report.rows import manifest_json, records, to_csv
from nmsim.report.step import step_name, step_sheet
from nmsim.report.table import MANIFEST, RESULTS
from nmsim.result import totals
from nmsim.run.answer import answer, sums

__all__ = ["PAGE", "document", "page", "write_report"]

PAGE = "index.html"

_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")

_WAITING = (
    "The hatched part is time that an array waits for memory, or that a GPU's tensor cores idle."
)
_LINKS = {
    "simulate": {
        "figures": "Figures",
        "rows": "Every row",
        "glossary": "Columns",
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
_IDEAL = (
    "Ticks are what the masks promise to a machine that skips every pruned MAC and waits for "
    "nothing: dense over useful MACs."
)
_CAPTIONS = {
    "phase-time": "Each phase, masks included where making them takes time, what is no GEMM where "
    f"it was estimated, and the dense run on the same machine. {_WAITING}",
    "speedup": "Of each GEMM, without the making of its masks: dense cycles over these cycles, "
    f"same machine, same fidelity. {_IDEAL} Crosses are masks that could be used and are not, as "
    "the GEMM is no slower dense: dense cycles over those that it would take with them.",
    "bandwidth": "Bytes read from and written to DRAM over time, against what the machine has.",
    "macs": "Dense M·N·K in grey, the slots that the machine spends in colour, ticks at the pairs "
    "whose mask bits are both set. What lies between colour and tick is padding and empty slots.",
    "layer-time": f"Where the time goes, all copies and repeats of a layer together. {_WAITING}",
}
_SWEEP_CAPTIONS = {
    "speedup": "Over the dense run of the same machine and fidelity. Where a step has masks or an "
    "estimate beside its GEMMs, lines are speed-ups of the step, and open, pale marks of its GEMMs "
    f"alone, where the two differ. {_IDEAL} Crosses: of the GEMMs, if every mask that can be used "
    "were, where some are not.",
    "bandwidth": _CAPTIONS["bandwidth"],
}


def write_report(folder: str | Path, df: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write ``results.csv``, ``manifest.json`` and ``index.html`` into a folder, all or none.

    Raises
    ------
    SpecError
        if the file system refuses.
    """
    contents = {
        RESULTS: to_csv(df),
        MANIFEST: manifest_json(manifest, df),
        PAGE: page(df, manifest),
    }
    write_folder(Path(folder), contents)


def page(df: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    """The whole page of a run, a sweep or a validation, as ``kind`` of its manifest says."""
    if manifest["kind"] == "validate":
        return _validation(df, manifest)
    swept = manifest["kind"] == "sweep"
    return document(
        _title(manifest),
        _header(manifest),
        _sweep_sums(df, manifest) if swept else _run_sums(df, manifest),
        el("h2", "Every row", id="rows"),
        el(
            "p",
            "One row per GEMM; columns that hold nothing are left out. A click on a header sorts.",
            class_="lead",
        ),
        rows_table(df),
        el("h2", "What the columns mean", id="glossary"),
        glossary(swept),
        el("h2", "Machines" if swept else "Machine", id="machine"),
        machines(manifest),
        *_origin(df, manifest),
    )


def _validation(df: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    return document(
        _title(manifest),
        _header(manifest),
        validation_tiles(manifest),
        *figure_parts(df, manifest),
        *tail_parts(manifest),
        *_origin(df, manifest),
    )


def document(title: str, *parts: Safe, drawn: bool = True) -> str:
    """A page of parts in the look of every page, with what draws its figures and sorts its tables.

    It needs no network and no other file: styles, scripts and plotly.js stand in it, the last where
    figures are ``drawn``.
    """
    head = el(
        "head",
        Safe('<meta charset="utf-8">'),
        Safe('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        el("title", f"nmsim: {title}"),
        Safe(f"<style>{_STYLE}</style>"),
        *([script(get_plotlyjs())] if drawn else []),
        script(_SCRIPT),
    )
    body = el("body", el("main", *parts))
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


def _title(manifest: Mapping[str, Any]) -> str:
    if manifest["kind"] == "sweep":
        return str(manifest.get("title") or "sweep")
    if manifest["kind"] == "validate":
        return f"Predicted against measured: {', '.join(manifest['machines'])}"
    return f"{manifest['model']} on {manifest['hardware']}"


def _header(manifest: Mapping[str, Any]) -> Safe:
    kind = {"sweep": "sweep", "validate": "validation"}.get(manifest["kind"], "simulation")
    links = _LINKS["validate" if kind == "validation" else "simulate"]
    return el(
        "header",
        el("div", f"nmsim {manifest['nmsim']} · {kind}", class_="eyebrow"),
        el("h1", _title(manifest)),
        *(
            el("p", said, class_="lead")
            for said in (
                memory_said(manifest),
                unfitted(manifest),
                measured_on(manifest),
                corrected(manifest),
            )
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
    known = [name for name in names if manifest.get(name) not in (None, "")]
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
            el("h2", f"A {step_name(manifest)}"),
            el("p", f"{_STEP}{manifest.get('mask_basis', 'not told')}.", class_="lead"),
            step_sheet(sums(records(df), manifest)),
            _plots(df, manifest),
        )
    )


def _sweep_sums(df: pd.DataFrame, manifest: Mapping[str, Any]) -> Safe:
    if df.empty:
        return el("p", "This result has no rows.", class_="none")
    return joined(
        (
            best_points(df),
            _plots(df, manifest),
            el("h2", "Points"),
            el("p", "Sums over all rows of a point. A click on a header sorts.", class_="lead"),
            points_table(df),
        )
    )


def _plots(df: pd.DataFrame, manifest: Mapping[str, Any]) -> Safe:
    drawn = figures(df, manifest)
    parts = [el("h2", "Figures", id="figures")]
    if "speedup" not in drawn:
        parts.append(el("p", "No dense run was simulated: no speed-up.", class_="none"))
    captions = _SWEEP_CAPTIONS if manifest["kind"] == "sweep" else _CAPTIONS
    for name, drawing in drawings(drawn).items():
        parts += [drawing, el("p", captions[name], class_="caption")]
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
        el("pre", el("code", manifest["command"])),
        facts(
            [
                *sources,
                ("files", joined((files[0], " (every row), ", files[1], " (every setting)"))),
            ]
        ),
        el("details", el("summary", MANIFEST), el("pre", manifest_json(manifest, df))),
        el(
            "footer",
            f"Written by nmsim {manifest['nmsim']}. No part of this page comes from a network.",
        ),
    ]
