"""A fresh environment for a campaign, and what the tests say in it.

A campaign is a script of this folder that is too long, or wants too much of the network, for every
day. ``python tests/campaigns/NAME.py`` prints one line of figures, and what failed before it; it
exits with 1 if anything did. Its first line is the question that it answers. pytest collects none.
"""

import re
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@dataclass(frozen=True)
class Counts:
    """How many tests ended how; ``what`` failed, by name."""

    passed: int
    what: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        return len(self.what)


@dataclass(frozen=True)
class Environment:
    """A virtual environment in a folder that its owner removes."""

    folder: Path

    def python(self, *arguments):
        """Run its Python in the root of the repository."""
        command = [str(self.folder / "bin" / "python"), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    def install(self, *what):
        """Install with pip; stop the campaign with pip's words where it cannot."""
        done = self.python("-m", "pip", "install", "--quiet", *what)
        if done.returncode:
            sys.exit(f"pip install {' '.join(what)}: {done.stderr.strip()}")

    def test(self, *arguments):
        """Run the tests of the repository, or those that pytest's arguments choose."""
        record = self.folder / "tests.xml"
        record.unlink(missing_ok=True)
        run = self.python(
            "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={record}", *arguments
        )
        if not record.exists():
            sys.exit(f"pytest {' '.join(arguments)}: {run.stdout}{run.stderr}")
        return counted(record, run.returncode)


def fresh(folder: Path) -> Environment:
    """Make an environment of the Python that runs the campaign, with pip alone."""
    venv.create(folder, with_pip=True, symlinks=True)
    return Environment(folder)


def counted(record: Path, status: int) -> Counts:
    """What pytest's record in JUnit's format holds; nothing collected counts as a failure."""
    cases = list(ET.parse(record).iter("testcase"))
    wrong = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    left_out = sum(case.find("skipped") is not None for case in cases)
    what = [f"{case.get('classname')}::{case.get('name')}".strip(":") for case in wrong]
    if status and not what:
        what = [f"pytest ended with {status}"]
    return Counts(len(cases) - len(wrong) - left_out, tuple(what))


def named(requirement: str) -> str:
    """The normalised name at the head of a requirement, as indexes write it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def report(line: str, wrong: tuple[str, ...]) -> None:
    """Print what is wrong, then the one line, and end with 1 if anything was."""
    for each in wrong:
        print(each, file=sys.stderr)
    print(line)
    sys.exit(bool(wrong))
