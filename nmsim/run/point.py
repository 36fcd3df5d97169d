"""The keywords of a run, and the rows that a run of them yields.

`Point` is the list: what is declared here, once, is a keyword of ``nmsim.simulate`` and an option
of ``nmsim simulate``, stands in the manifest, and is a field of an experiment unless it says why
not. A memory footprint takes those of a `Subject`, a training run those of a `Job`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from nmsim.cost.technology import DEFAULT, load_technology
from nmsim.errors import SpecError
from nmsim.gemm import PHASES
from nmsim.importing import told_of
from nmsim.machines import (
    FIDELITIES,
    Machine,
    Sample,
    kind_of,
    load_hardware,
    with_residual,
)
from nmsim.mask import SparseGemm
from nmsim.network.layer import AttentionLayer
from nmsim.network.learning import Learning, Step
from nmsim.network.lowering import Lowering
from nmsim.network.scenario import SCENARIOS, Scenario
from nmsim.network.tensors import Synthetic, TensorSource
from nmsim.network.tensors.files import TensorFile
from nmsim.network.tensors.memory import InMemory
from nmsim.pattern import Pattern
from nmsim.pruning import read_plugins
from nmsim.recipes.masking import Setting, sparse_gemms
from nmsim.recipes.recipe import Recipe, load_recipe
from nmsim.result import Columns
from nmsim.run.keyword import Keyword, check, keywords
from nmsim.run.rows.beside import BesideGemms
from nmsim.run.rows.runs import Runs
from nmsim.run.workload import Model, Workload, load_workload
from nmsim.step.fusion import as_run

__all__ = ["CHOSEN", "Job", "Point", "Subject", "check_trains", "rows"]

Row = dict[str, Any]

CHOSEN = ("stack", "library", "kernel")
"""Keywords that are fields of machines which call libraries."""


@dataclass(frozen=True)
class Subject:
    """A workload, what is pruned of it, and the machine: what can be said before anything runs."""

    model: Annotated[
        Model,
        Keyword(
            "A network (`nmsim list models`), a file (YAML, a trace, a CSV of GEMMs, a topology of "
            "SCALE-Sim, ONNX), known by its content, or gemm:MxNxK.",
            also="or a list of Gemm",
            metavar="MODEL",
            lists="models",
        ),
    ]
    _: KW_ONLY
    recipe: Annotated[
        str | Path | Recipe,
        Keyword(
            "A recipe (`nmsim list recipes`) or a YAML file.",
            also="or a Recipe",
            metavar="R",
            lists="recipes",
            listed=("asp",),
        ),
    ] = "dense"
    plugins: Annotated[
        Sequence[str | Path],
        Keyword(
            "Files of pruners of one's own, or folders of them, which recipes may name by name.",
            also="or one path",
            metavar="PATH",
        ),
    ] = ()
    pattern: Annotated[
        str | Pattern,
        Keyword(
            "At most N kept of every M along K, or `dense`: for masks whose recipe names none.",
            metavar="N:M",
            lists="patterns",
        ),
    ] = "2:4"
    hardware: Annotated[
        str | Path | Machine,
        Keyword(
            "A machine (`nmsim list hardware`), a YAML file or a configuration of SCALE-Sim.",
            also="or what `load_hardware` returns",
            metavar="H",
            lists="hardware",
        ),
    ] = "systolic-128x128-2to4"
    overrides: Annotated[
        Mapping[str, Any],
        Keyword(
            "Fields of the machine to replace, by dotted path.",
            option="set",
            metavar="FIELD=VALUE",
            apart="a machine file of one's own says it, and its name tells the rows apart",
        ),
    ] = field(default_factory=dict)
    stack: Annotated[
        str | Path | None,
        Keyword(
            "What calls a GPU's libraries (`nmsim list stacks`) or a YAML file; none: as the "
            "machine's file says, best unless it does.",
            metavar="S",
        ),
    ] = None
    library: Annotated[
        str | None,
        Keyword(
            "On a GPU, the library of its file that runs what it can; none: those of the stack.",
            metavar="L",
        ),
    ] = None
    kernel: Annotated[
        str | None,
        Keyword(
            "On a GPU, run this kernel wherever the library has it (`nmsim show kernels`).",
            metavar="NAME",
        ),
    ] = None
    batch: Annotated[
        int | None,
        Keyword(
            "Samples in a step; none: 32 to train a network, 1 to infer and prefill, 16 to decode, "
            "1 for GEMMs that are given (by size, in a CSV, a list or a trace) and for files of "
            "other tools, or as a network's file says.",
            least=1,
            lists="batches",
            listed=(None,),
        ),
    ] = None
    scenario: Annotated[
        str,
        Keyword(
            "What a network is run for: a training step (train); or forward alone, of all tokens "
            "(infer), of a prompt (prefill), of one more token behind a context (decode).",
            choices=SCENARIOS,
            metavar="SCENARIO",
        ),
    ] = "train"
    tokens: Annotated[
        int | None,
        Keyword(
            "Tokens of a sample: of a sequence, of a prompt, of the source of an encoder-decoder; "
            "none: as the network's file says.",
            metavar="T",
            least=1,
        ),
    ] = None
    context: Annotated[
        int | None,
        Keyword(
            "Tokens that were read before, when decoding; none: as the network's file says.",
            metavar="C",
            least=0,
        ),
    ] = None
    tp: Annotated[
        int,
        Keyword(
            "Machines that share the network, layers split as its file says (tensor parallelism, "
            "in inference): rows, times and memory are one machine's.",
            metavar="N",
            least=1,
        ),
    ] = 1
    lowering: Annotated[
        str | None,
        Keyword(
            "How convolutions become GEMMs: `implicit`, as libraries run them, or `columns`, added "
            "up in a pass over memory; for one phase, `backward=columns`. Default: the machine's.",
            metavar="[PHASE=]L",
        ),
    ] = None

    learn: Annotated[
        Sequence[str],
        Keyword(
            "Layers that learn, by globs over names with the number of a block; others are frozen "
            "and have no update, those before the first that learns no backward. None: all.",
            also="or one text",
            metavar="GLOB[,GLOB]",
        ),
    ] = ()
    recompute: Annotated[
        Sequence[str],
        Keyword(
            "Layers whose forward is computed again on the way back (activation checkpointing), "
            "by globs; those of one block together.",
            also="or one text",
            metavar="GLOB[,GLOB]",
        ),
    ] = ()
    reentrant: Annotated[
        bool,
        Keyword(
            "Compute whole blocks again; else, as torch.utils.checkpoint without use_reentrant, "
            "what the way back reads: not a last linear layer whose output nothing keeps."
        ),
    ] = False
    adapters: Annotated[
        Sequence[str],
        Keyword(
            "Adapters of a rank beside linear layers (LoRA), whose own weights are frozen; all "
            "else is, too, unless --learn names it.",
            also="or one text",
            metavar="RANK:GLOB[,GLOB]",
        ),
    ] = ()
    micro_batches: Annotated[
        int,
        Keyword(
            "Into so many passes a step's samples are divided; gradients add up, the optimizer "
            "and masks of weights come once.",
            metavar="N",
            least=1,
        ),
    ] = 1

    def __post_init__(self) -> None:
        check(self)
        read_plugins(self.plugin_paths)
        if self.lowering is not None:
            Lowering.parse(self.lowering)
        Learning.of(**self._step)

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew in another process, which has its plug-ins then."""
        kind: Any = type(self)
        return _again, (kind, {one.name: getattr(self, one.name) for one in keywords(kind)})

    @property
    def plugin_paths(self) -> tuple[str | Path, ...]:
        """Files and folders of pruners of one's own."""
        return _texts("plugins", self.plugins)

    @property
    def layout(self) -> Lowering:
        """How convolutions of each phase become GEMMs: as asked for, or the machine's way."""
        usual = self.machine.lowering
        return Lowering.parse(usual if self.lowering is None else self.lowering)

    @property
    def asked(self) -> Scenario:
        """What is asked of the network: scenario, tokens and context, and what learns."""
        learning = Learning.of(**self._step)
        return Scenario(self.scenario, self.tokens, self.context, learning)

    @property
    def _step(self) -> Step:
        return {
            "learn": self.learn,
            "recompute": self.recompute,
            "adapters": self.adapters,
            "micro_batches": int(self.micro_batches),
            "reentrant": self.reentrant,
        }

    @property
    def workload(self) -> Workload:
        """What is simulated: all of it, or the part of one of several machines."""
        return load_workload(self.model, self.asked, int(self.tp))

    @property
    def told(self) -> list[str]:
        """What importers say of the files of the model and the machine, a line each."""
        return told_of((self.model, self.hardware))

    @property
    def samples(self) -> int:
        """Samples in a step: the ``batch`` that was asked for, or what the scenario has."""
        asked = self.batch
        return self.workload.default_batch if asked is None else int(asked)

    @property
    def at_once(self) -> int:
        """Samples that a GEMM sees: those of a micro-batch."""
        return self.asked.learning.samples(self.samples)

    @property
    def machine(self) -> Machine:
        """The machine of the run, with the fields replaced that the run says otherwise."""
        machine: Machine = load_hardware(self.hardware, **self.overrides)
        chosen = {one: str(value) for one in CHOSEN if (value := getattr(self, one)) is not None}
        for name, value in chosen.items():
            if name not in type(machine).model_fields:
                raise SpecError(f"{name} is {value!r}: {machine.name} calls no libraries")
        if chosen:
            machine = load_hardware(machine, **chosen)
        kind_of(machine).choices(machine)
        if machine.link is not None and self.tp > machine.link.joins:
            raise SpecError(
                f"tp is {self.tp}, expected {machine.link.joins} at most: the link of "
                f"{machine.name} joins no more"
            )
        return machine


