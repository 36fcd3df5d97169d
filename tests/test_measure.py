"""Is what was timed written down, once, whatever interrupts it?"""

import csv
import sys
import weakref
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from nmsim import cli
from nmsim.errors import MeasureError, MissingExtra, SpecError
from nmsim.measured.cuda import CudaBackend, open_device
from nmsim.measured.timing import COLUMNS, WEIGHTS, Case, Device, Method, State, grid, measure

CASES = grid(weights=[(256, 128), (96, 64)], rows=(1, 16, 64, 192))
QUICK = Method(warm_up_us=100.0, run_us=200.0, runs=5, most_launches=50)


@dataclass
class FakeGpu:
    """Times that follow from the case alone; every third run is 10% late. Dies before a case."""

    dies_at: int | None = None
    gpu: str = "FAKE"
    prepared: list = field(default_factory=list)
    replays: int = 0

    @property
    def device(self):
        return Device(self.gpu, "1 GiB", "software 1.0, of glass")

    def pool(self, case):
        return 2 + case.m % 5

    def prepare(self, case, launches):
        if self.dies_at is not None and len({c for c, _ in self.prepared} | {case}) > self.dies_at:
            raise KeyboardInterrupt
        if case.library == "pytorch-cutlass" and case.m == 192:
            raise MeasureError("out of glass")
        self.prepared.append((case, launches))
        runs = iter(range(10**6))

        def run():
            self.replays += 1
            late = 1.1 if next(runs) % 3 == 2 else 1.0
            return late * launches * (1 + case.m * case.n * case.k / 1e6)

        return run

    def state(self):
        return State(clock_mhz=1410.0)


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(path, gpu=None, cases=CASES):
    return list(measure(gpu or FakeGpu(), path, cases, source="test, one", method=QUICK))


def test_table_has_a_row_per_case_that_runs(tmp_path):
    outcomes = run(tmp_path / "t.csv")
    rows = table(tmp_path / "t.csv")
    failed = [one for one in outcomes if one.problem]
    assert {one.problem for one in failed} == {"out of glass"}
    assert len(rows) == len(CASES) - len(failed)
    assert tuple(rows[0]) == COLUMNS
    first = rows[0]
    assert first["source"] == "test, one"
    assert (first["gpu"], first["variant"]) == ("FAKE", "1 GiB")
    assert (first["clock_mhz"], first["power_w"]) == ("1410", "")
    assert "median of 5 runs" in first["method"]
    assert "software 1.0, of glass" in first["method"]
    assert all(float(row["time_min_us"]) <= float(row["time_us"]) for row in rows)


def test_time_is_the_median_of_runs_per_launch(tmp_path):
    case = Case("forward", "TN", "cublas", "", "bf16", 100, 100, 100)
    (outcome,) = run(tmp_path / "t.csv", cases=[case])
    (row,) = table(tmp_path / "t.csv")
    assert outcome.time_us == float(row["time_us"]) == 2.0
    assert (row["time_min_us"], row["time_max_us"], row["runs"]) == ("2.0000", "2.2000", "5")


def test_launches_are_whole_rounds_of_the_pool_and_fill_a_run(tmp_path):
    gpu = FakeGpu()
    run(tmp_path / "t.csv", gpu)
    longer = [(case, launches) for case, launches in gpu.prepared[1::2]]
    assert all(launches % gpu.pool(case) == 0 for case, launches in longer)
    assert all(
        case == trial for (case, _), (trial, _) in zip(longer, gpu.prepared[::2], strict=True)
    )
    by_hand = {case: launches for case, launches in longer if case.library == "cublas"}
    assert by_hand[Case("forward", "TN", "cublas", "", "bf16", 1, 256, 128)] in (48, 51)
    assert by_hand[Case("forward", "TN", "cublas", "", "bf16", 192, 256, 128)] == 28


@pytest.mark.parametrize("dies_at", [0, 1, 7, len(CASES) - 6])
def test_interrupted_and_continued_is_the_same_file_as_one_run(tmp_path, dies_at):
    run(tmp_path / "whole.csv")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts.csv", FakeGpu(dies_at=dies_at))
    assert len(table(tmp_path / "parts.csv")) == dies_at
    outcomes = run(tmp_path / "parts.csv")
    assert sum(one.known for one in outcomes) == dies_at
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("lost", [1, 2, 30, 300, 2000])
def test_line_that_was_cut_off_is_timed_again(tmp_path, lost):
    path = tmp_path / "t.csv"
    run(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    run(path)
    assert path.read_bytes() == whole


def test_header_that_was_cut_off_is_written_again(tmp_path):
    run(tmp_path / "whole.csv", cases=CASES[:2])
    for text in ("", "source,gp"):
        (tmp_path / "t.csv").write_text(text)
        run(tmp_path / "t.csv", cases=CASES[:2])
        assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_known_rows_are_not_timed_again_but_another_gpus_are(tmp_path):
    run(tmp_path / "t.csv", cases=CASES[:4])
    idle = FakeGpu()
    assert all(one.known for one in run(tmp_path / "t.csv", idle, CASES[:4]))
    assert idle.replays == 0
    run(tmp_path / "t.csv", FakeGpu(gpu="OTHER"), CASES[:4])
    assert Counter(row["gpu"] for row in table(tmp_path / "t.csv")) == {"FAKE": 4, "OTHER": 4}


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "hello", ",".join(COLUMNS) + "\n1,2\n", "\xff\n"])
def test_another_file_is_refused_and_left_alone(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match=r"t\.csv") as caught:
        run(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == text.encode("latin-1")


def test_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SpecError, match="cannot be written"):
        run(tmp_path / "no" / "t.csv")


