"""Does a search try what its file says, each point once, whatever ends it and starts it again?"""

import json
import sqlite3
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sweep import Inline

from nmsim.errors import SpecError
from nmsim.run.experiment import Experiment, Judge, Planner
from nmsim.run.search import begun, search
from nmsim.run.search.space import Exhausted, Space
from nmsim.run.store import Store
from nmsim.spec import validate

optuna = pytest.importorskip("optuna")
studies = import_module("nmsim.run.search.study")
campaign = import_module("search")

SMALL = {"title": "t", "model": "gemm:64x64x64", "hardware": "systolic-16x16", "keep": "totals"}
SMALL |= {"fidelity": "analytical", "recipe": "asp"}
VARIED = {
    "pattern": ["2:4", "1:4"],
    "rows": {"from": 2, "to": 16, "step": 2},
    "cols": {"from": 2, "to": 16, "step": 2},
}
WANTED = {"time_us": "minimize", "rows * cols": "minimize"}


@pytest.fixture(autouse=True, scope="module")
def small_generations():
    with pytest.MonkeyPatch.context() as patch:
        for module in (studies, import_module("nmsim.run.search.sampling")):
            patch.setattr(module, "POPULATION", 8)
        yield


def experiment(said=None, **asked):
    whole = {"trials": 20, "objectives": WANTED, **asked}
    return validate(
        Experiment, {**SMALL, "vary": VARIED, **(said or {}), "search": whole}, "e.yaml"
    )


def run(folder, asked, patience=10**9, fresh=False):
    """Search; combinations that were tried, how many points were run, and the front."""
    planner, ran = Planner(asked), 0
    with (
        Store.opened(folder, fresh=fresh) as store,
        studies.Study.opened(folder, planner.covering(), fresh=fresh) as study,
    ):
        store.begin(begun(planner, study), "test")
        for found in search(store, planner, study, Inline(patience), 1):
            ran += len(found)
        assert store.counts().total == len(study.numbers)
        return list(study.numbers), ran, study.front()


@pytest.mark.parametrize("sampler", ["nsga2", pytest.param("tpe", marks=pytest.mark.slow)])
def test_each_point_is_tried_once_and_the_front_is_better_than_all_others(tmp_path, sampler):
    asked = experiment(sampler=sampler)
    tried, ran, front = run(tmp_path, asked)
    assert len(tried) == len(set(tried)) == ran == 20
    judge = Judge(asked.search, asked.grid)
    with Store.opened(tmp_path) as store:
        values = [judge(tried[at], row).values for at, row in store.points(range(20))]
    for at, (time, size) in enumerate(values):
        better = [v for v in values if v[0] <= time and v[1] <= size and v != (time, size)]
        assert (at in front) == (not better)
    assert run(tmp_path, asked) == (tried, 0, front)
    assert run(tmp_path, experiment(sampler=sampler, seed=1))[0] != tried
    assert run(tmp_path, asked, fresh=True) == (tried, 20, front)


def test_more_trials_go_on_from_those_that_are_there(tmp_path):
    tried, _, _ = run(tmp_path, experiment(trials=13))
    more, ran, _ = run(tmp_path, experiment(trials=15))
    assert (more[:13], ran, len(set(more))) == (tried, 2, 15)
    assert run(tmp_path, experiment(trials=10))[:2] == (more, 0)


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=3), st.sampled_from(["nsga2", "tpe"]))
def test_a_search_that_was_interrupted_tries_what_the_undisturbed_one_does(
    tmp_path_factory, ends, sampler
):
    folder, other = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    asked = experiment(sampler=sampler)
    for patience in ends:
        try:
            run(folder, asked, patience)
        except KeyboardInterrupt:
            continue
    wanted, _, front = run(other, asked)
    assert run(folder, asked)[::2] == (wanted, front)


def test_a_search_that_was_interrupted_goes_on(tmp_path):
    wanted, _, front = run(tmp_path / "b", experiment())
    for patience in (3, 5):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "a", experiment(), patience)
    assert run(tmp_path / "a", experiment())[::2] == (wanted, front)


@pytest.mark.slow
def test_a_search_misses_less_than_points_at_random(tmp_path):
    few = {"pattern": ["2:4"], "rows": [16, 64, 160], "cols": [16, 64, 160]}
    vary = {**campaign.SPACE["vary"], **few}
    values = campaign.everything(vary, tmp_path, 1)
    tried = [campaign.searched(vary, tmp_path, seed=seed, trials=90) for seed in range(3)]
    drawn = [np.random.default_rng(seed).permutation(len(values))[:90] for seed in range(3)]
    missed, at_random = (1 - np.median(campaign.shares(values, one)) for one in (tried, drawn))
    assert missed < at_random