def _texts(name: str, given: Any) -> tuple[Any, ...]:
    """Texts or paths of a keyword that takes one or several.

    Raises
    ------
    SpecError
        for anything else.
    """
    found = given if isinstance(given, list | tuple) else (given,)
    for one in found:
        if not isinstance(one, str | Path):
            raise SpecError(f"{name}: {type(one).__name__}, expected a text or several")
    return tuple(found)


def _again(kind: Callable[..., Subject], values: Mapping[str, Any]) -> Subject:
    return kind(**values)


def check_trains(subject: Subject) -> None:
    """Refuse a scenario that has no training step, where one is asked for.

    Raises
    ------
    SpecError
        naming the scenario.
    """
    if subject.asked.phases != PHASES:
        raise SpecError(f"scenario is {subject.scenario!r}, expected train: steps of training")


@dataclass(frozen=True, kw_only=True)
class Job(Subject):
    """A subject to simulate: by which model, and what values its masks are made of."""

    fidelity: Annotated[
        str,
        Keyword(
            "Which of a machine's two models runs: its cycles, or their closed form.",
            choices=FIDELITIES,
            lists="fidelities",
            listed=FIDELITIES,
        ),
    ] = "cycle"
    seed: Annotated[int, Keyword("Of synthetic tensors and of pruners that draw.", least=0)] = 0
    tensors: Annotated[
        str | Path | Mapping[str, Any] | None,
        Keyword(
            "Read values from this checkpoint instead of drawing them, <layer>.weight and so on: "
            "safetensors, a folder or an index of several, npz, a file of torch.save.",
            also="or arrays or tensors by name, such as a state_dict",
            apart="a file of tensors is of one model and one batch",
        ),
    ] = None
    tensor_names: Annotated[
        Sequence[str],
        Keyword(
            "Names of the checkpoint's tensors that match the glob are NAME here (vit.layer.*="
            "blocks.*): a * stands for what that of the glob matches.",
            also="or one text",
            metavar="GLOB=NAME",
            apart="a file of tensors is of one model and one batch",
        ),
    ] = ()

    residual: Annotated[
        bool,
        Keyword(
            "Correct dense GEMMs of the closed form by the residual that was learned of measured "
            "ones and stands beside the machine's file; beyond its data nothing is corrected.",
        ),
    ] = False

    elementwise: Annotated[
        bool,
        Keyword(
            "Estimate what of a network's step is no GEMM (norms, activations, sums, casts, the "
            "optimizer, the host), by bytes and launches, as the stack runs it.",
        ),
    ] = True

    @property
    def workload(self) -> Workload:
        """What is simulated; with tensors, each of a network's blocks with its own."""
        apart = self.tensors is not None
        return load_workload(self.model, self.asked, int(self.tp), block_by_block=apart)

    @property
    def machine(self) -> Machine:
        """The machine of the run; with its learned residual, where that was asked for."""
        machine = super().machine
        return with_residual(machine, self.hardware) if self.residual else machine

    @property
    def setting(self) -> Setting:
        """What the masks of the run are made of: recipe, pattern, tensors, batch and seed.

        Raises
        ------
        SpecError
            if there is no file of tensors where one was named.
        """
        return Setting(
            load_recipe(self.recipe),
            Pattern.parse(self.pattern),
            self._source,
            self.at_once,
            self.seed,
            self.layout,
        )

    @property
    def _source(self) -> TensorSource:
        named, recipe = self.tensor_names, load_recipe(self.recipe)
        rules = _texts("tensor_names", named)
        if self.tensors is None:
            if recipe.brought:
                raise SpecError(f"recipe {recipe.name!r}: masks are given, expected tensors")
            if rules:
                raise SpecError(f"tensor_names {rules[0]!r}: expected tensors, whose names it says")
            return Synthetic(self.seed)
        if isinstance(self.tensors, Mapping):
            held: Path | InMemory = InMemory(self.tensors)
        elif not isinstance(self.tensors, str | Path):
            what = type(self.tensors).__name__
            raise SpecError(f"tensors: {what}, expected a path, or tensors by name")
        else:
            held = Path(self.tensors)
            if not held.exists():
                raise SpecError(f"tensors {self.tensors}: no such file")
        if self.tp > 1:
            raise SpecError(f"tensors {held}: expected none, tp is {self.tp}: drawn")
        return TensorFile(held, rules)


