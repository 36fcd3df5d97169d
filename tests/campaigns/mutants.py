"""Do the tests notice when one line of the engines, of masking or of lowering is wrong?

``python tests/campaigns/mutants.py [--mutants 100] [--seed 0] [--again]``; about ten minutes on two
cores. Each mutant is a copy of the tree with one operator, constant or call of one line replaced;
at least half lie inside kernels. The tests of ``TESTS`` that are quick with kernels interpreted run
on it. With ``--again`` what survives meets all of those files once more, slow examples included,
with its kernels compiled: minutes for each. Survivors are listed, to be judged by hand.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from environment import ROOT

ARRAYS = (
    "test_systolic.py",
    "test_systolic_oracle.py",
    "test_oracle.py",
    "test_memory.py",
    "test_cost.py",
    "test_delivery.py",
    "test_storage.py",
)
PAIRS = ("test_intersect.py", "test_intersecting_array.py")
GPUS = (
    "test_closed_form.py",
    "test_waves.py",
    "test_in_turn.py",
    "test_gpu_constants.py",
    "test_tensor_core.py",
    "test_gpu_machines.py",
    "test_preparation.py",
    "test_overhead.py",
    "test_timeline.py",
    "test_storage.py",
)
CORES = ("test_sm.py", "test_sm_oracle.py", "test_sm_state.py", "test_occupancy.py")
MASKS = ("test_masking.py", "test_recipe_layers.py", "test_recipes.py", "test_tensors.py")
TESTS = {
    "nmsim/machines/systolic/intersect": (*PAIRS, *ARRAYS),
    "nmsim/machines/systolic": (*ARRAYS, *PAIRS),
    "nmsim/machines/gpu/sm": (*CORES, *GPUS),
    "nmsim/machines/gpu": (*GPUS, *CORES),
    "nmsim/machines/ideal": ("test_ideal.py", "test_storage.py", "test_memory.py"),
    "nmsim/machines": ("test_based_on.py", "test_gpu_machines.py", "test_storage.py"),
    "nmsim/network": ("test_layer.py", "test_networks.py", "test_tensors.py", *MASKS),
    "nmsim/recipes/masking.py": MASKS,
    "nmsim/step": ("test_step_memory.py", "test_overhead.py", "test_storage.py"),
}
"""The tests of what lies below a path; the first path that holds a file counts."""

FILES = (
    *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("nmsim/machines/**/*.py")),
    "nmsim/recipes/masking.py",
    "nmsim/network/lowering.py",
    "nmsim/network/im2col.py",
    "nmsim/step/masks.py",
    "nmsim/step/memory.py",
)

PATIENCE = 0.7
"""Seconds that a test may take, interpreted, to be run on mutants."""

BUDGET = 3.0
"""Seconds of tests per mutant, the start of Python not counted."""

OPERATORS = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
"""What stands for an operator, and what is put in its place."""

CALLS = {"min": "max", "max": "min", "ceil": "floor", "floor": "ceil", "any": "all", "all": "any"}
NAMES = {"m": "n", "n": "m", "rows": "cols", "cols": "rows", "down": "across", "across": "down"}
UNTOUCHED = (ast.Raise, ast.JoinedStr, ast.Assert, ast.ImportFrom)


@dataclass(frozen=True, order=True)
class Mutant:
    """One line of a file, as it is and as it would be."""

    file: str
    line: int
    old: str
    new: str
    kernel: bool

    def __str__(self):
        inside = " (kernel)" if self.kernel else ""
        return f"{self.file}:{self.line}{inside}: {self.old.strip()} -> {self.new.strip()}"


def _body(function):
    """The nodes of a function's statements, with no message of an error and no docstring."""
    waiting = list(function.body)
    while waiting:
        node = waiting.pop()
        plain = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not plain and not isinstance(node, UNTOUCHED):
            yield node
            annotation = getattr(node, "annotation", None)
            waiting.extend(n for n in ast.iter_child_nodes(node) if n is not annotation)


def _between(left, right, operator):
    """Replace an operator between two operands of one line, or leave out the right operand."""
    old, new = OPERATORS[type(operator)]
    if left.end_lineno == right.lineno == left.lineno == right.end_lineno:
        yield left.end_col_offset, right.col_offset, old, new
        if isinstance(operator, ast.Add | ast.Sub):
            yield left.end_col_offset, right.end_col_offset, None, ""


def _edits(node):
    """Ways to mutate a node: columns from and to, what is replaced in between, and by what."""
    match node:
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
            yield from _between(left, right, operator)
        case ast.Compare(left, [operator], [right]) if type(operator) in OPERATORS:
            yield from _between(left, right, operator)
        case ast.BoolOp(operator, [left, right, *_]):
            yield from _between(left, right, operator)
        case ast.Constant(int() as value) if not isinstance(value, bool):
            yield node.col_offset, node.end_col_offset, str(value), str(value + 1)
        case ast.Name(name, ast.Load()) if name in NAMES | CALLS:
            yield node.col_offset, node.end_col_offset, name, (NAMES | CALLS)[name]
        case ast.Attribute(value, name) if name in NAMES | CALLS:
            yield value.end_col_offset, node.end_col_offset, name, (NAMES | CALLS)[name]


def mutants_of(file):
    """All mutants of a file, those that do not parse left out."""
    source = (ROOT / file).read_text("utf-8")
    lines = source.splitlines()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        kernel = any("compiled" in ast.unparse(each) for each in function.decorator_list)
        for node in _body(function):
            for start, end, what, by in _edits(node):
                old = lines[node.lineno - 1]
                cut = old[start:end]
                new = old[:start] + (by if what is None else cut.replace(what, by, 1)) + old[end:]
                if new != old and _parses(lines, node.lineno, new):
                    yield Mutant(file, node.lineno, old, new, kernel)


