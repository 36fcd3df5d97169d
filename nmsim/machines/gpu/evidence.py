"""Where answers of a GPU stand: what was measured, held to its fields, and what they rest on.

What was measured stands in ``NAME.evidence.npz`` beside the GPU's file. It counts for a GPU whose
fields are those that it was gathered with; of another bandwidth, or with other constants, a GPU is
another, whatever its name. Where GEMMs stand is told by the closed form, whichever fidelity runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.evidence.file import Evidence, Record, beside, differing, flat, read_evidence
from nmsim.evidence.standing import STANDINGS, Places, worst
from nmsim.files import remembered
from nmsim.gemm import Gemm
from nmsim.machines.gpu.analytical import CLOCKS, SHARES, estimates
from nmsim.machines.gpu.attention import evidence as of_attention
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import Size
from nmsim.machines.gpu.direct import is_depthwise
from nmsim.machines.gpu.launch import Launch, launch_of
from nmsim.machines.gpu.schema import Gpu, in_format, of_gemm
from nmsim.machines.kind import Call, Constants, Facts, Measured
from nmsim.mask import SparseGemm
from nmsim.pattern import Pattern
from nmsim.result import Result

__all__ = ["EVIDENCE", "columns", "facts", "places"]

CATALOG = Path(__file__).parent / "catalog"

_COMMON = ("sms", "clock_mhz", "index_bits", "sm", "l2", "dram", "timing", "cycle")
_LIBRARY = ("kernels", "efficiency", "casts", "timing", "cycle")

_MOST_TOLD = 2
"""Fields that differ which are told one by one."""

Said = tuple[str, str]
"""A word of ``STANDINGS``, and why it is beyond."""


def fields(machine: Gpu) -> dict[str, Any]:
    """What a GPU is, and the constants that all its libraries share, by path."""
    own = machine.model_dump(mode="json", include={*_COMMON})
    own["dram"].pop("sheet_gbps")  # what is printed is in no time
    return dict(flat(own))


@remembered(maxsize=1024)
def constants(machine: Gpu, call: Call) -> Constants | None:
    """What a call rests on: its library's kernels and constants, and the rate of its format.

    Number formats that one entry of ``libraries`` serves at one rate rest on the same, fp16 and
    bf16.
    """
    found = resolve(machine, call)
    library, native = found.library, found.native
    if call.library not in ("", library.library, *library.also):
        return None
    form = machine.format(call.dtype, call.accumulator)
    pattern = "dense" if native.is_dense else str(native)
    rate = form.macs_per_clk if native.is_dense else form.sparse_macs(native)
    own = {
        f"libraries.{library.kernels}": library.model_dump(mode="json", include={*_LIBRARY}),
        "formats": {"bits": form.bits, "output_bits": form.output_bits, "macs_per_clk": rate},
    }
    key = f"{library.library}, {library.kernels}, {pattern}, {form.bits} bits"
    return Constants(key, library.library, pattern, dict(flat(own)))


def places(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> Places:
    """Where GEMMs of a call stand, in a cache that holds nothing of them.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    """
    found = estimates(machine, replace(call, in_turn=0), sizes, shares=True)
    clocks = found[:, CLOCKS, None]
    spent = np.hstack([np.log2(clocks), found[:, SHARES:] / clocks])
    return Places(np.log2(sizes), spent)


@remembered(maxsize=256)
def _evidence(machine: Gpu) -> tuple[Evidence | None, str]:
    """What was measured on a GPU, and why nothing was on this one."""
    if machine.unfitted:
        return None, machine.unfitted
    for name in filter(None, (machine.name, machine.based_on)):
        path = beside(CATALOG / f"{name}.yaml")
        if Path(name).name == name and path.is_file():
            found = read_evidence(path)
            other = differing(fields(machine), found.fields)
            return (None, _another(found.name, other)) if other else (found, "")
    if machine.calibration is not None:
        measured = machine.calibration.measured
        return None, f"where {measured} was measured, which it was fitted to, is not kept"
    return None, f"no measured GEMM stands behind the constants of {machine.name}"


def _another(name: str, other: list[str]) -> str:
    """Why what was measured on a GPU says nothing of one that differs from it."""
    more = len(other) - _MOST_TOLD
    told = ", ".join(other[:_MOST_TOLD]) + (f" and {more} more" if more > 0 else "")
    return f"not the {name} that was measured: {told}"


@remembered(maxsize=1024)
def _record(machine: Gpu, call: Call) -> tuple[Record | None, str]:
    """What was measured of a call on a GPU, and why nothing counts for it."""
    found, why = _evidence(machine)
    rests_on = constants(machine, call)
    if found is None or rests_on is None:
        return None, why or f"library {call.library} is not known here"
    same = [one for one in found.records if one.key == rests_on.key]
    for one in same:
        if not differing(rests_on.fields, one.fields):
            return one, ""
    if same:
        return None, _another(found.name, differing(rests_on.fields, same[0].fields))
    return None, (
        f"no {rests_on.pattern} GEMM of {rests_on.library} in {call.dtype} was measured on it"
    )


@remembered(maxsize=64)
def _measured(machine: Gpu, call: Call) -> Places | None:
    """The places of what was measured of a call; None: nothing was."""
    record, _ = _record(machine, call)
    if record is None:
        return None
    parts = []
    for number, one in enumerate(record.routines):
        own = record.sizes[record.sizes[:, 4] == number, :4].astype(np.float64)
        seen = Call(
            one.dtype,
            Pattern.parse(one.pattern),
            one.sparse_operand,  # type: ignore[arg-type]
            record.library,
            vector_length=one.vector_length,
            accumulator=one.accumulator,
        )
        parts.append(places(machine, seen, own))
    return Places.joined(parts)


def _alike(machine: Gpu, call: Call) -> tuple[Gpu, Call]:
    """A GPU and a call as far as what was measured of it depends on them."""
    return _plain(machine), replace(call, in_turn=0, kernel="", convolution="")


@remembered(maxsize=256)
def _plain(machine: Gpu) -> Gpu:
    """A GPU without what chooses among its kernels."""
    plain = {"residual": "", "stack": "best", "masks": None, "library": "", "kernel": ""}
    same = all(getattr(machine, name) == value for name, value in plain.items())
    return machine if same else machine.model_copy(update=plain)


def standings(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> NDArray[np.str_]:
    """Where times of many GEMMs of one call stand: near, within or beyond measured data.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    """
    known = None if call.convolution else _measured(*_alike(machine, call))
    if known is None:
        return np.full(len(sizes), "beyond")
    found: NDArray[np.str_] = np.array(STANDINGS)[known.standing(places(machine, call, sizes))]
    return found


def _of_launches(ran: Sequence[tuple[Gpu, Launch]]) -> list[Said]:
    """Where the times of launches on GPUs stand; those of one call are looked up at once."""
    calls: dict[tuple[Gpu, Call], dict[Size, None]] = {}
    asked = []
    for machine, launch in ran:
        named = machine.kernel and machine.kernel in {
            one.name for one in launch.resolved.kernels.kernels
        }
        call = replace(launch.call, kernel=machine.kernel if named else "")
        calls.setdefault((machine, call), {})[launch.size] = None
        asked.append(((machine, call), launch.size))
    found = {
        (key, size): said
        for key, sizes in calls.items()
        for size, said in zip(sizes, _said(*key, list(sizes)), strict=True)
    }
    return [found[one] for one in asked]


def _said(machine: Gpu, call: Call, sizes: Sequence[Size]) -> Iterator[Said]:
    record, why = _record(*_alike(machine, call))
    words = standings(machine, call, np.array(sizes)).tolist()
    most = int(record.sizes[:, 3].max()) if record else 0
    for word, size in zip(words, sizes, strict=True):
        if record is None or word != "beyond":
            yield word, why
        elif size.copies > most:
            yield word, "several GEMMs in one launch: none were measured"
        else:
            yield word, f"no measured {record.pattern} GEMM of {record.library} is like it"


def columns(
    machine: Gpu, works: Sequence[SparseGemm], results: Sequence[Result]
) -> dict[str, list[str | None]]:
    """Rows' columns of evidence; without a value of a GEMM that does nothing.

    They say where the time and the speed-up of a GEMM stand: as its masks have it, and dense. The
    worse of both, whether the masks are followed or not: both times decide that.
    """
    said = [
        _at_once(machine, work.gemm) if result.cycles else ("", "")
        for work, result in zip(works, results, strict=True)
    ]
    ran = [
        both
        for work, known in zip(works, said, strict=True)
        if known is None
        for both in _both(machine, work)
    ]
    found = iter(_of_launches(ran))
    every = [_worse(next(found), next(found)) if one is None else one for one in said]
    return {
        "evidence": [word or None for word, _ in every],
        "evidence_why": [why or None for _, why in every],
    }


def _at_once(machine: Gpu, gemm: Gemm) -> Said | None:
    """What is said of a GEMM without a look at what it launches; None: that decides."""
    own, why = _evidence(machine)
    if own is None:
        return "beyond", why
    if gemm.attention is not None:
        return of_attention.standing_of(_plain(machine), gemm, own.attention)
    if gemm.kind == "conv" or is_depthwise(gemm):
        return "beyond", "no convolution was measured on it"
    return None


def _both(machine: Gpu, work: SparseGemm) -> Iterator[tuple[Gpu, Launch]]:
    """What a GEMM launches by its masks, and dense in the machine's own number format."""
    for wanted, one in ((work.number_format, work), ("", SparseGemm.dense(work.gemm))):
        ran = of_gemm(in_format(machine, wanted).machine, work.gemm)
        yield ran, launch_of(ran, one)


