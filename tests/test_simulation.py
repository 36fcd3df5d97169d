"""What ``nmsim.simulate`` gives in Python, and what it says to mistakes."""

import re

import numpy as np
import pandas as pd
import pytest

import nmsim
from nmsim.errors import NmsimError
from nmsim.machines import COLUMNS
from nmsim.registry import unknown_name
from nmsim.run.answer import sums

LAYER = {"layers": "layer1.0.conv1", "recipe": "asp", "fidelity": "analytical"}


@pytest.fixture(scope="module")
def found():
    return nmsim.simulate("resnet18", hardware="a100-sxm4-80gb", **LAYER)


def test_a_result_is_used_like_its_table(found):
    assert len(found) == len(found.rows) == 3
    assert list(found) == list(found.rows)
    assert found["speedup"].tolist() == found.rows["speedup"].tolist()
    assert type(found.sort_values("time_us")) is type(found.rows) is pd.DataFrame
    known = {column.name: column.unit for column in COLUMNS}
    assert found.rows.attrs["units"] == {name: known[name] for name in found.columns}
    assert found.rows.attrs["units"]["time_us"] == "us"
    assert all(found.rows.attrs["meanings"].values())


def test_its_sums_are_those_of_its_rows(found):
    assert found.speedup == found["dense_cycles"].sum() / found["cycles"].sum()
    assert found.step == found.total["all"]
    assert found.step_speedup == pytest.approx(found.step["dense_step_us"] / found.step["step_us"])
    assert found.ideal == pytest.approx(3 / 2.5, rel=0.01)
    alone = nmsim.simulate("resnet18", compare=False, **LAYER)
    assert (alone.speedup, alone.step_speedup) == (None, None)


def test_it_sums_up_once_and_what_one_changes_of_its_sums_is_ones_own(monkeypatch):
    often = []
    monkeypatch.setattr(
        "nmsim.report.simulation.sums", lambda *given: often.append(given) or sums(*given)
    )
    found = nmsim.simulate("gemm:64x64x256", recipe="asp", hardware="ideal", phases="forward")
    assert (found.speedup, found.ideal, found.total["all"]["speedup"]) == (2, 2, 2)
    found.total["all"]["speedup"] = found.step["speedup"] = found.manifest["seed"] = 7
    assert (found.speedup, found.manifest["seed"], len(often)) == (2, 0, 1)


def test_its_manifest_is_of_the_files_that_it_read(tmp_path):
    model, tensors = tmp_path / "m.yaml", tmp_path / "w.npz"
    model.write_text("layers: [{name: fc, type: linear, in_features: 16, out_features: 16}]")
    np.savez(tensors, **{"fc.weight": np.ones((16, 16)), "more": np.ones(3)})
    found = nmsim.simulate(model, tensors=tensors, recipe="asp", hardware="ideal")
    tensors.unlink()
    assert (found.manifest["tensors_unused"], found.speedup > 1) == (1, True)


def test_it_draws_itself(found):
    drawn = found.plot()
    each = (
        "waterfall", "phase_time", "layer_time", "roofline", "speedup", "bandwidth", "macs"
    )  # fmt: skip
    for name in each:
        assert getattr(found.plot, name)() == drawn[name.replace("_", "-")]
    assert len(drawn) == len(each)
    with pytest.raises(NmsimError, match="figure speedup: the run has no dense run"):
        nmsim.simulate("resnet18", compare=False, **LAYER).plot.speedup()


def test_it_explains_itself_as_the_command_does(found):
    assert found.explain().count("\n\n\n") == 0
    one = found.explain(phases="update")
    assert one.startswith("layer1.0.conv1, update: 64 x 576 x 100,352")
    with pytest.raises(NmsimError, match="unknown layer 'nope'"):
        found.explain(layers="nope")