def _parses(lines, number, new):
    try:
        ast.parse("\n".join([*lines[: number - 1], new, *lines[number:]]))
    except SyntaxError:
        return False
    return True


def drawn(count, seed):
    """Draw mutants of different lines, half of them in kernels, the same ones for a seed."""
    draw = random.Random(seed)
    found = sorted({mutant for file in FILES for mutant in mutants_of(file)})
    draw.shuffle(found)
    chosen = {}
    for kernel, wanted in ((True, count - count // 2), (False, count // 2)):
        alike = {(m.file, m.line): m for m in found if m.kernel == kernel}
        chosen |= dict(list(alike.items())[:wanted])
    mutants = sorted(chosen.values())
    draw.shuffle(mutants)  # the first ones of a campaign that is cut short are a sample, too
    return mutants


def tests_of(file):
    """The files of tests that a mutant of a file meets."""
    return next(tests for path, tests in TESTS.items() if file.startswith(path))


def copied(folder):
    """Copy what the tests of the tree read."""
    left_out = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", ".venv", "dist", "*.nbi")
    shutil.copytree(ROOT, folder, ignore=left_out, symlinks=True)
    return folder


def pytest(tree, tests, seconds, **settings):
    """Run tests in a copy of the tree; whether they passed, an endless run counting as failed."""
    paths = os.pathsep.join([str(tree), str(tree / "tests" / "campaigns")])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"} | settings
    options = (
        "-n0",
        "-x",
        "-W",
        "ignore::RuntimeWarning",
        "-q",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "-p",
        "patience",
    )
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        run = subprocess.run(
            command, cwd=tree, env=environment, timeout=seconds, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


# Integers that wrap are no error in compiled code.
INTERPRETED = {
    "NUMBA_DISABLE_JIT": "1",
    "NUMBA_NUM_THREADS": "1",  # what runs on a thread cannot be given up
    "NMSIM_EXAMPLES": "12",
}


def quick_tests(tree, file):
    """The seconds of each test of a file that is quick when interpreted and passes."""
    record = tree / f"{file}.json"
    settings = INTERPRETED | {"NMSIM_PATIENCE": str(PATIENCE), "NMSIM_SECONDS": str(record)}
    pytest(tree, [f"tests/{file}", "--maxfail=9999"], 40, **settings)
    return json.loads(record.read_text("utf-8")) if record.exists() else {}


def affordable(files, seconds):
    """Tests of some files, the quickest of each file first, within the budget."""
    chosen, spent = [], 0.0
    ordered = [sorted(seconds[file].items(), key=lambda each: each[1]) for file in files]
    while any(ordered) and spent < BUDGET:
        for tests in filter(None, ordered):
            name, cost = tests.pop(0)
            chosen.append(name)
            spent += cost
    return chosen


def survives(tree, mutant, tests, seconds, **settings):
    """Run tests on a mutant in a copy of the tree, which is then as it was."""
    path = tree / mutant.file
    source = path.read_text("utf-8")
    lines = source.split("\n")
    lines[mutant.line - 1] = mutant.new
    path.write_text("\n".join(lines), "utf-8")
    try:
        return pytest(tree, tests, seconds, **settings)
    finally:
        path.write_text(source, "utf-8")


def on_copies(trees, work, items):
    """Map ``work(tree, item)`` over items, one at a time on each copy of the tree."""
    free = Queue()
    for tree in trees:
        free.put(tree)

    def turn(item):
        tree = free.get()
        try:
            return work(tree, item)
        finally:
            free.put(tree)

    with ThreadPoolExecutor(len(trees)) as pool:
        return list(pool.map(turn, items))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="copies of the tree, run side by side")
    parser.add_argument("--again", action="store_true", help="survivors meet the slow tests too")
    asked = parser.parse_args()
    chosen = drawn(asked.mutants, asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        trees = [copied(Path(folder) / str(job)) for job in range(asked.jobs)]
        files = sorted({test for mutant in chosen for test in tests_of(mutant.file)})
        seconds = dict(zip(files, on_copies(trees, quick_tests, files), strict=True))

        def untouched(tree, tests):
            if not pytest(tree, affordable(tests, seconds), 60, **INTERPRETED):
                sys.exit(f"the tree as it is fails some of {', '.join(tests)}")

        def quick(tree, mutant):
            tests = affordable(tests_of(mutant.file), seconds)
            alive = survives(tree, mutant, tests, 60, **INTERPRETED)
            print(f"{'survived' if alive else 'killed'} {mutant}", file=sys.stderr, flush=True)
            return alive

        def slow(tree, mutant):
            tests = [f"tests/{file}" for file in tests_of(mutant.file)]
            return survives(tree, mutant, tests, 900)

        on_copies(trees, untouched, sorted({tests_of(mutant.file) for mutant in chosen}))
        alive = [
            m for m, lives in zip(chosen, on_copies(trees, quick, chosen), strict=True) if lives
        ]
        if asked.again:
            lives = on_copies(trees, slow, alive)
            alive = [mutant for mutant, still in zip(alive, lives, strict=True) if still]
    killed = len(chosen) - len(alive)
    print(f"mutants: {len(chosen)}, killed {killed}, survived {len(alive)} (seed {asked.seed})")
    for mutant in sorted(alive):
        print(mutant)


if __name__ == "__main__":
    main()