def _worse(*said: Said) -> Said:
    word = worst([one for one, _ in said])
    return word, "; ".join(dict.fromkeys(why for one, why in said if one == word and why))


def told(machine: Gpu) -> str:
    """What was measured on a GPU in its number format: dense, and by each pattern that it has."""
    found, why = _evidence(machine)
    if found is None:
        return "" if why == machine.unfitted else f"evidence: none, {why}"
    form = machine.format(machine.dtype, machine.accumulator)
    same = [one for one in found.records if _of_bits(one) == form.bits]
    patterns = ("dense", *map(str, machine.natives(machine.dtype, machine.accumulator)))
    return "evidence: " + "; ".join(_counted(machine, pattern, same) for pattern in patterns)


def facts(machine: Gpu) -> Facts:
    """Where a GPU's constants were measured, as ``nmsim show`` says it."""
    found, why = _evidence(machine)
    if found is None:
        return [("evidence", why)]
    return [
        *(("measured", f"{one.key}: {_region(one)}") for one in found.records),
        *(
            ("measured", f"attention of {one.library}, {one.phase}: {len(one.shapes):,} calls")
            for one in found.attention
        ),
    ]


def _region(record: Record) -> str:
    spans = (
        f"{name} {low:,g}" + f" to {high:,g}" * (low < high)
        for name, (low, high) in record.ranges.items()
    )
    bounds = ", ".join(list(record.bounds)[:3])
    count = len(record.sizes)
    return (
        f"{count:,} GEMM{'s' * (count > 1)} in {', '.join(record.dtypes)}; {', '.join(spans)}; "
        f"bound by {bounds}; clock {', '.join(record.conditions)}; {', '.join(record.sources)}"
    )


def _of_bits(record: Record) -> int:
    return int(record.fields["formats.bits"])


def _counted(machine: Gpu, pattern: str, records: list[Record]) -> str:
    """``2:4 on this GPU: 3 measured GEMMs (cusparselt 2, cutlass-profiler 1; in fp16)``."""
    own = [one for one in records if one.pattern == pattern]
    if not own:
        return f"{pattern} on this GPU: no measured GEMM in {machine.dtype}"
    gemms = len(np.unique(np.concatenate([one.sizes[:, :4] for one in own]), axis=0))
    several = len(own) > 1
    by = [f"{one.library} {len(one.sizes):,}" if several else one.library for one in own]
    formats = dict.fromkeys(dtype for one in own for dtype in one.dtypes)
    told = f"{gemms:,} measured GEMM{'s' * (gemms > 1)}"
    return f"{pattern} on this GPU: {told} ({', '.join(by)}; in {', '.join(formats)})"


EVIDENCE = Measured(
    fields=fields,
    constants=constants,
    places=places,
    standings=standings,
    told=told,
    attention=of_attention.places,
)
"""What is asked of a GPU about its evidence."""
