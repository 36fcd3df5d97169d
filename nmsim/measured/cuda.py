"""Timing GEMMs on a CUDA GPU through PyTorch (extra ``torch``).

Dense GEMMs are ``torch.mm`` (cuBLAS); 2:4 ones are PyTorch's semi-structured tensors on cuSPARSELt
and CUTLASS. A run is one CUDA graph, so that no launch waits for the host.
"""

import math
import shutil
import subprocess
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nmsim.errors import MeasureError
from nmsim.extras import extra
from nmsim.measured.timing import Case, Device, State

__all__ = ["CudaBackend", "open_device"]

COMPRESSED = {
    "pytorch-cusparselt": "SparseSemiStructuredTensorCUSPARSELT",
    "pytorch-cutlass": "SparseSemiStructuredTensorCUTLASS",
}
"""Classes of ``torch.sparse`` that hold a 2:4 operand, by library."""

COLD = 3.0
"""Size of the pool of operands, in L2 capacities."""

LARGEST_L2 = 128 * 2**20
"""Bytes, for a PyTorch that does not tell: no less than on any GPU so far."""

_REFUSALS = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError)
"""What PyTorch raises where it cannot run something: out of memory, a library that it was built
without, a GPU that lacks the instruction, a class that an older version does not have."""

LARGEST_POOL = 2048
"""Sets of operands at most; GEMMs that would need more take as long as a launch."""


def open_device(index: int = 0) -> "CudaBackend":
    """Open the CUDA GPU of an index, to be timed.

    Raises
    ------
    MissingExtra
        without PyTorch.
    MeasureError
        without a CUDA GPU that it can use.
    """
    torch = extra("torch", "torch")
    if not torch.cuda.is_available():
        raise MeasureError("measuring needs a CUDA GPU, and PyTorch finds none")
    if not 0 <= index < torch.cuda.device_count():
        raise MeasureError(f"GPU {index}: PyTorch finds {torch.cuda.device_count()}, from 0")
    try:
        torch.cuda.set_device(index)
        torch.manual_seed(0)
    except RuntimeError as error:  # taken by another process alone, say
        raise MeasureError(f"GPU {index} cannot be used: {_first_line(error)}") from error
    return CudaBackend(torch, index)


@dataclass(frozen=True)
class _Replay:
    """One run of a captured graph, whose operands it keeps alive."""

    torch: Any
    graph: Any
    calls: list[Callable[[], object]]

    def __call__(self) -> float:
        try:
            start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            self.graph.replay()
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end)) * 1e3
        except RuntimeError as error:  # what is captured runs, so the GPU itself is at fault
            raise MeasureError(f"the GPU stopped: {_first_line(error)}") from error


class CudaBackend:
    """A CUDA GPU that times GEMMs through PyTorch; its methods are those of ``Backend``."""

    def __init__(self, torch: Any, index: int) -> None:
        self._torch = torch
        self._index = index
        properties = torch.cuda.get_device_properties(index)
        self._l2_bytes = int(getattr(properties, "L2_cache_size", LARGEST_L2))

    @property
    def device(self) -> Device:
        """Name, memory and software of the GPU."""
        torch = self._torch
        properties = torch.cuda.get_device_properties(self._index)
        return Device(
            gpu=properties.name,
            variant=f"{properties.total_memory / 2**30:.0f} GiB",
            software=f"torch {torch.__version__}, CUDA {torch.version.cuda}, "
            f"driver {self._query('driver_version') or 'unknown'}",
        )

    def pool(self, case: Case) -> int:
        """Sets of operands that are larger than L2 together, whatever becomes of results."""
        stored_a, stored_b = (0.5625 if case.sparse_operand == x else 1.0 for x in "AB")
        elements = case.m * case.k * stored_a + case.n * case.k * stored_b
        sets = math.ceil(COLD * self._l2_bytes / (2 * elements))
        return min(max(2, sets), LARGEST_POOL)

    def prepare(self, case: Case, launches: int) -> Callable[[], float]:
        """Capture a graph of so many launches; the function that it returns replays it."""
        torch = self._torch
        calls: list[Callable[[], object]] = []
        try:
            for _ in range(self.pool(case)):
                calls.append(self._call(case))  # noqa: PERF401, to be let go of one by one
            # A library that allots each result itself must not write all of them to one place.
            results: deque[object] = deque(maxlen=len(calls))
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # handles and workspaces are made outside the graph
                for call in calls[:2]:
                    call()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                for launch in range(launches):
                    results.append(calls[launch % len(calls)]())
            torch.cuda.synchronize()
        except _REFUSALS as error:
            # Operands in its frames would live as long as the error; the next case starts afresh.
            error.__traceback__ = None
            calls.clear()
            torch.cuda.empty_cache()
            raise MeasureError(
                f"{case.library} does not run {case.m}x{case.n}x{case.k} ({case.phase}): "
                f"{_first_line(error)}"
            ) from error
        return _Replay(torch, graph, calls)

    def state(self) -> State:
        """Clock of the SMs and power, from nvidia-smi."""
        clock, _, power = self._query("clocks.sm,power.draw").partition(",")
        return State(_number(clock), _number(power))

    def _call(self, case: Case) -> Callable[[], object]:
        """One launch on operands of its own."""
        torch = self._torch
        if not case.sparse_operand:
            a = self._operand(case.dtype, case.m, case.k, k_last=case.a_k_last)
            b = self._operand(case.dtype, case.n, case.k, k_last=case.b_k_last).t()
            out = torch.empty(case.m, case.n, dtype=a.dtype, device=a.device)
            return lambda: torch.mm(a, b, out=out)
        # PyTorch multiplies compressed x dense: with B compressed it gives C transposed.
        if case.sparse_operand == "A":
            rows, cols, k_last = case.m, case.n, case.b_k_last
        else:
            rows, cols, k_last = case.n, case.m, case.a_k_last
        pruned = self._pruned(self._operand(case.dtype, rows, case.k, k_last=True))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*SparseSemiStructuredTensor.*prototype")
            compressed = getattr(torch.sparse, COMPRESSED[case.library]).from_dense(pruned)
        dense = self._operand(case.dtype, cols, case.k, k_last=k_last).t()
        return lambda: torch.mm(compressed, dense)

    def _operand(self, dtype: str, rows: int, k: int, *, k_last: bool) -> Any:
        """Rows x K of standard normal values, with either axis along memory."""
        torch = self._torch
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
        shape = (rows, k) if k_last else (k, rows)
        values = torch.randn(shape, dtype=kind, device=f"cuda:{self._index}")
        return values if k_last else values.t()

    def _pruned(self, values: Any) -> Any:
        """The two largest of every four along K."""
        groups = values.view(-1, 4)
        kept = groups.abs().topk(2, dim=1).indices
        mask = self._torch.zeros_like(groups).scatter_(1, kept, 1)
        return (groups * mask).view_as(values)

    def _query(self, fields: str) -> str:
        """What nvidia-smi says; "" if it is not there."""
        program = shutil.which("nvidia-smi")
        if program is None:
            return ""
        uuid = str(getattr(self._torch.cuda.get_device_properties(self._index), "uuid", ""))
        which = f"GPU-{uuid}" if uuid else str(self._index)
        command = [
            program,
            f"--query-gpu={fields}",
            "--format=csv,noheader,nounits",
            f"--id={which}",
        ]
        try:
            found = subprocess.run(  # noqa: S603, no shell, and nothing in it is a user's text
                command, capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return found.stdout.strip()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "[N/A]"
        return None
