"""Does a search try what its file says, each point once, whatever ends it and starts it again?"""

import json
import math
import re
import sqlite3
import subprocess
import sys
from concurrent.futures import Future
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sweep import Inline

from nmsim.cli import sweeping
from nmsim.cost.price import cost_of
from nmsim.cost.technology import TECHNOLOGIES, load_technology
from nmsim.errors import SpecError
from nmsim.machines import chip_of
from nmsim.run.experiment import Experiment, Judge, Planner, point_of
from nmsim.run.manifest import manifest
from nmsim.run.search import begun, search
from nmsim.run.search.space import Exhausted, Space
from nmsim.run.store import STORE, Store
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
    said = {"vary": VARIED, **(said or {})}
    usual = {name: one for name, one in SMALL.items() if name not in said["vary"]}
    return validate(Experiment, {**usual, **said, "search": whole}, "e.yaml")


def run(folder, asked, patience=10**9, fresh=False, executor=None):
    """Search; combinations that were tried, how many points were run, and the front."""
    planner, ran = Planner(asked), 0
    with (
        Store.opened(folder, fresh=fresh) as store,
        studies.Study.opened(folder, planner.covering(), fresh=fresh) as study,
    ):
        plan = begun(planner, study)
        store.begin(plan, "test")
        for found in search(store, planner, plan, study, executor or Inline(patience), 1):
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
    assert set(states(tmp_path)) == {"COMPLETE", "FAIL"}
    assert sum(states(tmp_path).values()) == len(tried) == 20
    assert front


def states(folder):
    with sqlite3.connect(folder / studies.SEARCH) as db:
        return dict(db.execute("SELECT state, count(*) FROM trials GROUP BY state"))


class Losing(Inline):
    """Loses its worker with the first points that it is given."""

    def __init__(self, many):
        super().__init__()
        self.lost = many

    def submit(self, function, /, *args, **kwargs):
        self.lost -= 1
        if self.lost < 0:
            return super().submit(function, *args, **kwargs)
        future = Future()
        future.set_exception(ValueError("what it was given cannot be read"))
        return future


def test_a_trial_whose_point_was_lost_is_tried_again_by_the_next_search(tmp_path):
    asked = experiment(trials=9)
    tried, ran, _ = run(tmp_path, asked, executor=Losing(3))
    assert (len(tried), ran, states(tmp_path)) == (9, 9, {"RUNNING": 3, "COMPLETE": 6})
    again, ran, front = run(tmp_path, asked)
    assert (again, ran, states(tmp_path)) == (tried, 3, {"COMPLETE": 9})
    (tmp_path / STORE).unlink()
    assert run(tmp_path, asked) == (tried, 9, front)


def test_an_objective_without_a_value_is_a_trial_that_failed(tmp_path):
    wanted = {"dense_cycles / (rows - 8)": "maximize"}
    asked = experiment(trials=8, objectives=wanted, constraints=["1 / (cols - 4) < 9"])
    tried, _, front = run(tmp_path, asked)
    points = [asked.grid.at(number) for number in tried]
    without = [one["rows"] == 8 or one["cols"] == 4 for one in points]
    assert states(tmp_path) == {"FAIL": sum(without), "COMPLETE": 8 - sum(without)}
    assert front
    with sqlite3.connect(tmp_path / studies.SEARCH) as db:
        told = {why for (why,) in db.execute("SELECT value_json FROM trial_user_attributes "
                                             "WHERE key = 'reason'")}  # fmt: skip
    assert told
    assert all("and 0 have no value here" in why for why in told)


@pytest.mark.parametrize("value", [math.inf, math.nan, None, 10**400, True])
def test_what_no_sampler_takes_is_a_reason(value):
    asked = experiment(objectives={"speedup": "maximize"})
    found = {"status": "done", "reason": None, "speedup": value}
    reason = Judge(asked.search, asked.grid)(0, found).reason
    assert re.fullmatch("objective speedup is .*, expected a number", reason)


def test_energy_area_and_memory_steer_a_search(tmp_path):
    said = {"model": str(tmp_path / "m.yaml"), "cost": True, "batch": 1}
    (tmp_path / "m.yaml").write_text(
        "layers: [{name: a, type: linear, in_features: 64, out_features: 48, tokens: 9}]"
    )
    asked = experiment(
        {**said, "technology": "7nm"},
        trials=8,
        objectives={"energy_pj / 1e6": "minimize", "speedup": "maximize", "area_um2": "minimize"},
        constraints=["area_ge < 1450000", "memory_bytes <= 64 * 1024", "energy_mac_pj > 0"],
    )
    judge, (tried, _, front) = Judge(asked.search, asked.grid), run(tmp_path, asked)
    assert front
    with Store.opened(tmp_path) as store:
        rows = dict(store.points(range(8)))
    for at in front:
        point = point_of(asked.grid, asked.grid.at(tried[at]))
        area = cost_of(chip_of(point.machine), load_technology("7nm")).document()["array"]
        verdict = judge(tried[at], rows[at])
        assert verdict.values[::2] == (rows[at]["energy_pj"] / 1e6, area["area_um2"])
        assert area["area_ge"] < 1450000
        assert manifest(point, "").memory_bytes <= 64 * 1024
    areas = {judge(number, rows[at]).values[2] for at, number in enumerate(tried)}
    assert len(areas) > 1


def test_a_figure_that_a_machine_has_not_is_a_trial_that_failed(tmp_path):
    said = {"vary": {"hardware": ["systolic-16x16", "a100-sxm4-80gb"]}}
    _, _, front = run(tmp_path, experiment(said, objectives={"area_um2": "minimize"}))
    assert (states(tmp_path), len(front)) == ({"COMPLETE": 1, "FAIL": 1}, 1)


def test_a_file_of_any_point_tells_a_search_from_another(tmp_path):
    paths = [tmp_path / f"{name}.yaml" for name in "ab"]
    text = "layers: [{name: a, type: linear, in_features: %d, out_features: 8, tokens: 2}]"
    for path in paths:
        path.write_text(text % 8)
    asked = experiment({"vary": {**VARIED, "model": [str(path) for path in paths]}})

    def identity():
        return studies._identity(Planner(asked).covering(), asked.search)

    first = identity()
    assert identity() == first
    paths[1].write_text(text % 16)
    assert (second := identity()) != first
    (tmp_path / "own.yaml").write_text(TECHNOLOGIES.path("45nm").read_text())
    asked = asked.model_copy(update={"technology": str(tmp_path / "own.yaml")})
    assert (third := identity()) not in (first, second)
    (tmp_path / "own.yaml").write_text(TECHNOLOGIES.path("7nm").read_text())
    assert identity() not in (first, second, third)


def test_a_search_that_has_nothing_to_do_starts_nobody(tmp_path, monkeypatch, capsys):
    run(tmp_path, experiment(trials=8))
    monkeypatch.setattr(sweeping.Crew, "at_work", None)
    for trials in (8, 5):
        asked = experiment(trials=trials)
        planner = Planner(asked)
        with Store.opened(tmp_path) as store:
            done = sweeping.run_search(
                store, planner, planner.covering(), {}, sweeping.Crew(1), fresh=False
            )
            assert (done.computed, store.counts()) == (0, (8, 8, 0, 0))
        assert "8 reused, 0 to try" in capsys.readouterr().err


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
        ({"objectives": {"energy_pj": "minimize"}}, "energy_pj is told where cost is true"),
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