def test_grid_covers_phases_layouts_and_libraries():
    cases = grid()
    assert len(set(cases)) == len(cases)
    assert {(c.phase, c.layout, c.library, c.sparse_operand) for c in cases} == {
        ("forward", "TN", "cublas", ""),
        ("backward", "NN", "cublas", ""),
        ("update", "NT", "cublas", ""),
        *(("forward", "TN", x, "B") for x in ("pytorch-cusparselt", "pytorch-cutlass")),
        *(("backward", "TN", x, "B") for x in ("pytorch-cusparselt", "pytorch-cutlass")),
        *(("update", "NN", x, "A") for x in ("pytorch-cusparselt", "pytorch-cutlass")),
    }
    assert {c.m for c in cases if c.phase == "forward"} == {2**i for i in range(14)}
    assert all(c.m % 64 == c.n % 64 == c.k % 64 == 0 for c in cases if c.sparse_operand)
    for out, inner in WEIGHTS:
        sizes = {(c.phase, c.m, c.n, c.k) for c in cases}
        assert {
            ("forward", 256, out, inner),
            ("backward", 256, inner, out),
            ("update", out, inner, 256),
        } <= sizes  # fmt: skip


def test_without_torch_or_gpu_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        MissingExtra, match=r"^measuring and recording need PyTorch: pip install 'nmsim\[torch\]'"
    ):
        open_device()
    cuda = SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with pytest.raises(MeasureError, match="finds none"):
        open_device()
    cuda.is_available, cuda.device_count = lambda: True, lambda: 1
    for index in (3, 1, -1):
        with pytest.raises(MeasureError, match=f"GPU {index}: PyTorch finds 1"):
            open_device(index)
    cuda.set_device = failing("all CUDA-capable devices are busy\nat 0x0")
    with pytest.raises(MeasureError, match=r"GPU 0 cannot be used: all .* busy$"):
        open_device()


def failing(text, kind=RuntimeError):
    def fail(*arguments, **options):
        raise kind(text)

    return fail


class Matrix(np.ndarray):
    def t(self):
        return self.T


def fake_torch():
    """As much of PyTorch as a launch needs, on numpy; a "compressed" operand stays as it is."""

    def full(shape, dtype, device):
        assert device == "cuda:0"
        return np.random.default_rng(0).standard_normal(shape).view(Matrix)

    compressed = SimpleNamespace(from_dense=lambda values: values)
    launched = []

    def mm(a, b, out=None):
        launched.append((a, b))
        return np.matmul(a, b, out=out)

    return SimpleNamespace(
        randn=full,
        empty=lambda *shape, dtype, device: np.empty(shape),
        mm=mm,
        bfloat16=None,
        float16=None,
        launched=launched,
        sparse=SimpleNamespace(
            SparseSemiStructuredTensorCUSPARSELT=compressed,
            SparseSemiStructuredTensorCUTLASS=compressed,
        ),
        cuda=SimpleNamespace(get_device_properties=lambda i: SimpleNamespace(L2_cache_size=2**20)),
    )


@pytest.mark.parametrize(
    "case",
    grid(weights=[(128, 192)], rows=(64,)),
    ids=lambda case: f"{case.phase}-{case.library}",
)
def test_launch_multiplies_operands_in_the_layout_that_the_row_names(case, monkeypatch):
    monkeypatch.setattr(CudaBackend, "_pruned", lambda self, values: values)
    torch = fake_torch()
    CudaBackend(torch, 0)._call(case)()
    ((left, right),) = torch.launched
    a, b = (right.T, left) if case.sparse_operand == "B" else (left, right.T)
    assert (a.shape, b.shape) == ((case.m, case.k), (case.n, case.k))
    assert case.layout == ("T" if b.flags.c_contiguous else "N") + (
        "N" if a.flags.c_contiguous else "T"
    )
    if case.sparse_operand:
        assert {"A": a, "B": b}[case.sparse_operand].flags.c_contiguous


def test_pool_of_operands_exceeds_the_cache():
    l2 = 40 * 2**20
    cuda = SimpleNamespace(get_device_properties=lambda index: SimpleNamespace(L2_cache_size=l2))
    backend = CudaBackend(SimpleNamespace(cuda=cuda), 0)
    for case in grid():
        elements = case.m * case.k + case.n * case.k
        stored = (
            elements - (7 / 16) * case.k * {"A": case.m, "B": case.n, "": 0}[case.sparse_operand]
        )
        assert 2 * stored * backend.pool(case) > 1.2 * l2, case


