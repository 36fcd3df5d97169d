"""How far to trust a page's times: which model, whose constants, what was measured, and where."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from nmsim.report.again import out_of
from nmsim.report.capacity import rests_on
from nmsim.report.evidence import evidence_said
from nmsim.report.neighbours import VALIDATION, Neighbours
from nmsim.report.pages.markup import Safe, el

__all__ = ["trust_section"]

Row = Mapping[str, Any]

_MODELS = {
    "cycle": "cycle (simulated, tile by tile or fold by fold)",
    "analytical": "analytical (closed forms of the machine)",
}


def trust_section(rows: Sequence[Row], manifest: Row, near: Neighbours) -> Safe:
    """What a page's times rest on, a line each, and where how far off they are is told."""
    fidelities = manifest.get("fidelities") or [manifest.get("fidelity")]
    models = " and ".join(_MODELS.get(str(one), str(one)) for one in fidelities)
    other = [name for name in _MODELS if name not in fidelities]
    against = f"; --fidelity {other[0]} runs the other one, to hold it against" if other else ""
    told = [
        f"Model: {models}{against}.",
        *rests_on(manifest),
        *filter(None, [evidence_said(rows)]),
    ]
    machine = el("a", "fields of the machine", href="#machine")
    return el(
        "ul",
        *(el("li", one) for one in told),
        el("li", "Every constant is one of the ", machine, ", with its source."),
        el("li", *_validation(manifest, near)),
        *([el("li", _link("The sweep", near.sweep), " of which this is a point.")]
          if near.sweep else []),
    )  # fmt: skip


def _validation(manifest: Row, near: Neighbours) -> list[object]:
    """Where measured times stand beside predicted ones: a page that is there, or what writes it."""
    if near.validation:
        page = _link("The validation of its machine", near.validation)
        return [page, ": measured times beside predicted ones, GEMM by GEMM."]
    machines = manifest.get("machines") or [manifest["hardware"]]
    measured = _measured(manifest)
    if not measured:
        names = ", ".join(map(str, machines))
        return [f"nmsim ships no measured times of {names}: hold it against what is run alike."]
    folder = out_of(str(manifest.get("command", ""))) or "DIR"
    out = str(PurePath(folder) / VALIDATION)
    command = shlex.join(["nmsim", "validate", "--hardware", measured[0], "--out", out])
    return [
        el("code", command),
        ": measured times beside predicted ones. Its page is pointed at from here once ",
        el("code", shlex.join(["nmsim", "report", folder])),
        " has drawn this page again.",
    ]


def _measured(manifest: Row) -> list[str]:
    """Machines whose manifest tells of measured times."""
    said = manifest.get("evidence") or {}
    if isinstance(said, str):
        said = {str(manifest["hardware"]): said}
    return [name for name, text in said.items() if text and not text.startswith(_NONE)]


_NONE = "evidence: none"


def _link(text: str, address: str) -> Safe:
    return el("a", text, href=address)
