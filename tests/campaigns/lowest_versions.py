"""Do the tests pass with the lowest version of every library that pyproject.toml declares?

``python3.11 tests/campaigns/lowest_versions.py [PYTEST ARGUMENT ...]``, with the lowest Python that
is declared; about five minutes on two cores. uv (from PyPI) resolves what the project and its extra
``test`` name to the lowest versions, and what those need to the newest. The line gives the
versions, and how many tests passed and failed. A bound below what can be installed at all fails
too: nobody has seen the version that it promises.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

from environment import PROJECT, fresh, named, report


def declared():
    """The lower bound of every library of the project and of the extras that ``test`` takes in."""
    bounds, wanted = {}, [*PROJECT["dependencies"], "nmsim[test]"]
    for requirement in wanted:
        inner = re.fullmatch(r"nmsim\[(.*)\]", requirement)
        for extra in inner[1].split(",") if inner else ():
            wanted.extend(PROJECT["optional-dependencies"][extra.strip()])
        if not inner:
            bounds[named(requirement)] = re.search(r">=([0-9.]+)", requirement)[1]
    return bounds


def installed(environment):
    """The version of every library in the environment, by name."""
    listed = environment.python("-m", "pip", "list", "--format", "json").stdout
    return {named(found["name"]): found["version"] for found in json.loads(listed)}


def same(bound, version):
    """Whether a bound such as 2.0 is the version 2.0.0."""
    return re.sub(r"(\.0)+$", "", bound) == re.sub(r"(\.0)+$", "", version)


def main(arguments):
    with tempfile.TemporaryDirectory() as folder:
        environment = fresh(Path(folder) / "environment")
        environment.install("uv")
        lowest = ("pip", "install", "--quiet", "--resolution", "lowest-direct", "-e", ".[test]")
        resolved = environment.python("-m", "uv", *lowest)
        if resolved.returncode:
            sys.exit(resolved.stderr)
        versions, bounds = installed(environment), declared()
        counts = environment.test(*arguments)
    unseen = tuple(
        f"{name}>={bound} is declared, but {versions[name]} is the lowest that can be installed"
        for name, bound in bounds.items()
        if not same(bound, versions[name])
    )
    line = ", ".join(f"{name} {versions[name]}" for name in bounds)
    python = ".".join(map(str, sys.version_info[:3]))
    report(
        f"lowest versions: Python {python}, {line}: {counts.passed} passed, {counts.failed} failed",
        (*unseen, *counts.what),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
