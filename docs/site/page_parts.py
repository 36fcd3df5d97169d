"""What pages of the catalogs are put together of: texts, tables, comments, and where to read on."""

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from staging import DOCS, ROOT

__all__ = ["bullets", "command", "comment", "mentions", "plain", "table"]


def plain(said: str) -> str:
    """A text of a catalog as Markdown shows it: nothing in it is markup."""
    joined = " ".join(said.split()).rstrip(".")
    return re.sub(r"([\\|*_<>\[\]`$#~])", r"\\\1", joined)


def table(facts: Iterable[tuple[str, str]], head: tuple[str, str] = ("what", "value")) -> str:
    """A table of two columns."""
    rows = [f"| {plain(name)} | {plain(said)} |" for name, said in facts]
    return "\n".join([f"| {head[0]} | {head[1]} |", "|---|---|", *rows])


def bullets(said: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {one}" for one in said)


def command(line: str) -> str:
    """A command to be copied."""
    return f"```sh\n{line}\n```"


def comment(path: Path) -> list[str]:
    """What a file of a catalog says above its fields, as a paragraph if it says anything."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    text = " ".join(lines)
    return [plain(text) + "."] if text else []


@lru_cache(maxsize=1)
def _prose() -> dict[str, str]:
    """The pages of the handbook that are written by hand, by name."""
    pages = sorted(DOCS.glob("*.md"))
    return {page.stem: page.read_text(encoding="utf-8") for page in pages if page.stem != "index"}


@lru_cache(maxsize=1)
def _reports() -> dict[str, str]:
    """All that the code and data of a report say, by the command that runs it."""
    found = {}
    for folder in sorted(path for path in (ROOT / "reports").iterdir() if path.is_dir()):
        files = [path for path in folder.rglob("*") if path.suffix in (".py", ".yaml")]
        if line := _runs(folder):
            found[line] = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return found


def _runs(folder: Path) -> str:
    """The command that runs a report, a module where it is in a package; empty if there is none."""
    shown = folder.relative_to(ROOT).as_posix()
    if (folder / "__init__.py").is_file() and (folder / "build.py").is_file():
        return f"python -m {shown.replace('/', '.')}.build"
    if (folder / "build.py").is_file():
        return f"python {shown}/build.py"
    return f"nmsim sweep {shown}/experiment.yaml" if list(folder.glob("experiment.yaml")) else ""


def mentions(name: str) -> list[str]:
    """Where else a thing is spoken of: pages that name it in code, reports that run it."""
    pages = [
        f"[{_title(text)}](../../{stem}.md)"
        for stem, text in _prose().items()
        if f"`{name}`" in text
    ]
    reports = [f"`{line}`" for line, text in _reports().items() if _quoted(name, text)]
    told = [f"Pages that speak of it: {', '.join(pages)}."] if pages else []
    told += [f"Reports of the repository that run it: {', '.join(reports)}."] if reports else []
    return ["## Read on", *told] if told else []


def _quoted(name: str, text: str) -> bool:
    return re.search(rf"""["'\[, :]{re.escape(name)}["'\], \n]""", text) is not None


def _title(text: str) -> str:
    return text.partition("\n")[0].removeprefix("# ").replace("`", "")
