"""Does a test notice when one operator, or one constant, of the simulator is wrong?

``python tests/campaigns/mutants.py [--mutants 100] [--seed 0]``; about ten minutes on two cores for
a hundred. ``--list`` names the drawn mutants and tries none; ``--only FILE:LINE ...`` takes every
mutant of these lines instead, or of FILE:LINE:COLUMN the one there. Each mutant changes one token
inside a function of the modules of ``SELECTIONS``, in a copy of the tree, and runs the tests that
stand beside its module there, kernels interpreted and few examples of each property drawn. A mutant
is killed if a test fails, or takes too long. At least half of those drawn are in kernels. Survivors
follow the line, to be judged by hand: a mutant may be equivalent, or be killed only by more
examples or by a test of another module.
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
SWAPS = (
    {"+": "-", "-": "+", "*": "//", "//": "*", "/": "*", "+=": "-=", "-=": "+="}
    | {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
    | {"min": "max", "max": "min", "and": "or", "or": "and"}
)


def of(module, *names):
    """Tests of one module of the tests as pytest names them; all of them where none is named."""
    return tuple(f"tests/test_{module}.py::test_{n}" for n in names) or (f"tests/test_{module}.py",)


def without(module, name):
    """Pytest's argument that leaves a test out, because it takes long."""
    return f"--deselect=tests/test_{module}.py::test_{name}"


MULTIPROCESSOR = (
    *of("sm_oracle"),
    *of("sm_state"),
    *of(
        "sm",
        "a_chain_of_dependent_instructions_takes_its_latency",
        "recurring_slices_are_found[feed0-tile2]",
        "a_big_tile_from_l2_is_bound_by_tensor_cores",
        "slices_of_a_single_warp_recur_as_fast_as_memory_brings_them",
        "parts_add_up_and_the_epilogue_takes_its_bytes",
        "a_timeline_is_the_run",
        "rows_of_a_program_are_those_of_cutlass",
        "a_tile_that_does_not_divide_is_refused",
        "nothing_to_run_is_refused",
    ),
)
WAVES = of(
    "waves",
    "waves_are_the_events",
    "skipped_repeats_and_waves_change_nothing",
    "one_tile_too_many_costs_a_wave",
    "a_wave_is_whole_only_where_no_slot_can_take_two",
    "what_cannot_be_launched_is_refused",
)
GPU = (
    *of("closed_form"),
    *of("gpu_constants"),
    *of("preparation"),
    *of("l2"),
    without("l2", "no_launch_reads_less_than_on_chip_storage_allows"),
    without("l2", "a_large_gemm_reads_what_does_not_stay"),
    *of(
        "tensor_core",
        "a_last_wave_reads_again_by_its_share",
        "a_copy_that_brings_k_last_comes_before_the_gemm",
        "counts_of_a_launch_by_hand",
        "a_dense_operand_that_is_copied_is_read_and_written_once_more",
        "l2_and_device_memory_serve_the_launch_as_a_whole",
        "latency_settles_where_memory_is_as_busy_as_it_says",
        "a_launch_is_cut_into_tiles_by_hand",
    ),
    *of(
        "gpu_machines",
        "a_hypothetical_core_takes_its_own_patterns_each_at_its_rate",
        "vectors_shrink_k_before_the_instruction_sees_it",
    ),
)
INTERSECTING = (
    *of(
        "intersect",
        "cycles_of_every_fold_are_those_of_the_oracle",
        "survivors_and_their_histogram_are_those_of_the_oracle",
        "groups_without_survivors_take_no_cycle",
        "bits_beyond_k_are_never_read",
        "mean_survivors_of_independent_masks[2-2-4]",
        "expected_survivors_of_two_four_are_hypergeometric",
        "group_counts",
        "dense_operands_are_expected_exactly",
        "an_interval_of_one_stratum_is_students",
        "degrees_of_freedom_of_two_strata_lie_between",
        "folds_do_not_reach_across_copies",
        "impossible_machines_and_masks_are_refused",
        "folds_short_of_rows_are_a_stratum_of_their_own",
        "a_short_group_is_expected_to_hold_what_it_has",
        "the_largest_of_normal_sums_is_that_of_order_statistics",
        "the_larger_of_two_unlike_normal_sums_is_clarks",
        "gathering_pes_moves_their_largest_by_a_bin_at_most",
        "bounds_of_two_pes_that_toss_a_coin_per_group",
        "the_logarithm_of_a_mean_exponential_by_hand",
        "a_pe_of_its_own_waits_for_nobody",
        "a_short_group_holds_what_it_has_where_rows_differ",
        "rows_that_keep_alike_meet_one_that_does_not",
    ),
    *of("systolic_oracle", "arrays_that_intersect_are_the_oracles"),
)
SYSTOLIC = (
    *of("systolic_oracle"),
    *of("memory"),
    *of("moves"),
    *of("parts", "the_bound_by_hand"),
    *of(
        "delivery",
        "a_path_is_the_bound_where_most_cycles_wait_for_it",
        "a_preload_that_hides_behind_no_wait_is_not_the_bound",
        "misfits_are_groups_that_selectors_do_not_cover",
        "what_a_fold_waits_for_its_path_by_hand",
        "outputs_that_take_too_long_to_leave_are_refused",
        "a_channel_is_busy_for_its_bits",
    ),
    *of(
        "intersecting_array",
        "rows_of_tiles_are_alike_only_as_far_as_their_folds_are",
        "a_fold_takes_at_least_what_its_words_take_on_the_path",
    ),
    *of(
        "systolic",
        "metadata_is_two_bits_for_each_kept_element",
        "bound_names_what_limits",
        "spilled_partial_sums_go_out_and_come_back",
        "bytes_of_a_convolution_by_hand",
        "every_row_of_tiles_reads_b_again_unless_half_of_its_buffer_holds_it",
        "padding_to_whole_groups",
        "closed_forms_count_what_the_folds_count_with_masks",
        "repeats_multiply_everything",
        "selectors_of_one_element_take_as_many_slots_as_the_fullest_lane_and_one_at_least",
    ),
)
SELECTIONS = {
    "nmsim/machines/gpu/sm/slots.py": WAVES,
    "nmsim/machines/gpu/sm/*.py": MULTIPROCESSOR,
    "nmsim/machines/gpu/*.py": GPU,
    "nmsim/machines/systolic/intersect/*.py": INTERSECTING,
    "nmsim/machines/systolic/pe/selectors.py": of("cost"),
    "nmsim/machines/systolic/*.py": SYSTOLIC,
    "nmsim/machines/systolic/pipeline/*.py": SYSTOLIC,
    "nmsim/machines/ideal/*.py": of(
        "ideal",
        "two_masks_leave_pairs_of_kept_elements_or_the_sparser_mask_s_slots",
        "a_mask_that_breaks_its_pattern_gains_nothing",
        "bytes_are_compulsory_traffic_and_take_no_time",
        "a_field_out_of_range_is_refused",
    ),
    "nmsim/machines/*.py": (
        *of("measured_as"),
        *of("gpu_constants"),
        *of(
            "calibration",
            "a_report_that_is_none_is_refused_in_one_line",
            "a_report_may_call_its_holdouts_folds",
        ),
    ),
    "nmsim/network/im2col.py": (*of("layer"), *of("tensors")),
    "nmsim/network/lowering.py": (*of("layer"), *of("tensors"), *of("networks")),
    "nmsim/recipes/masking.py": (
        *of("masking"),
        without("masking", "about_seven_tenths_of_transposed_groups_happen_to_fit"),
    ),
    "nmsim/step/m*.py": (
        *of("step_memory"),
        *of(
            "overhead",
            "a_mask_made_in_every_step_is_packed_by_its_own_kernel",
            "fst_gathers_kept_columns_and_shifts_the_gradient",
        ),
    ),
}
"""Pytest's arguments for the files of a pattern, the first that matches; each takes seconds."""