def id_of(one):
    return id(one)


def fake_cuda(torch):
    """Graphs that remember what was captured, and say for how long they ran."""
    torch.captured = []
    state = SimpleNamespace(graph=None, emptied=0)

    @contextmanager
    def graph(into):
        state.graph, before = into, len(torch.launched)
        yield
        into.launches = torch.launched[before:]
        torch.captured.append(into)

    def emptied():
        state.emptied += 1

    stream = SimpleNamespace(wait_stream=lambda other: None)
    event = SimpleNamespace(record=list, synchronize=list, elapsed_time=lambda end: 0.5)
    for name, value in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda which: nullcontext(),
        "CUDAGraph": lambda: SimpleNamespace(replay=list, launches=None),
        "graph": graph,
        "synchronize": list,
        "empty_cache": emptied,
        "Event": lambda enable_timing: event,
    }.items():
        setattr(torch.cuda, name, value)
    torch.state = state
    return torch


SMALL = Case("forward", "TN", "pytorch-cusparselt", "B", "bf16", 64, 64, 128)


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.setattr(CudaBackend, "_pruned", lambda self, values: values)
    return CudaBackend(fake_cuda(fake_torch()), 0)


def test_a_graph_holds_every_launch_and_takes_operands_in_turn(backend):
    torch = backend._torch
    replay = backend.prepare(SMALL, 400)
    assert replay() == 500.0
    (graph,) = torch.captured
    pool = backend.pool(SMALL)
    assert pool > 2
    assert len(graph.launches) == 400
    operands = [id(a) for a, _ in graph.launches]
    assert len(set(operands)) == pool
    assert operands[:pool] == operands[pool : 2 * pool]


def test_results_that_a_library_allots_do_not_share_one_place(backend, monkeypatch):
    torch = backend._torch
    alive, most = weakref.WeakSet(), []

    def mm(a, b, out=None):
        made = Matrix((1,))
        alive.add(made)
        most.append(len(alive))
        torch.launched.append((a, b))
        return made

    monkeypatch.setattr(torch, "mm", mm)
    monkeypatch.setattr(Matrix, "__hash__", id_of, raising=False)
    monkeypatch.setattr(Matrix, "__eq__", lambda self, other: self is other, raising=False)
    backend.prepare(SMALL, 3 * backend.pool(SMALL))
    assert backend.pool(SMALL) <= max(most) <= backend.pool(SMALL) + 1


@pytest.mark.parametrize(
    "error", [RuntimeError, NotImplementedError, ValueError, TypeError, AssertionError]
)
def test_what_pytorch_refuses_is_told_and_its_operands_let_go(backend, monkeypatch, error):
    torch = backend._torch
    made = weakref.WeakSet()

    def full(shape, dtype, device):
        if len(made) == 3:
            raise error("CUDA out of memory.\nTried to allocate")
        values = Matrix(shape)
        made.add(values)
        return values

    monkeypatch.setattr(Matrix, "__hash__", id_of, raising=False)
    monkeypatch.setattr(torch, "randn", full)
    with pytest.raises(MeasureError) as caught:
        backend.prepare(SMALL, 10)
    assert str(caught.value) == (
        "pytorch-cusparselt does not run 64x64x128 (forward): CUDA out of memory."
    )
    assert torch.state.emptied == 1
    assert not made


def test_a_pytorch_without_a_class_is_told(backend, monkeypatch):
    monkeypatch.delattr(backend._torch.sparse, "SparseSemiStructuredTensorCUSPARSELT")
    with pytest.raises(MeasureError, match="SparseSemiStructuredTensorCUSPARSELT"):
        backend.prepare(SMALL, 10)


def test_a_gpu_that_stops_ends_the_run_and_leaves_what_was_timed(tmp_path, backend, monkeypatch):
    event = backend._torch.cuda.Event(enable_timing=True)
    event.synchronize = failing("CUDA error: an illegal memory access\nCompile with")
    with pytest.raises(MeasureError, match=r"^the GPU stopped: CUDA error: an illegal.*access$"):
        backend.prepare(SMALL, 10)()

    class Dying(FakeGpu):
        def prepare(self, case, launches):
            run = super().prepare(case, launches)
            return failing("the GPU stopped", MeasureError) if len(self.prepared) > 8 else run

    with pytest.raises(MeasureError, match="the GPU stopped"):
        run(tmp_path / "t.csv", Dying())
    assert len(table(tmp_path / "t.csv")) == 4


def test_a_trial_is_let_go_of_before_the_run_is_prepared(tmp_path):
    held = []

    class Heavy(FakeGpu):
        def prepare(self, case, launches):
            assert not any(one() for one in held), "two sets of operands at once"
            made = super().prepare(case, launches)
            held.append(weakref.ref(made))
            return made

    run(tmp_path / "t.csv", Heavy(), CASES[:3])
    assert len(held) >= 4


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("--dtype", "fp8", "unknown dtype 'fp8'"), ("--library", "magma", "unknown library 'magma'")],
)
def test_what_cannot_be_timed_is_refused_by_name(
    option, value, says, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nmsim", "measure", option, value])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
