"""Build the handbook: ``python docs/site/build_site.py [--out FOLDER]`` (extra ``docs``).

Pages of the repository, a page for each thing in the catalogs, notebooks with what they print, and
the API are laid out in ``FOLDER/source`` and built to ``FOLDER/html``. A warning is an error, and
so is a link that leads nowhere.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from catalog_pages import write_catalog
from links import broken_links
from notebook_pages import write_notebooks
from sphinx.cmd.build import build_main
from staging import ROOT, stage

__all__ = ["build"]


def build(out: Path) -> int:
    """Build the site in a folder, and give Sphinx' status; 1 where a link leads nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        stage(source)
        write_catalog(source / "catalog")
        write_notebooks(source / "notebooks")
        html = out / "html"
        shutil.rmtree(html, ignore_errors=True)
        options = ["-b", "html", "-q", "-W", "--keep-going"]
        status = build_main([*options, "-d", str(source / ".doctrees"), folder, str(html)])
    broken = broken_links(html)
    for line in broken:
        print(line, file=sys.stderr)
    return status or bool(broken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the handbook.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    asked = parser.parse_args()
    status = build(asked.out)
    if not status:
        print(asked.out / "html" / "index.html")
    sys.exit(status)