@dataclass(frozen=True, kw_only=True)
class Point(Job):
    """Everything that one run depends on; the defaults are those of the command line."""

    phases: Annotated[
        Sequence[str],
        Keyword(
            "forward, backward or update; none: all that the scenario has.",
            also="or one of them",
            option="phase",
            metavar="PHASE",
            choices=PHASES,
        ),
    ] = ()
    layers: Annotated[
        str, Keyword("A glob over the names of layers.", option="layer", metavar="GLOB")
    ] = "*"
    compare: Annotated[
        bool,
        Keyword(
            "Simulate each GEMM dense too, to tell what it gains.",
            apart="what a sweep draws is the speed-up",
        ),
    ] = True
    cost: Annotated[
        bool,
        Keyword(
            "Tell each GEMM's energy by component, from what the model counts (columns energy_*)."
        ),
    ] = False
    technology: Annotated[
        str | Path,
        Keyword(
            "Whose figures price the energy (`nmsim list technologies`) or a YAML file; GPUs have "
            "published figures of their own.",
            metavar="T",
        ),
    ] = DEFAULT
    sample: Annotated[
        int | None,
        Keyword(
            "On an intersecting array, run about so many folds of each GEMM instead of all, and "
            "say the 95% confidence interval.",
            metavar="FOLDS",
            least=2,
            expected="two folds or more",
            apart="most machines of a sweep have nothing to sample, and refuse it",
        ),
    ] = None

    @property
    def priced(self) -> str:
        """The technology whose figures price the energy; "" where nobody asks.

        Raises
        ------
        UnknownName, SpecError
            for a technology that is none, whether or not it is asked for.
        """
        if self.cost or self.technology != DEFAULT:
            load_technology(self.technology)
        return str(self.technology) if self.cost else ""

    def sparse_gemms(self, workload: Workload | None = None) -> Iterator[SparseGemm]:
        """The GEMMs of the point and their masks.

        Parameters
        ----------
        workload
            The point's, if it has been loaded.
        """
        yield from (workload or self.workload).sparse_gemms(
            self.setting, phases=self.wanted, names=self.layers
        )

    def works(self, workload: Workload | None = None) -> Iterator[SparseGemm]:
        """What the point's machine runs: its GEMMs, or one for a phase of fused attention."""
        known = workload or self.workload
        return as_run(
            known.shared(self.setting, self.wanted, self.layers),
            self.machine,
            known.layers,
            self.at_once,
            known.scenario,
            self._unasked(known),
        )

    def _unasked(self, workload: Workload) -> Iterator[SparseGemm]:
        """GEMMs of attention in phases that are not asked for: masks there say how it runs."""
        known = {layer.name for layer in workload.layers if isinstance(layer, AttentionLayer)}
        phases = [phase for phase in self.asked.phases if phase not in self.wanted]
        if not (known and phases):
            return
        layers, setting, names = workload.layers, self.setting, self.layers
        works = sparse_gemms(layers, setting, phases=phases, names=names, counted=False)
        yield from (work for work in works if work.gemm.layer in known)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The phases that are asked for and that the scenario has."""
        named = (self.phases,) if isinstance(self.phases, str) else tuple(self.phases)
        return named or self.asked.phases


def rows(point: Point, workload: Workload | None = None) -> Iterator[Row]:
    """The result rows of a point, one per GEMM, as they are simulated.

    Parameters
    ----------
    workload
        To be run instead of the point's: some of its layers.
    """
    for columns in tables(point, workload):
        names = tuple(columns)
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(names, values, strict=True))


def tables(point: Point, workload: Workload | None = None) -> Iterator[Columns]:
    """The result rows of a point column by column, some GEMMs at a time (``rows``)."""
    machine, workload = point.machine, workload or point.workload
    runs = Runs(machine, point.fidelity, point.compare, _sample(machine, point), point.priced)
    beside = BesideGemms(machine, workload, point.setting, point.samples, point.tp)
    for works in runs.some(point.works(workload)):
        yield runs.columns(works) | beside.columns(works, estimated=point.elementwise)
        for work in works:
            work.release()


def _sample(machine: Machine, point: Point) -> Sample | None:
    if point.sample is None:
        return None
    if not kind_of(machine).samples(machine, point.fidelity):
        raise SpecError(
            f"sample is {point.sample}, expected none: {machine.name}, {point.fidelity}, does not "
            "run folds from the bits of two masks"
        )
    return Sample(point.sample, point.seed)