@pytest.mark.slow
def test_a_generation_that_was_written_in_part_is_completed(tmp_path, monkeypatch):
    wanted = run(tmp_path / "a", experiment())
    add, written = optuna.Study.add_trial, []

    def failing(study, trial):
        if not isinstance(study._storage, optuna.storages.InMemoryStorage):
            written.append(trial)
            if len(written) == 11:
                raise KeyboardInterrupt
        add(study, trial)

    monkeypatch.setattr(optuna.Study, "add_trial", failing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", experiment())
    monkeypatch.undo()
    assert run(tmp_path / "b", experiment())[::2] == wanted[::2]


def test_points_that_are_stored_are_not_run_again_by_another_search(tmp_path):
    tried, _, front = run(tmp_path, experiment())
    (tmp_path / studies.SEARCH).unlink()
    assert run(tmp_path, experiment()) == (tried, 0, front)


def test_a_small_space_is_tried_whole_and_conditions_hold(tmp_path):
    said = {"when": "rows >= cols", "derive": {"sram.a_kib": "rows * 1.5"}}
    asked = experiment(said, trials=1000)
    tried, _, _ = run(tmp_path, asked)
    assert sorted(tried) == [number for number, _ in asked.grid]


def test_the_front_holds_the_constraints(tmp_path):
    free = run(tmp_path / "free", experiment())
    bound = experiment(constraints=["rows >= 8", "cycles < 100000"])
    tried, _, front = run(tmp_path / "bound", bound)
    assert {bound.grid.at(tried[at])["rows"] for at in front} <= {8, 10, 12, 14, 16}
    assert front
    assert min(experiment().grid.at(free[0][at])["rows"] for at in free[2]) < 8


def test_a_point_that_cannot_be_is_a_trial_that_failed(tmp_path):
    vary = {**VARIED, "sram.a_kib": [0.01, 64]}
    tried, _, front = run(tmp_path, experiment({"vary": vary}))
    with sqlite3.connect(tmp_path / studies.SEARCH) as db:
        states = dict(db.execute("SELECT state, count(*) FROM trials GROUP BY state"))
    assert set(states) == {"COMPLETE", "FAIL"}
    assert sum(states.values()) == len(tried) == 20
    assert front


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 99))
def test_a_space_gives_every_combination_once(sizes, seed):
    paths = ["rows", "cols", "sram.a_kib", "sram.b_kib"]
    vary = {path: {"from": 1, "to": n, "step": 1} for path, n in zip(paths, sizes, strict=False)}
    space = Space(experiment({"vary": vary}).grid)
    many = len(space.grid)
    assert [space.number(space.steps(number)) for number in range(many)] == list(range(many))
    assert all(map(space.ordered.__getitem__, range(len(space.sizes))))
    draw = np.random.default_rng(seed)
    for _ in range(many):
        space.seen.add(space.unseen(space.random(draw), draw))
    assert space.seen == set(range(many))
    with pytest.raises(Exhausted):
        space.unseen(space.random(draw), draw)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"objectives": {"speedupp": "maximize"}}, "search.objectives.speedupp: unknown field"),
        ({"objectives": {"speedup": "max"}}, "search.objectives.speedup"),
        ({"objectives": {"speedup +": "maximize"}}, "search.objectives.speedup +, column"),
        ({"objectives": {}}, "search.objectives"),
        ({"constraints": ["cyclus < 3"]}, "search.constraints[0]: unknown field 'cyclus'"),
        ({"sampler": "nsga3"}, "search.sampler is 'nsga3'"),
        ({"trials": 0}, "search.trials is 0"),
        ({"trial": 3}, "search.trial"),
    ],
)
def test_a_mistake_is_one_line(asked, said):
    with pytest.raises(SpecError) as caught:
        experiment(**asked)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_that_no_point_can_have_is_told_before_any_is_run():
    vary = {**VARIED, "dataflow": ["os", "xs"]}
    with pytest.raises(SpecError, match="unknown dataflow 'xs'"):
        Planner(experiment({"vary": vary})).covering()


def test_objectives_that_no_point_has_end_the_search(tmp_path):
    asked = experiment({"recipe": "dense"}, objectives={"mask_speedup": "maximize"})
    with pytest.raises(SpecError, match=r"none of 8 points has its objectives, the first: .*null"):
        run(tmp_path, asked)


def test_a_damaged_file_of_studies_is_one_line(tmp_path):
    (tmp_path / studies.SEARCH).write_text("no database at all " * 100)
    with pytest.raises(SpecError, match=r"search\.sqlite: holds no studies") as caught:
        run(tmp_path, experiment())
    assert "\n" not in str(caught.value)


YAML = """
title: t
model: gemm:64x64x64
hardware: systolic-16x16
fidelity: analytical
keep: totals
vary: {rows: 2..16 step 2, cols: 2..16 step 2}
search: {trials: 20, objectives: {time_us: minimize, rows * cols: minimize}}
"""


def nmsim_(*command, cwd, code=0):
    command = [sys.executable, "-m", "nmsim", *map(str, command)]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    return done


def test_the_command_says_trials_and_the_front(tmp_path):
    (tmp_path / "e.yaml").write_text(YAML)
    first = nmsim_("sweep", "e.yaml", "--out", "r", "--workers", 1, cwd=tmp_path)
    assert "20 trials of 64 combinations, 0 reused, 20 to try" in first.stderr
    assert "20 trials, 0 reused, 20 computed, 0 failed; " in first.stderr
    about = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert about["points"] == {"total": 20, "reused": 0, "computed": 20, "failed": 0}
    assert about["search"]["trials"] == 20
    assert about["search"]["front"]


@pytest.mark.slow
def test_a_search_that_is_done_has_nothing_to_do(tmp_path):
    (tmp_path / "e.yaml").write_text(YAML)
    nmsim_("sweep", "e.yaml", "--out", "r", cwd=tmp_path)
    again = nmsim_("sweep", "e.yaml", "--out", "r", cwd=tmp_path)
    assert "20 trials, 20 reused, 0 computed, 0 failed; " in again.stderr
    assert "nothing to do" in again.stderr


def test_without_optuna_it_says_what_to_install(tmp_path):
    (tmp_path / "e.yaml").write_text(YAML)
    (tmp_path / "optuna.py").write_text("raise ImportError('not here')")
    done = nmsim_("sweep", "e.yaml", "--out", "r", cwd=tmp_path, code=2)
    assert "a search, which Optuna steers: pip install 'nmsim[search]'" in done.stderr
    assert not (tmp_path / "r").exists()
