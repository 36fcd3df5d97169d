"""What a kind of machine offers: the contract that each folder of this package fulfils.

A kind registers one value in ``KINDS``, from its folder's ``__init__``: the schema of its YAML
files, two engines, and the few things that only a kind can know of its machines. Nobody outside the
folder asks which kind a machine is; who needs to know something asks ``kind_of(machine)`` for it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from nmsim.cost.chip import Chip
from nmsim.cost.energy import Energy
from nmsim.cost.technology import Technology
from nmsim.evidence.standing import Places
from nmsim.gemm import Phase
from nmsim.machines.attention import AttentionCalls, AttentionRoutines, Fusion
from nmsim.machines.document import laid_over
from nmsim.machines.explanation import Explain
from nmsim.machines.fit import Calibration
from nmsim.machines.folders import Kinds
from nmsim.machines.link import Link
from nmsim.machines.measured_as import MeasuredAs
from nmsim.machines.step import Calling, Elementwise, Host, usual
from nmsim.mask import SparseGemm
from nmsim.pattern import DENSE, Pattern
from nmsim.registry import Facts, Listing
from nmsim.residual.file import Correction
from nmsim.result import Column, Result
from nmsim.spec import Spec

__all__ = [
    "FIDELITIES",
    "KINDS",
    "Call",
    "CarriedOver",
    "Constants",
    "Corrected",
    "Described",
    "Engine",
    "Facts",
    "Fidelity",
    "Kind",
    "Learned",
    "Listing",
    "Machine",
    "Measured",
    "Pass",
    "Ran",
    "Routines",
    "Sample",
    "Stored",
    "Timeline",
    "Unmodelled",
    "kind_of",
]

Fidelity = Literal["cycle", "analytical"]

FIDELITIES: tuple[Fidelity, ...] = get_args(Fidelity)


class CarriedOver(Spec):
    """How far fitted constants missed on other GPUs than those that they were fitted to.

    A file that is based on one with this takes it over with the constants; one whose constants were
    fitted to the machine itself says null.
    """

    constants_of: str = Field(description="the machine that the constants were fitted to")
    missed_by: Annotated[float, Field(gt=0, le=10)] = Field(
        description="mean error of time on measured machines, each with the constants of another"
    )
    worst: Annotated[float, Field(gt=0, le=10)] = Field(description="the largest of these errors")
    source: str = Field(description="which machines and measured times, and how")


class Machine(Spec):
    """Fields that the YAML file of every machine has, whatever its kind.

    A schema has ``peak_macs`` beside them, the physical MACs per cycle, as a field or a property.
    """

    kind: str = Field(description="which folder of nmsim.machines runs it")
    name: str = Field("", description="filled in from the file's name")
    summary: str = Field("", description="one line")
    source: str = Field("", description="where the figures come from")
    aliases: tuple[str, ...] = Field(
        (), description="other names of it; of all names letters and digits alone are compared"
    )
    based_on: str = Field(
        "",
        description="a machine, by name or by a path from this file: its fields stand here where "
        "this file has none",
    )
    clock_mhz: Annotated[float, Field(ge=1e-3, le=1e6)] = Field(
        description="cycles per microsecond"
    )
    capacity_gib: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        None, description="memory that a run may fill, GiB of 2^30 bytes; null: not known, no limit"
    )
    link: Link | None = Field(
        None, description="that joins machines which share a network; null: not known"
    )
    measured_as: tuple[MeasuredAs, ...] = Field(
        (), description="what tables of measured times call it; none: no row is taken to be its"
    )
    host: Host | None = Field(
        description="that solves for masks which a machine does not make itself; null: none"
    )
    elementwise: Elementwise = Field(description="what is no GEMM in a training step")
    fitted: tuple[str, ...] = Field(
        (), description="fields, by dotted path, that `nmsim calibrate` may fit; all others stand"
    )
    calibration: Calibration | None = Field(None, description="report of the last fit")
    carried_over: CarriedOver | None = Field(
        None,
        description="what is known of these constants on other machines; taken over by files that "
        "are based on this one, which are then unfitted; null: nothing, or it is fitted itself",
    )

    def __hash__(self) -> int:
        """As of its fields, remembered: a machine is looked up in many tables."""
        return self._hash

    def __eq__(self, other: object) -> bool:
        """By its fields, which nobody compares with themselves."""
        return self is other or super().__eq__(other)

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, name) for name in type(self).model_fields))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The machine with some fields replaced, by name; they are not checked."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("_hash", None)
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        """What is pickled: without the hash, as texts have another one in another process."""
        state = super().__getstate__()
        fields = {name: value for name, value in self.__dict__.items() if name != "_hash"}
        return {**state, "__dict__": fields}

    @property
    def capacity_bytes(self) -> int | None:
        """Bytes of its memory; None: not known."""
        return None if self.capacity_gib is None else int(self.capacity_gib * 2**30)

    @property
    def unfitted(self) -> str:
        """What to know of a machine whose constants were fitted to another one; else empty."""
        carried = self.carried_over
        if carried is None or not self.based_on or self.calibration is not None:
            return ""
        return (
            f"unfitted: constants of {carried.constants_of}'s generation; on GPUs that were "
            f"measured such constants missed by {carried.missed_by:.0%}, at worst "
            f"{carried.worst:.0%}"
        )

    @property
    def lowering(self) -> Literal["implicit", "columns"]:
        """How convolutions are laid out for it where a run does not say."""
        return "implicit"

    @model_validator(mode="before")
    @classmethod
    def _as_usual(cls, document: Any) -> Any:
        # What a file leaves out of a step beside its GEMMs is what every machine takes.
        return laid_over(usual(), document) if isinstance(document, Mapping) else document


@dataclass(frozen=True)
class Sample:
    """How many folds to run instead of all, and the seed of their draw."""

    folds: int
    seed: int = 0


class Stored(NamedTuple):
    """How an operand stands in a machine's memory.

    Parameters
    ----------
    pattern
        What it is packed under; DENSE if it is not packed.
    value_bits, index_bits
        Of a stored element, and of the metadata beside it.
    elements
        Stored elements along K of one row.
    why
        Why a masked operand is not packed; "" if it is, or if nothing is masked.
    scale_bits
        What a stored element has of a scale that it shares with others, bits.
    """

    pattern: Pattern
    value_bits: int
    index_bits: int
    elements: float
    why: str = ""
    scale_bits: float = 0.0

    @property
    def scaled_bits(self) -> float:
        """Bits of a stored element and of its share of a scale, without metadata."""
        return self.value_bits + self.scale_bits

    @classmethod
    def dense(cls, k: int, value_bits: int, why: str = "") -> "Stored":
        """An operand as it is: every element along K, and no metadata."""
        return cls(DENSE, value_bits, 0, k, why)

    @property
    def compressed(self) -> bool:
        """Whether only kept elements of the operand are stored."""
        return not self.pattern.is_dense

    @property
    def bits(self) -> int:
        """Bits that a stored element takes, with its metadata."""
        return self.value_bits + self.index_bits


class Pass(NamedTuple):
    """One pass over memory: bytes that it reads and writes, and operations on its elements.

    ``packs``: what it writes is an operand packed by its mask, out of order.
    """

    what: str
    read_bytes: float
    written_bytes: float
    operations: float = 0.0
    packs: bool = False


class Passes(NamedTuple):
    """Passes over memory, field by field of ``Pass``."""

    read_bytes: NDArray[np.float64]
    written_bytes: NDArray[np.float64]
    operations: NDArray[np.float64]
    packs: NDArray[np.bool_]

    @classmethod
    def of(cls, passes: Sequence[Pass]) -> "Passes":
        """Passes one by one, as arrays."""
        read, written, operations = np.array([one[1:4] for one in passes], float).reshape(-1, 3).T
        return cls(read, written, operations, np.array([one.packs for one in passes], np.bool_))

    @property
    def bytes(self) -> NDArray[np.float64]:
        """What each moves."""
        return self.read_bytes + self.written_bytes


class Ran(NamedTuple):
    """What a machine makes of a number format.

    Parameters
    ----------
    machine
        To be simulated.
    name
        What operands are in memory: a format, or the width of the machine's own.
    note
        Where that is not what was asked for, or not what is multiplied; else empty.
    """

    machine: Any
    name: str
    note: str = ""


@dataclass(frozen=True)
class Engine:
    """A model of one kind of machine at one fidelity.

    Parameters
    ----------
    simulate
        From a machine of this kind, a sparse GEMM and a sample of folds (None: all) to what it
        costs.
    summary
        One line.
    many
        The same of many GEMMs at once, without a sample; None: one by one.
    """

    simulate: Callable[[Any, SparseGemm, Sample | None], Result]
    summary: str
    many: Callable[[Any, Sequence[SparseGemm]], Sequence[Result]] | None = None


@dataclass(frozen=True)
class Call:
    """One routine of a library, whatever the sizes it is called with.

    Parameters
    ----------
    dtype
        Number format of the operands.
    accumulator
        Number format of the sums; "" for what the machine prefers.
    convolution
        Phase of a convolution that this is the implicit GEMM of; "" for a GEMM of matrices.
    pattern
        Of the compressed operand; DENSE if none is.
    sparse_operand
        Which one: "a", "b", or "" if the call is dense.
    library
        By name; "" for what the machine prefers.
    kernel
        A kernel of the library by name, to be used instead of the library's choice.
    vector_length
        V of a V:N:M pattern: columns of K are dropped for V rows together; 0 for plain N:M.
    in_turn
        How many B a series of launches goes through, with the same A and C, as a benchmark does
        it: L2 may still hold what an earlier launch has read. 0: it holds none of the operands.
    """

    dtype: str
    pattern: Pattern = DENSE
    sparse_operand: Literal["a", "b", ""] = ""
    library: str = ""
    kernel: str = ""
    vector_length: int = 0
    in_turn: int = 0
    accumulator: str = ""
    convolution: Phase | Literal[""] = ""


@dataclass(frozen=True)
class Routines:
    """What a kind offers to predictions that are held against measured times of library calls.

    Parameters
    ----------
    times
        From a machine, a call, sizes (GEMMs x 4: M, N, K, copies) and a fidelity to microseconds.
    account
        From a machine, a call and sizes to columns that say what the closed forms think happens.
    note
        What a reader should know of a call on a machine; raises SpecError if it has none such.
    dtypes, libraries
        Names that a call may carry on a machine.
    offered
        Number formats of a machine, and the sparsities that it has routines for in each.
    under
        The machine under conditions of its clock: "free", "sustained" (long work has brought it
        down) or "locked" (no load brings it down).
    least
        From a machine, a call and sizes to microseconds that no run can stay under.
    """

    times: Callable[[Any, Call, NDArray[np.float64], str], NDArray[np.float64]]
    account: Callable[[Any, Call, NDArray[np.float64]], dict[str, NDArray[Any]]]
    note: Callable[[Any, Call], str]
    dtypes: Callable[[Any], tuple[str, ...]]
    libraries: Callable[[Any], tuple[str, ...]]
    offered: Callable[[Any], Mapping[str, Sequence[str]]]
    under: Callable[[Any, str], Any]
    least: Callable[[Any, Call, NDArray[np.float64]], NDArray[np.float64]]


class Described(NamedTuple):
    """What a closed form thinks of GEMMs, for what is learned of what it lacks.

    Parameters
    ----------
    features
        GEMMs x features, none of them measured.
    where
        GEMMs x coordinates of a region (`nmsim.residual.region`), octaves.
    us
        Microseconds that the closed form takes each to be.
    """

    features: NDArray[np.float32]
    where: NDArray[np.float64]
    us: NDArray[np.float64]


class Corrected(NamedTuple):
    """Microseconds of GEMMs by a closed form, and what a residual multiplies them by."""

    physics: NDArray[np.float64]
    factors: NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """What a kind offers to residuals that are learned of its closed form.

    Parameters
    ----------
    attach
        From a machine and the file of a residual to the machine that is corrected by it.
    corrects
        Whether something was learned of a call of such a machine.
    corrected
        From such a machine, a call and sizes (GEMMs x 4: M, N, K, copies) to the closed form's
        times and what they are multiplied by; 1 where nothing was learned.
    applied
        The same of a correction (`nmsim.residual.file`) that is not attached, and a call that it
        was learned of.
    features
        Names of the features of ``describe``.
    account
        So many of the first are the closed form's own account; others follow from sizes alone.
    describe
        From a machine, a call and sizes to its account of them.
    """

    attach: Callable[[Any, Path], Any]
    corrects: Callable[[Any, Call], bool]
    corrected: Callable[[Any, Call, NDArray[np.float64]], Corrected]
    applied: Callable[[Any, Correction, Call, NDArray[np.float64]], NDArray[np.float64]]
    features: tuple[str, ...]
    account: int
    describe: Callable[[Any, Call, NDArray[np.float64]], Described]


class Constants(NamedTuple):
    """What the answer to a call rests on, so that it can be told where that was measured.

    Parameters
    ----------
    key
        The same for all calls that rest on the same: a library's kernels, a pattern, a width.
    library, pattern
        Of it, to be told by.
    fields
        Fields of the machine by path that matter to these calls alone.
    """

    key: str
    library: str
    pattern: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What a kind offers to say how near measured data its answers stand (`nmsim.evidence`).

    Parameters
    ----------
    fields
        From a machine to what all its answers rest on, by path: what it is, and constants.
    constants
        From a machine and a call to what the call rests on; None where a library stands in for the
        one that is called.
    places
        From a machine, a call and sizes (GEMMs x 4: M, N, K, copies) to where these stand.
    standings
        From a machine, a call and sizes to words of ``STANDINGS``.
    told
        From a machine to what was measured on it, for who reads a result; "" where all is said.
    attention
        From a machine and calls of fused attention to where these stand.
    """

    fields: Callable[[Any], Mapping[str, Any]]
    constants: Callable[[Any, Call], Constants | None]
    places: Callable[[Any, Call, NDArray[np.float64]], Places]
    standings: Callable[[Any, Call, NDArray[np.float64]], NDArray[np.str_]]
    told: Callable[[Any], str]
    attention: Callable[[Any, AttentionCalls], Places]


