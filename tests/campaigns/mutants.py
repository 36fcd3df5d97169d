"""Does a test notice when one operator, or one constant, of the simulator is wrong?

``python tests/campaigns/mutants.py [--mutants 100] [--seed 0]``; a quarter of an hour on two cores
for a hundred. ``--list`` names the drawn mutants and tries none; ``--only FILE:LINE ...`` takes
every mutant of these lines instead, or of FILE:LINE:COLUMN the one there. Each mutant changes one
token inside a function of the modules of ``SELECTIONS``, in a copy of the tree, and runs the tests
that stand beside its module there, and the examples of its docstrings; kernels are interpreted, and
few examples of each property drawn. A mutant is killed if a test fails, or takes too long. At least
half of those drawn are in kernels. Survivors follow the line, to be judged by hand: a mutant may be
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
COPIED = ("nmsim", "tests", "models", "docs", "pyproject.toml")
SWAPS = (
    {"+": "-", "-": "+", "*": "//", "//": "*", "/": "*", "+=": "-=", "-=": "+="}
    | {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
    | {"min": "max", "max": "min", "and": "or", "or": "and"}
)
PREFIXES = {"*", "-", "/"}  # which may stand where what takes their place may not


def of(module, *names):
    """Tests of one module of the tests as pytest names them; all of them where none is named."""
    return tuple(f"tests/test_{module}.py::test_{n}" for n in names) or (f"tests/test_{module}.py",)


def but(module, *names):
    """All tests of one module of the tests but those named, which take long interpreted."""
    left_out = (f"--deselect=tests/test_{module}.py::test_{n}" for n in names)
    return (f"tests/test_{module}.py", *left_out)


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
SCHEDULE = of(
    "waves",
    "waves_are_the_events",
    "skipped_repeats_and_waves_change_nothing",
    "one_tile_too_many_costs_a_wave",
    "a_wave_is_whole_only_where_no_slot_can_take_two",
    "what_cannot_be_launched_is_refused",
)
LAUNCH = (
    *of(
        "tensor_core",
        "a_last_wave_reads_again_by_its_share",
        "a_copy_that_brings_k_last_comes_before_the_gemm",
        "counts_of_a_launch_by_hand",
        "a_dense_operand_that_is_copied_is_read_and_written_once_more",
        "l2_and_device_memory_serve_the_launch_as_a_whole",
        "a_load_waits_for_device_memory_as_often_as_l2_has_it_not",
        "latency_settles_where_memory_is_as_busy_as_it_says",
        "the_dense_operand_of_every_group_is_copied",
        "what_a_main_loop_waits_for",
        "a_launch_is_cut_into_tiles_by_hand",
        "what_no_gemm_beats_by_hand",
    ),
    *of("fp8", "a_call_takes_its_cast_and_its_gemm"),
    *of(
        "gpu_machines",
        "a_hypothetical_core_takes_its_own_patterns_each_at_its_rate",
        "vectors_shrink_k_before_the_instruction_sees_it",
    ),
)
CLOSED_FORM = (*of("closed_form"), *of("gpu_constants"))
LIBRARIES = but(
    "convolution_library",
    "the_less_tiles_wait_for_results_the_sooner_a_launch_has_ended",
    "a_strided_backward_in_four_parts_is_one_launch",
    "a_product_that_tensor_cores_bind_takes_twice_as_long_with_wide_sums",
    "two_of_four_gains_with_narrow_sums_what_it_gains_with_wide_ones",
)
STACK = (
    *of(
        "stacks",
        "a_convolution_that_a_stack_has_not_is_timed_as_its_gemm",
        "a_default_is_the_first_kernel_and_a_search_has_all",
        "a_dense_operand_that_is_padded_is_copied",
        "a_kernel_of_another_library_is_refused_from_python_too",
        "a_line_of_tiles_reads_what_lies_along_it_once_for_each_wave",
        "a_mask_that_loses_is_stored_dense_and_its_own_time_is_told",
        "a_set_that_has_one_kernel_says_one",
        "a_single_kernel_runs_whatever_the_size_and_does_not_split_k",
        "a_stack_says_which_library_serves_which_operand",
        "a_stack_without_a_library_for_the_gpu_runs_dense_and_says_so",
        "rows_of_a_single_tile_belong_to_the_compressed_operand",
        "sizes_that_do_not_fit_run_dense_or_are_padded_as_the_stack_has_it",
        "the_best_of_a_gpu_is_no_default_that_a_search_would_beat",
        "the_second_library_of_a_stack_takes_what_the_first_does_not",
        "what_is_not_there_is_told_in_one_line",
        "without_a_split_a_deep_gemm_of_few_tiles_is_slow",
    ),
)
STAYING = but("persistent", "more_turns_take_longer", "dealt_slices_are_no_parts_of_k")
LEARNED = (
    *of("residual_features"),
    *of(
        "residual",
        "a_convolution_is_not_corrected",
        "a_residual_stands_beside_a_file_of_ones_own",
        "a_residual_that_does_not_fit_is_refused",
        "beyond_the_data_there_is_the_physics",
        "no_corrected_time_is_shorter_than_bytes_and_macs_allow",
        "nothing_is_corrected_that_was_not_learned",
    ),
)
L2 = but(
    "l2",
    "no_launch_reads_less_than_on_chip_storage_allows",
    "a_large_gemm_reads_what_does_not_stay",
)
ATTENTION = (
    *of("attention"),
    *but(
        "attention_measured",
        "a_fit_finds_the_constants_that_made_its_rows",
        "shipped_figures_name_attention_beside_gemms",
    ),
    *of(
        "fused_attention",
        "a_training_step_has_a_row_a_phase_timed_as_its_kernel",
        "an_explanation_adds_up",
        "shared_keys_make_decoding_as_much_faster_as_they_are_fewer",
    ),
)
INTERSECTING = (
    *of(
        "intersect",
        "cycles_of_every_fold_are_those_of_the_oracle",
        "survivors_and_their_histogram_are_those_of_the_oracle",
        "groups_without_survivors_take_no_cycle",
        "bits_beyond_k_are_never_read",
        "a_pe_waits_for_the_others_where_its_lookahead_ends",
        "lock_step_waits_for_the_luckier_of_two_rows",
        "a_mask_that_breaks_its_pattern_is_expected_group_by_group",
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
        "many_folds_of_long_rows[579-12-None]",
    ),
    *of("systolic_oracle", "arrays_that_intersect_are_the_oracles"),
)
TOGETHER = (
    *but(
        "arrays",
        "nothing_beats_the_channel_or_the_arrays",
        "bytes_are_those_of_the_arrays",
        "one_of_them_may_do_all_and_twice_as_many_do_no_worse",
        "bandwidth_pays",
    ),
    *but(
        "arrays_together",
        "programs_of_parts_load_pixels_again",
        "programs_of_parts_hold_groups",
        "programs_of_the_timeline_are_those_that_contended",
    ),
)
PATH = of(
    "delivery",
    "a_path_is_the_bound_where_most_cycles_wait_for_it",
    "a_preload_that_hides_behind_no_wait_is_not_the_bound",
    "misfits_are_groups_that_selectors_do_not_cover",
    "what_a_fold_waits_for_its_path_by_hand",
    "a_channel_is_busy_for_its_bits",
)
TIMELINE = but("array_timeline", "folds_one_by_one_take_what_the_kernels_say")
MOVES = but("moves", "bytes_are_conserved[cycle]")
FOLDS = (
    *of("systolic_oracle"),
    *of("memory"),
    *of("fold_period"),
    *of("counts"),
    *of("residence", "a_slow_channel_takes_as_long_as_what_it_moves"),
    *MOVES,
    *TIMELINE,
)
TRAFFIC = (
    *but(
        "residence",
        "a_trace_of_before_loads_each_pixel_once_a_pass_and_says_so",
        "arrays_load_what_sets_of_addresses_do",
        "what_is_counted_in_part_is_near_what_is_counted_whole",
        "more_of_a_buffer_never_costs_a_convolution_time",
    ),
    *of("moves"),
    *PATH,
)
SLOTS = (
    *but(
        "pe_shapes",
        "more_of_a_resource_never_costs_time_in_any_shape",
        "gains_of_vegetas_array_beside_what_is_printed",
        "the_page_says_what_vegetas_array_gains",
        "why_the_gains_of_vegetas_array_differ",
    ),
    *of("slots_words"),
)
EXPLAINED = (
    *of(
        "explain",
        "a_gemm_without_masks_is_told_without_a_promise",
        "a_kind_that_offers_nothing_tells_work_and_waiting",
        "a_loss_that_nothing_mends_is_said",
        "a_machine_without_selectors_says_so_and_how_it_would_gain",
        "a_step_of_inference_is_explained",
        "nothing_promised_is_held_against_the_peak",
        "parts_of_arrays_are_the_columns_of_a_row",
        "the_command_prints_one_json_document",
        "the_cost_of_masks_stands_beside",
        "the_part_must_fall_and_the_cycles_too",
    ),
    *of(
        "parts",
        "parts_of_a_case_by_hand",
        "slots_beyond_the_promise_of_a_mask",
        "the_bound_by_hand",
        "what_costs_most_is_what_was_taken_away",
        "whole_numbers_by_largest_remainder",
    ),
)
SYSTOLIC = (
    *of("counts"),
    *of("systolic_oracle"),
    *MOVES,
    *PATH,
    *EXPLAINED,
    *of("pe_shapes", "what_does_not_go_together_is_refused_in_a_line"),
    *of(
        "memory",
        "closed_forms_count_what_the_folds_count",
        "recurrence_is_what_events_give",
        "the_closed_form_asks_for_two_pieces_at_a_time",
        "the_closed_form_takes_as_long_as_what_a_slow_channel_moves",
    ),
    *of(
        "intersecting_array",
        "two_regular_masks_take_the_products_that_their_bits_leave",
        "rows_of_tiles_are_alike_only_as_far_as_their_folds_are",
        "a_fold_takes_at_least_what_its_words_take_on_the_path",
    ),
    *but(
        "systolic",
        "a_mask_that_gains_nothing_costs_nothing",
        "a_mask_that_is_met_by_transposing_is_never_slower",
        "a_subset_of_a_mask_is_never_slower",
        "a_two_four_array_runs_sparser_patterns_no_faster",
        "a_second_mask_that_breaks_its_pattern_is_stored_dense",
        "bound_names_what_limits",
        "every_model_runs_fold_by_fold",
        "expected_slots_are_the_mean_over_random_masks",
        "four_of_eight_gains_nothing_on_two_four_selectors_in_lock_step",
        "of_two_native_patterns_the_sparsest_that_covers_is_used",
        "the_dense_twin_has_no_use_for_masks",
        "two_four_weights_gain_in_forward_alone",
        "two_masks_shorten_k_once_and_save_bytes_twice",
    ),
)
MAPPER = (
    *of(
        "mapper",
        "a_short_last_group_takes_what_it_keeps",
        "a_single_pe_that_intersects_takes_a_cycle_for_every_product",
        "what_takes_long_to_run_is_tried_if_it_is_foreseen_near",
        "nothing_that_was_passed_over_is_faster",
    ),
    *of("arrays", "two_arrays_by_hand"),
)
SELECTIONS = {
    "nmsim/machines/gpu/attention/*.py": ATTENTION,
    "nmsim/machines/gpu/explained/*.py": (
        *of(
            "gpu_parts",
            "parts_add_up_whatever_runs_wherever[seeds0-analytical]",
            "the_tail_is_what_slots_are_idle_in_the_last_wave",
        ),
        *of(
            "explain",
            "the_least_that_a_gpu_may_take_is_told_beside_the_parts",
            "parts_of_a_gpu_are_where_they_arise",
        ),
    ),
    "nmsim/machines/gpu/l2/*.py": (*L2, *CLOSED_FORM),
    "nmsim/machines/gpu/learned/*.py": LEARNED,
    "nmsim/machines/gpu/sm/slots.py": SCHEDULE,
    "nmsim/machines/gpu/sm/*.py": MULTIPROCESSOR,
    "nmsim/machines/gpu/stacks/*.py": STACK,
    "nmsim/machines/gpu/preparation.py": of("preparation"),
    "nmsim/machines/gpu/direct.py": of("depthwise"),
    "nmsim/machines/gpu/evidence.py": of(
        "evidence",
        "a_measured_size_is_near_and_a_size_without_like_is_beyond",
        "a_machine_from_a_data_sheet_is_beyond_with_its_band_named",
        "a_file_based_on_a_measured_gpu_is_another",
    ),
    "nmsim/machines/gpu/[cltw]*.py": (
        *CLOSED_FORM,
        *LAUNCH,
        *L2,
        *STACK,
        *LIBRARIES,
        *STAYING,
        *of("in_turn", "the_held_share_is_what_series_leave_of_the_cache"),
    ),
    "nmsim/machines/gpu/*.py": (*CLOSED_FORM, *LAUNCH, *of("preparation")),
    "nmsim/machines/systolic/intersect/*.py": INTERSECTING,
    "nmsim/machines/systolic/pe/selectors.py": of("cost"),
    "nmsim/machines/systolic/pe/*.py": SLOTS,
    "nmsim/machines/systolic/several/*.py": TOGETHER,
    "nmsim/machines/systolic/pipeline/contention.py": TOGETHER,
    "nmsim/machines/systolic/pipeline/periods.py": TOGETHER,
    "nmsim/machines/systolic/pipeline/program.py": TOGETHER,
    "nmsim/machines/systolic/pipeline/turns.py": TOGETHER,
    "nmsim/machines/systolic/pipeline/*.py": FOLDS,
    "nmsim/machines/systolic/traffic/*.py": TRAFFIC,
    "nmsim/machines/systolic/mapper.py": (*MAPPER, *EXPLAINED),
    "nmsim/machines/systolic/timeline.py": TIMELINE,
    "nmsim/machines/systolic/*.py": SYSTOLIC,
    "nmsim/machines/ideal/*.py": of(
        "ideal",
        "two_masks_leave_pairs_of_kept_elements_or_the_sparser_mask_s_slots",
        "a_mask_that_breaks_its_pattern_gains_nothing",
        "bytes_are_compulsory_traffic_and_take_no_time",
        "a_field_out_of_range_is_refused",
    ),
    "nmsim/machines/explanation.py": EXPLAINED,
    "nmsim/machines/*.py": (
        *of("measured_as"),
        *of("gpu_constants"),
        *of(
            "calibration",
            "a_report_that_is_none_is_refused_in_one_line",
            "a_report_may_call_its_holdouts_folds",
        ),
    ),
    "nmsim/network/tensors/[!_]*.py": (
        *of("tensors"),
        *of("checkpoints"),
        *of("packed_tensors"),
        *of("given_tensors"),
    ),
    "nmsim/network/im2col.py": (*of("layer"), *of("tensors")),
    "nmsim/network/lowering.py": (*of("layer"), *of("tensors"), *of("networks")),
    "nmsim/recipes/masking.py": (
        *but("masking", "about_seven_tenths_of_transposed_groups_happen_to_fit"),
        *of(
            "recipes",
            "fst_prunes_weights_apart_and_every_other_column_of_each_sample",
            "samples_of_one_column_are_not_padded_each",
            "only_padded_columns_are_irregular",
        ),
        *of(
            "masks_through_windows",
            "channels_that_groups_do_not_divide_are_padded_where_taps_follow_one_another",
        ),
    ),
    "nmsim/step/m*.py": (
        *of("step_memory"),
        *of(
            "overhead",
            "a_mask_made_in_every_step_is_packed_by_its_own_kernel",
            "fst_gathers_kept_columns_and_shifts_the_gradient",
            "what_stands_once_behind_columns_is_masked_once_in_forward",
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
    doubtful = (mutant for mutant in found if mutant.old in PREFIXES)
    wrong = {mutant for mutant in doubtful if not compiles(mutant.applied(source))}
    return [mutant for mutant in found if mutant not in wrong]


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
    options = ("-o", "addopts=", "--doctest-modules", "-m", "not slow", "-x", "--benchmark-skip")
    off = ("-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::RuntimeWarning")  # overflows
    command = [sys.executable, "-m", "pytest", "-q", *options, *off, *tests]
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
        return status(tree, (mutant.file, *tests), seconds[tests]) == 0
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
