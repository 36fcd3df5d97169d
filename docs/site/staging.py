"""Lays out the pages of the handbook: those of the repository, with links that hold on the site.

A page of ``docs`` links to others as they stand in the repository, so that it reads there too. On
the site some pages stand elsewhere, and what is no page is a file to download.
"""

import re
import shutil
from pathlib import Path

__all__ = ["DOCS", "ROOT", "pages", "stage"]

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent

MOVED = {
    "README.md": "index.md",
    "CHANGELOG.md": "about/changelog.md",
    "CONTRIBUTING.md": "about/contributing.md",
    "DESIGN.md": "about/design.md",
    "traces/README.md": "about/traces.md",
}
"""Where pages outside ``docs`` stand on the site."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^(```+|~~~+).*?^\1`*$", re.MULTILINE | re.DOTALL)


def pages() -> dict[str, str]:
    """Paths in the repository of all pages, and where they stand on the site."""
    own = {path.relative_to(ROOT).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
    return {**{name: Path(name).relative_to("docs").as_posix() for name in own}, **MOVED}


def stage(target: Path) -> None:
    """Write all pages of the repository, and the files that they show or link to, to a folder.

    ``README.md`` is what a browser of the repository shows; the site opens with ``docs/index.md``.
    """
    where = pages()
    for name, place in where.items():
        if name == "README.md":
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        _write(target / place, _moved(text, name, where, target))
    for drawing in DOCS.glob("*.svg"):
        shutil.copyfile(drawing, target / drawing.name)
    shutil.copytree(DOCS / "site" / "static", target / "static", dirs_exist_ok=True)
    shutil.copyfile(DOCS / "site" / "conf.py", target / "conf.py")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _moved(text: str, name: str, where: dict[str, str], target: Path) -> str:
    """A page's text with the links that hold on the site; what is fenced stays as it is."""

    def link(found: re.Match[str]) -> str:
        shown, said, to = found.groups()
        if "://" in to or to.startswith(("#", "mailto:")):
            return found[0]
        return f"{shown}{_link(said, to, name, where, target)}"

    parts, at = [], 0
    for fenced in FENCE.finditer(text):
        parts += [LINK.sub(link, text[at : fenced.start()]), fenced[0]]
        at = fenced.end()
    return "".join([*parts, LINK.sub(link, text[at:])])


def _link(said: str, to: str, name: str, where: dict[str, str], target: Path) -> str:
    file, _, anchor = to.partition("#")
    path = (ROOT / name).parent / file
    inside = Path(_normal(path)).relative_to(ROOT).as_posix()
    here = Path(where[name]).parent
    up = "../" * len(here.parts)
    if inside in where:
        return f"[{said}]({up}{where[inside]}{'#' + anchor if anchor else ''})"
    if path.is_file():
        copied = inside.removeprefix("docs/") if path.suffix == ".svg" else f"files/{inside}"
        (target / copied).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / copied)
        return f"[{said}]({up}{copied})"
    if path.is_dir():
        return f"{said} (folder `{inside}` of the repository)"
    return f"[{said}]({to})"  # is not there: Sphinx says so, with the page and the line


def _normal(path: Path) -> str:
    """A path without ``..``, links of the file system left as they are."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return str(Path(*parts))
