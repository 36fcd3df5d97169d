"""Does a test notice when one operator, or one constant, of the simulator is wrong?

``python tests/campaigns/mutants.py [--mutants 100] [--seed 0]``; about ten minutes on two cores for
a hundred. Each mutant changes one token inside a function of the modules of ``SELECTIONS``, in a
copy of the tree, and runs the tests that stand beside its module there, kernels interpreted and
few examples of each property drawn. A mutant is killed if a test fails, or takes too long. At least
half of them are in kernels. Survivors follow the line, to be judged by hand: a mutant may be
equivalent, or be killed only by more examples or by a test of another module.
"""

import argparse
import ast
import compileall
import io
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tokenize
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from py_compile import PycInvalidationMode
from queue import SimpleQueue

from environment import ROOT

WORKERS = 2
EXAMPLES = "10"  # of a property; enough where a wrong token shows in most of the inputs
SLOWER = 4  # times what the unchanged tree takes: a mutant that takes longer is killed
KERNEL = {"compiled", "compiled_uncounted"}
COPIED = ("nmsim", "tests", "models", "pyproject.toml")
SWAPS = {
    **{"+": "-", "-": "+", "*": "//", "//": "*", "/": "*", "+=": "-=", "-=": "+="},
    **{"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"min": "max", "max": "min", "and": "or", "or": "and"},
}

SELECTIONS = {}


@dataclass(frozen=True)
class Mutant:
    """One token of a file, from a column of a line on, and what takes its place."""

    file: str
    line: int
    column: int
    old: str
    new: str
    in_kernel: bool

    def __str__(self):
        kernel = " (kernel)" if self.in_kernel else ""
        return f"{self.file}:{self.line}: {self.old} -> {self.new} at {self.column}{kernel}"

    def applied(self, source):
        """The source with this token replaced."""
        lines = source.splitlines(keepends=True)
        line, end = lines[self.line - 1], self.column + len(self.old)
        lines[self.line - 1] = line[: self.column] + self.new + line[end:]
        return "".join(lines)


def selection(file):
    """Pytest's arguments for a file: those of the first pattern that it matches, or none."""
    return next((tests for pattern, tests in SELECTIONS.items() if fnmatch(file, pattern)), None)


def spans(source):
    """First and last line of every function's body after its docstring; whether it is a kernel."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1 if ast.get_docstring(node) else 0 :]
            kernel = any(getattr(mark, "id", None) in KERNEL for mark in node.decorator_list)
            if first:
                yield first[0].lineno, node.end_lineno, kernel


def swapped(token):
    """What takes a token's place; none where it stays."""
    if token.type == tokenize.NUMBER and re.fullmatch(r"\d+", token.string):
        return str(int(token.string) + 1)
    return SWAPS.get(token.string)


def compiles(source):
    """Whether Python takes the source: a star that unpacks has no other operator in its place."""
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def mutants(file, source):
    """Every mutant of a file: one for each token of a function's body that has a swap."""
    within = {
        line: kernel for first, last, kernel in spans(source) for line in range(first, last + 1)
    }
    found = [
        Mutant(file, *token.start, token.string, new, within[token.start[0]])
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.start[0] in within and (new := swapped(token))
    ]
    return [mutant for mutant in found if compiles(mutant.applied(source))]


def drawn(found, wanted, seed):
    """As many mutants as wanted, no two of a line, half of them or more in kernels."""
    mixed = random.Random(seed).sample(found, len(found))
    lines = list({(mutant.file, mutant.line): mutant for mutant in mixed}.values())
    kernels = [mutant for mutant in lines if mutant.in_kernel][: -(-wanted // 2)]
    others = [mutant for mutant in lines if mutant not in kernels]
    return (kernels + others)[:wanted]


def copied(folder):
    """A copy of the tree, its modules compiled so that only a changed source is compiled again."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    by_content = PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(folder / "nmsim", quiet=1, invalidation_mode=by_content)
    return folder


def tested(tree, tests, seconds=None):
    """Run tests in a copy of the tree; pytest's status, none if it takes longer than allowed."""
    settings = {
        "NMSIM_EXAMPLES": EXAMPLES,
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(tree),
    }
    options = ("-o", "addopts=", "-m", "not slow", "-x", "-q", "--benchmark-skip")
    off = ("-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::RuntimeWarning")  # overflows
    command = [sys.executable, "-m", "pytest", *options, *off, *tests]
    try:
        return subprocess.run(
            command,
            cwd=tree,
            env={**os.environ, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return None


def allowed(tree, tests):
    """The seconds that a mutant may take; stop the campaign if the tests fail without one."""
    start = time.monotonic()
    status = tested(tree, tests)
    if status != 0:
        sys.exit(f"pytest {' '.join(tests)} ends with {status} without a mutant")
    return SLOWER * (time.monotonic() - start)


def survives(mutant, trees, seconds):
    """Whether no test notices a mutant, in one of the copies that no other is using."""
    tree = trees.get()
    path, tests = tree / mutant.file, selection(mutant.file)
    source = path.read_text("utf-8")
    path.write_text(mutant.applied(source), "utf-8")
    try:
        return tested(tree, tests, seconds[tests]) == 0
    finally:
        path.write_text(source, "utf-8")
        trees.put(tree)


def candidates():
    """Every mutant of the modules that have a selection of tests."""
    files = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("nmsim/**/*.py"))
    chosen = [file for file in files if selection(file)]
    return [mutant for file in chosen for mutant in mutants(file, (ROOT / file).read_text("utf-8"))]


def main(wanted, seed):
    """Draw, try and count; the survivors follow."""
    chosen = drawn(candidates(), wanted, seed)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        trees, copies = SimpleQueue(), [copied(Path(folder) / str(i)) for i in range(WORKERS)]
        needed = sorted({selection(mutant.file) for mutant in chosen})
        taken = pool.map(lambda tests: allowed(copies[0], tests), needed)
        seconds = dict(zip(needed, taken, strict=True))
        for tree in copies:
            trees.put(tree)
        lived = list(pool.map(lambda mutant: survives(mutant, trees, seconds), chosen))
    left = [mutant for mutant, lives in zip(chosen, lived, strict=True) if lives]
    killed = len(chosen) - len(left)
    print(f"mutants: {len(chosen)}, killed {killed}, survived {len(left)} (seed {seed})")
    for mutant in left:
        print(mutant)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(given.mutants, given.seed)
