"""Links of a built site that lead to no file, or to no place in it. Nothing outside is asked."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["broken_links"]


class _Page(HTMLParser):
    """What a page links to, and the places in it that others may link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(
        self,
        tag: str,  # noqa: ARG002  as HTMLParser calls it
        attrs: list[tuple[str, str | None]],
    ) -> None:
        """Keep a tag's links and its names."""
        found = {name: value for name, value in attrs if value}
        self.places |= {found[name] for name in ("id", "name") if name in found}
        self.links += [found[name] for name in ("href", "src") if name in found]


def broken_links(folder: Path) -> list[str]:
    """A line for each link of the pages in a folder that leads to nothing in it."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    return [
        f"{page.relative_to(folder)}: {link} leads nowhere"
        for page, found in sorted(pages.items())
        for link in dict.fromkeys(found.links)
        if not _leads_somewhere(page, link, pages)
    ]


def _leads_somewhere(page: Path, link: str, pages: dict[Path, _Page]) -> bool:
    scheme, host, path, _, anchor = urlsplit(link)
    if scheme or host:
        return True
    target = (page.parent / unquote(path)).resolve() if path else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return False
    return not anchor or target not in pages or unquote(anchor) in pages[target].places
