"""GPUs with tensor cores: multiprocessors, caches, memory, and the libraries that run GEMMs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import UnknownName
from nmsim.machines.folders import columns_in
from nmsim.machines.gpu import evidence
from nmsim.machines.gpu.attention import ATTENTION
from nmsim.machines.gpu.attention.fusion import FUSION, facts
from nmsim.machines.gpu.attention.kernels import ATTENTION_KERNELS
from nmsim.machines.gpu.attention.kernels import LISTING as ATTENTION_LISTING
from nmsim.machines.gpu.attention.learned import LEARNED as ATTENTION_LEARNED
from nmsim.machines.gpu.energy import pricing, unmodelled
from nmsim.machines.gpu.explained import parts
from nmsim.machines.gpu.explained.mends import EXPLAIN
from nmsim.machines.gpu.explained.timeline import timeline
from nmsim.machines.gpu.kernels import KERNELS, LISTING
from nmsim.machines.gpu.launch import by_promise
from nmsim.machines.gpu.learned import correction
from nmsim.machines.gpu.preparation import paced
from nmsim.machines.gpu.routines import ROUTINES
from nmsim.machines.gpu.schema import Gpu, in_format
from nmsim.machines.gpu.stacks import LISTING as STACK_LISTING
from nmsim.machines.gpu.stacks import STACKS
from nmsim.machines.gpu.stacks.followed import engine, foresee, stored
from nmsim.machines.gpu.stacks.policy import choices, stack_of
from nmsim.machines.kind import KINDS, Engine, Kind, Passes
from nmsim.machines.step import Calling
from nmsim.mask import SparseGemm
from nmsim.residual.file import of_attention
from nmsim.result import Result
from nmsim.spec import Catalog

__all__: list[str] = []


def _passes_us(machine: Gpu, passes: Passes) -> NDArray[np.float64]:
    packing = np.where(passes.packs, stack_of(machine).packing, 1.0)
    return paced(machine, passes.bytes, passes.bytes, passes.operations, packing)


def _columns(
    machine: Gpu, works: Sequence[SparseGemm], results: Sequence[Result]
) -> dict[str, Sequence[Any]]:
    corrected = {
        one.name: [result.own.get(one.name) for result in results] for one in correction.COLUMNS
    }
    spent = parts.columns(works, results)
    return {**spent, **corrected, **evidence.columns(machine, works, results)}


def _calling(machine: Gpu) -> Calling:
    """How its stack calls what is no GEMM, with images as they stand in its memory."""
    turns = machine.layout == "channels_first"
    return stack_of(machine).calling._replace(turns_images=turns)


def _operand_bits(machine: Gpu) -> int:
    return machine.format(machine.dtype).bits


def _files(machine: Gpu) -> Iterator[Path]:
    """The kernel sets of its libraries and of fused attention, its stack, and its residuals.

    Raises
    ------
    UnknownName
        with the machine's name, for a name that none of them has.
    """
    named: list[tuple[Catalog[Any], str]] = [
        (STACKS, machine.stack),
        *((KERNELS, library.kernels) for library in machine.libraries),
        *((ATTENTION_KERNELS, name) for name in machine.attention),
    ]
    for catalog, name in named:
        try:
            yield catalog.path(name)
        except UnknownName as error:
            raise UnknownName(f"{machine.name}: {error}") from error
    if machine.residual:
        path = Path(machine.residual)
        yield from (path, of_attention(path))


def _many(machine: Gpu, works: Sequence[SparseGemm]) -> list[Result]:
    foresee(machine, works)
    return [_ANALYTICAL(machine, work, None) for work in works]


_ANALYTICAL = correction.corrected(engine("analytical"))

KINDS.add(
    "gpu",
    Kind(
        schema=Gpu,
        catalog=Path(__file__).parent / "catalog",
        engines={
            "cycle": Engine(
                correction.physics_alone(engine("cycle")),
                "GPU with tensor cores, tiles cycle by cycle and waves",
            ),
            "analytical": Engine(_ANALYTICAL, "GPU with tensor cores, closed forms", _many),
        },
        stored=stored,
        passes_us=_passes_us,
        in_format=in_format,
        calling=_calling,
        operand_bits=_operand_bits,
        packs_weights=lambda machine: machine.multiplied != machine.dtype,
        output_bits=lambda machine: machine.output_bits,
        passes_rest_on=lambda _machine: (
            "a launch a kernel, and its bytes at copy speed or its operations on CUDA cores"
        ),
        other_names=("tensor-core",),
        facts=lambda machine: [*facts(machine), *evidence.facts(machine)],
        files=_files,
        listings={"kernels": LISTING, "stacks": STACK_LISTING, "attention": ATTENTION_LISTING},
        choices=choices,
        own_columns=columns_in(Path(__file__).parent),
        columns=_columns,
        by_promise=by_promise,
        routines=ROUTINES,
        learned=correction.LEARNED,
        evidence=evidence.EVIDENCE,
        attention=replace(ATTENTION, learned=ATTENTION_LEARNED),
        energy=lambda machine, _technology: pricing(machine),
        unmodelled=unmodelled,
        fusion=FUSION,
        timeline=timeline,
        explain=EXPLAIN,
    ),
)