class Timeline(NamedTuple):
    """Events of a machine at work on a GEMM (Trace Event Format), and what is said of them."""

    events: list[dict[str, Any]]
    facts: Facts


class Unmodelled(NamedTuple):
    """What is not modelled of a machine's silicon, in a line.

    ``energy_band`` is the share by which the energy of its runs may be off, None where it has none,
    and ``source`` where both are from.
    """

    said: str
    energy_band: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of machine: its schema, its engines, and what only it knows.

    Parameters
    ----------
    schema
        Of its YAML files.
    catalog
        The folder of those that ship.
    engines
        One for each fidelity.
    stored
        From a machine and a sparse GEMM to how A and B stand in memory: the one answer that
        engines, masks' cost and memory share. Asks for no bits of a mask.
    passes_us
        Microseconds of passes over memory on a machine, each for itself.
    in_format
        A machine as it runs operands of a number format ("": its own).
    operand_bits, output_bits
        Widths of an element of A or B, and of C, on a machine.
    passes_rest_on
        What the times of passes rest on, for a reader of them.
    host
        Whether work on the host takes time beside the machine's: what its ``host`` makes of it.
    packs_weights
        Whether weights stand in a machine's memory in fewer bits than other operands.
    calling
        How a machine is made to do what is no GEMM: fused or not, in which widths, by which host.
    any_axis
        Whether one packed copy of an operand serves GEMMs that run K along either of its axes.
    other_names
        That files of earlier versions call the kind by.
    own_columns
        Columns of a result table that only this kind has, all of them optional.
    columns
        Values of these columns, from a machine, sparse GEMMs and their results.
    by_promise
        Whether what a sparse GEMM costs on a machine follows from what its masks promise.
    facts
        What ``nmsim show`` adds to a machine's fields.
    files
        Files that a machine's fields name: once one is edited, the machine is run anew.
    samples
        Whether a machine at a fidelity can run a sample of folds.
    listings
        Other things of this kind that one can list and show, by plural name.
    choices
        What of a machine chooses among ways to run a GEMM, in a few words for who reads a result;
        raises NmsimError if there is no such. "": nothing that a run could set.
    silicon
        What a machine is built of, so that ``nmsim cost`` can tell what that takes.
    unmodelled
        What ``nmsim cost`` says instead of a machine of which nobody knows what it is built of.
    energy
        From a machine and a technology to what its results take in energy; None for a machine of
        which no figures are known.
    routines, learned, evidence, attention, fusion, timeline, explain
        See there; None where the kind has none. A kind with ``evidence`` has a column of that name
        among its own: the words of ``STANDINGS``.
    """

    schema: type[Machine]
    catalog: Path
    engines: Mapping[Fidelity, Engine]
    stored: Callable[[Any, SparseGemm], tuple[Stored, Stored]]
    passes_us: Callable[[Any, Passes], NDArray[np.float64]]
    in_format: Callable[[Any, str], Ran]
    operand_bits: Callable[[Any], int]
    output_bits: Callable[[Any], int]
    passes_rest_on: Callable[[Any], str]
    host: bool = True
    packs_weights: Callable[[Any], bool] = lambda _machine: False
    calling: Callable[[Any], Calling] = lambda _machine: Calling()
    any_axis: bool = False
    other_names: tuple[str, ...] = ()
    own_columns: tuple[Column, ...] = ()
    columns: Callable[
        [Any, Sequence[SparseGemm], Sequence[Result]], Mapping[str, Sequence[Any]]
    ] = lambda _machine, _works, _results: {}
    by_promise: Callable[[Any, SparseGemm], bool] = lambda _machine, _work: False
    facts: Callable[[Any], Facts] = lambda _machine: []
    files: Callable[[Any], Iterable[Path]] = lambda _machine: ()
    samples: Callable[[Any, str], bool] = lambda _machine, _fidelity: False
    listings: Mapping[str, Listing] = field(default_factory=dict)
    choices: Callable[[Any], str] = lambda _machine: ""
    silicon: Callable[[Any], Chip] | None = None
    unmodelled: Callable[[Any], Unmodelled] | None = None
    energy: Callable[[Any, Technology], Callable[[Result], Energy] | None] | None = None
    routines: Routines | None = None
    learned: Learned | None = None
    evidence: Measured | None = None
    attention: AttentionRoutines | None = None
    fusion: Fusion | None = None
    timeline: Callable[[Any, SparseGemm, int], Timeline] | None = None
    explain: Explain | None = None

    def pass_us(self, machine: Any, one: Pass) -> float:
        """Microseconds of one pass over memory on a machine."""
        return float(self.passes_us(machine, Passes.of([one]))[0])


KINDS: Kinds[Kind] = Kinds()
"""The kinds of machines, by the ``kind`` of their files."""


def kind_of(machine: Machine) -> Kind:
    """The kind of a machine: who needs to know something of the machine asks it there."""
    return KINDS[machine.kind]