@dataclass(frozen=True)
class Mutant:
    """One token of a file, from a column of a line on, and what takes its place."""

    file: str
    line: int
    column: int
    old: str
    new: str
    in_kernel: bool

    @property
    def place(self):
        """Where it is, as an editor has it but that columns count from 0."""
        return f"{self.file}:{self.line}:{self.column}"

    def __str__(self):
        kernel = " (kernel)" if self.in_kernel else ""
        return f"{self.place}: {self.old} -> {self.new}{kernel}"

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


def status(tree, tests, seconds=None):
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
    ended = status(tree, tests)
    if ended != 0:
        sys.exit(f"pytest {' '.join(tests)} ends with {ended} without a mutant")
    taken = time.monotonic() - start
    print(f"{taken:.1f} s without a mutant: {' '.join(tests)}", file=sys.stderr)
    return SLOWER * taken


def survives(mutant, trees, seconds):
    """Whether no test notices a mutant, in one of the copies that no other is using."""
    tree = trees.get()
    path, tests = tree / mutant.file, selection(mutant.file)
    source = path.read_text("utf-8")
    path.write_text(mutant.applied(source), "utf-8")
    try:
        return status(tree, tests, seconds[tests]) == 0
    finally:
        path.write_text(source, "utf-8")
        trees.put(tree)


def candidates():
    """Every mutant of the modules that have a selection of tests."""
    files = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("nmsim/**/*.py"))
    chosen = [file for file in files if selection(file)]
    return [mutant for file in chosen for mutant in mutants(file, (ROOT / file).read_text("utf-8"))]


def at(found, places):
    """The mutants at FILE:LINE or FILE:LINE:COLUMN; stop at a place that has none."""
    chosen = {
        place: [mutant for mutant in found if f"{mutant.place}:".startswith(f"{place}:")]
        for place in places
    }
    for place, there in chosen.items():
        if not there:
            sys.exit(f"{place} has no mutant")
    return list(dict.fromkeys(mutant for there in chosen.values() for mutant in there))


def main(chosen, drawing):
    """Try mutants and count; the survivors follow."""
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
    print(f"mutants: {len(chosen)}, killed {killed}, survived {len(left)} ({drawing})")
    for mutant in left:
        print(mutant)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="name the mutants, try none")
    parser.add_argument("--only", nargs="+", metavar="FILE:LINE[:COLUMN]", help="those there")
    given = parser.parse_args()
    if given.only:
        chosen, drawing = at(candidates(), given.only), "named places"
    else:
        chosen, drawing = drawn(candidates(), given.mutants, given.seed), f"seed {given.seed}"
    if given.list:
        print(*chosen, sep="\n")
    else:
        main(chosen, drawing)
