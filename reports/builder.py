"""One builder for all reports: what each makes is written beside it, or where it is told to."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmsim import __version__
from nmsim.files import write_folder

__all__ = ["RESULTS", "Built", "Origin", "build", "results_json"]

RESULTS = "results.json"


@dataclass(frozen=True)
class Origin:
    """What a report asks, the command that makes it again, and the version of nmsim that did.

    ``beside`` heads where a statement stands, what is expected of it, and what is found.
    """

    question: str
    command: str
    version: str = __version__
    beside: tuple[str, str, str] = ("in the paper", "the paper prints", "nmsim computes")


@dataclass(frozen=True)
class Built:
    """The files of a report by name, and what is told of it in a line."""

    files: Mapping[str, str]
    told: str


def results_json(origin: Origin, **content: Any) -> str:
    """What a report found, after what it asked, as strict JSON."""
    whole = {
        "question": origin.question,
        "command": origin.command,
        "nmsim": origin.version,
        **{
            name: list(one) if isinstance(one, Iterable) and not isinstance(one, Mapping) else one
            for name, one in content.items()
        },
    }
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def build(arguments: list[str], question: str, here: Path, make: Callable[[], Built]) -> None:
    """Make a report and write it into its folder, or into that of ``--out``."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--out", type=Path, default=here, help="folder to write into")
    folder = parser.parse_args(arguments).out
    built = make()
    write_folder(folder, built.files)
    print(f"{folder / 'index.html'}: {built.told}")