def test_printed_it_opens_with_its_answer_and_ends_with_its_step(found):
    for shown in (repr(found), str(found)):
        assert shown.startswith(found.answer)
        assert "layer1.0.conv1" in shown
        assert re.search(r"speed-up of the step +× ", shown)
    page = found._repr_html_()
    assert page.startswith("<p>resnet18 on a100")
    assert "speed-up of the step" in page
    assert repr(found.head(1)) == repr(found.rows.head(1))


def test_it_is_written_where_one_says(found, tmp_path):
    found.save(tmp_path / "one")
    nmsim.simulate("resnet18", hardware="a100-sxm4-80gb", out=tmp_path / "other", **LAYER)
    texts = [(tmp_path / one / "results.csv").read_text() for one in ("one", "other")]
    assert texts[0] == texts[1]
    assert (tmp_path / "one" / "index.html").is_file()


class Linear:
    """Stands for a module of PyTorch, which is known by where its class is from."""


Linear.__module__ = "torch.nn.modules.linear"

MISTAKES = [
    ({"seed": None}, "seed is None, expected an integer of 0 or more"),
    ({"bach": 2}, "simulate: unknown keyword 'bach'; did you mean 'batch'?"),
    ({"phases": "fwd"}, "unknown phase 'fwd'; did you mean 'forward'?"),
    ({"model": Linear()}, "Linear is a module of PyTorch, expected what it multiplies: "),
    ({"model": [[1, 2], [3]]}, "expected a name, a path, a Trace, or a list of Gemm"),
    ({"overrides": {"dram.gbps": "fast"}}, "dram.gbps"),
    ({"tensors": [1]}, "tensors: list, expected a path, or tensors by name"),
    ({"tensors": {}, "tensor_names": [3]}, "tensor_names: int, expected a text or several"),
    ({"plugins": 3}, "plugins: int, expected a text or several"),
    ({"model": nmsim.Trace([])}, "model: a trace without a GEMM, expected one at least"),
]


@pytest.mark.parametrize(("given", "message"), MISTAKES)
def test_a_mistake_is_one_line(given, message):
    with pytest.raises(NmsimError) as refused:
        nmsim.simulate(**{"model": "resnet18", **LAYER, **given})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_must_be_given_and_what_is_given_too_much_are_told():
    with pytest.raises(NmsimError, match="simulate: missing a required argument: 'model'"):
        nmsim.simulate()
    with pytest.raises(NmsimError, match="simulate: too many positional arguments"):
        nmsim.simulate("resnet18", "asp")
    with pytest.raises(NmsimError, match=r"values are no array .*expected rows of one length"):
        nmsim.prune([[1, 2], [3]], "2:4")


def test_one_phase_may_be_a_text():
    assert nmsim.simulate("resnet18", phases="update", **LAYER)["phase"].tolist() == ["update"]


@pytest.mark.parametrize("hardware", ["ideal", "systolic-128x128-2to4", "a100-sxm4-80gb"])
def test_gemms_that_are_alike_have_the_rows_that_each_has_alone(hardware):
    sizes = [(64, 64, 128, 1), (64, 64, 128, 1), (64, 128, 64, 1), (64, 64, 128, 2)]
    gemms = [nmsim.Gemm(m, n, k, count, layer=str(i)) for i, (m, n, k, count) in enumerate(sizes)]
    for recipe in ("dense", "asp"):
        own = {"hardware": hardware, "recipe": recipe}
        together = nmsim.simulate(gemms, **own)
        alone = pd.concat([nmsim.simulate([gemm], **own).rows for gemm in gemms])
        pd.testing.assert_frame_equal(together.rows, alone.reset_index(drop=True))


def test_few_names_are_told_whole_and_of_many_the_family():
    assert str(unknown_name("phase", "x", ["a", "b"])) == "unknown phase 'x' (known: a, b)"
    many = [*(f"layer{i}" for i in range(20)), "a100-one", "a100-two"]
    said = "did you mean 'a100-two'? (22 are known, among them a100-one, see nmsim list hardware)"
    assert said in str(unknown_name("hardware", "a100-x", many))
    assert str(unknown_name("thing", "zzz", many)) == "unknown thing 'zzz' (22 are known)"
