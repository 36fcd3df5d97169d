"""What is simulated: a network, a trace, a table of GEMMs, or one GEMM; as sparse GEMMs."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from nmsim.errors import SpecError
from nmsim.files import once_per_content, remembered
from nmsim.gemm import Gemm
from nmsim.importing import imported, importer_of
from nmsim.mask import SparseGemm
from nmsim.network.catalog import MODELS, Network, load_model
from nmsim.network.layer import Bare, Layer
from nmsim.network.parallel import Split, split_of
from nmsim.network.scenario import TRAINING, Scenario
from nmsim.network.scenario import Sequence as TokenSequence
from nmsim.network.tensors import Synthetic
from nmsim.recipes.masking import Setting, sparse_gemms
from nmsim.registry import unknown_name
from nmsim.run.trace import Trace, verify
from nmsim.run.trace import load as load_trace

__all__ = ["Model", "Workload", "load_workload"]

Model = str | Path | Trace | Sequence[Gemm] | Sequence[SparseGemm]
"""A network's name, a path (YAML, a trace, a file of another tool), ``gemm:MxNxK``, a trace in
memory, or GEMMs, all without masks or all with them."""

_ONE_GEMM = re.compile(r"gemm:([0-9]{1,18})x([0-9]{1,18})x([0-9]{1,18})")


@dataclass(frozen=True, eq=False)
class Workload:
    """GEMMs that wait for masks (a network, bare GEMMs) or have them (a trace).

    Parameters
    ----------
    name
        As the user spelt it.
    source
        Where its shapes come from.
    layers
        Layers or bare GEMMs.
    trace
        A trace instead.
    scenario
        What a network is run for.
    idle
        Layers of the network that run in training and not in the scenario.
    sequence
        Tokens that the network reads; None: it says none.
    splits
        How layers are split, by name, over the machines that share the network; none: one has it.
    batch
        Samples of a step that says nothing of them; None: those of the scenario.
    """

    name: str
    source: str
    layers: Sequence[Layer | Bare] = ()
    _: KW_ONLY
    trace: Trace | None = None
    scenario: Scenario = TRAINING
    idle: Sequence[Layer] = ()
    sequence: TokenSequence | None = None
    splits: Mapping[str, Split] = field(default_factory=dict)
    batch: int | None = None

    @property
    def given(self) -> bool:
        """Whether it is GEMMs by their sizes, without a network."""
        return self.trace is None and any(isinstance(layer, Bare) for layer in self.layers)

    @property
    def default_batch(self) -> int:
        """Samples in a step that says nothing of them; GEMMs that are given hold theirs."""
        if self.trace is not None or self.given:
            return 1
        return self.batch or self.scenario.samples

    def sparse_gemms(
        self, setting: Setting, *, phases: Sequence[str] | None = None, names: str = "*"
    ) -> Iterator[SparseGemm]:
        """The GEMMs and their masks; a trace brings its own, whatever the setting.

        Raises
        ------
        UnknownName
            if no layer's name matches the glob.
        SpecError
            if those that do have no GEMM in the phases, or the scenario has not all of these.
        """
        self._check(phases)
        known = [w.gemm.layer for w in self.trace.gemms] if self.trace else self._names
        if not any(fnmatchcase(name, names) for name in known):
            raise unknown_name("layer", names, set(known))
        found = False
        for work in self._selected(setting, phases, names):
            found = True
            yield work
        if not found:
            raise SpecError(f"model {self.name}: layers {names!r} have no {_or(phases)} GEMM")

    def shared(
        self, setting: Setting, phases: Sequence[str] | None = None, names: str = "*"
    ) -> Iterator[SparseGemm]:
        """The GEMMs and their masks, the same objects for every run of the same masks.

        What was counted of a mask once is known to the next run, whatever its machine. Who has done
        with one lets go of its bits (``SparseGemm.release``).
        """
        drawn = isinstance(setting.tensors, Synthetic)
        if self.trace is not None or not drawn or len(self.layers) > _MOST_LAYERS:
            return self.sparse_gemms(setting, phases=phases, names=names)
        wanted = None if phases is None else tuple(phases)
        return iter(_shared(self, setting, wanted, names))

    def _check(self, phases: Sequence[str] | None) -> None:
        missing = sorted(set(phases or ()) - set(self.scenario.phases))
        if missing:
            raise SpecError(
                f"phase is {missing[0]!r}, expected forward alone in scenario {self.scenario.name}"
            )

    def _selected(
        self, setting: Setting, phases: Sequence[str] | None, names: str
    ) -> Iterator[SparseGemm]:
        if self.trace is None:
            yield from sparse_gemms(self.layers, setting, phases=phases, names=names)
            return
        if setting.batch not in (1, self.trace.provenance.get("batch")):
            raise SpecError(
                f"model {self.name}: batch is {setting.batch}, expected none: a trace has the "
                "samples that it was recorded of"
            )
        for work in self.trace.gemms:
            wanted = phases is None or work.gemm.phase in phases
            if wanted and fnmatchcase(work.gemm.layer, names):
                verify(work)
                yield work

    @property
    def _names(self) -> list[str]:
        return [layer.name for layer in self.layers]


_MOST_LAYERS = 1024
"""Of a workload whose GEMMs are kept for the next run, some 10 MB."""


@remembered(maxsize=8)
def _shared(
    workload: Workload, setting: Setting, phases: tuple[str, ...] | None, names: str
) -> tuple[SparseGemm, ...]:
    return tuple(workload.sparse_gemms(setting, phases=phases, names=names))


def _or(phases: Sequence[str] | None) -> str:
    return " or ".join(phases or ())


def load_workload(
    model: Model, scenario: Scenario = TRAINING, tp: int = 1, *, block_by_block: bool = False
) -> Workload:
    """Find out what is to be simulated.

    Parameters
    ----------
    tp
        Machines that share the network; layers are one machine's part of them.
    block_by_block
        One layer for each of a network's identical blocks, whose tensors differ.

    Raises
    ------
    UnknownName, SpecError, TraceError
        for a name that does not exist, a file that cannot be used, or a scenario or a split that a
        network does not have, as GEMMs that are given have none but training, whole.
    """
    if (given := _given(model)) is None:
        name = cast(str | Path, model)
        return _of_network(name, scenario, tp, block_by_block=block_by_block)
    if tp != 1:
        raise SpecError(
            f"model {given.name}: tp is {tp}, expected 1: GEMMs that are given are whole"
        )
    for name, value in scenario.learning.said.items():
        raise SpecError(
            f"model {given.name}: {name} is {value}, expected none: GEMMs that are given are "
            "what is run"
        )
    if scenario != TRAINING:
        raise SpecError(
            f"model {given.name}: scenario is {_told(scenario)}, expected train alone: "
            "GEMMs that are given have their sizes"
        )
    return given


@once_per_content
def _of_network(
    model: str | Path, scenario: Scenario, tp: int, *, block_by_block: bool
) -> Workload:
    network: Network = load_model(model)
    if tp != 1 and scenario.trains:
        raise SpecError(
            f"tp is {tp}, expected 1 in scenario train: parts infer, prefill and decode"
        )
    layers = network.shared(network.at(scenario, block_by_block=block_by_block), tp)
    running, every = {layer.name for layer in layers}, network.at(block_by_block=block_by_block)
    idle = [layer for layer in every if layer.name not in running]
    splits = {layer.name: split_of(layer, network.tensor_parallel) for layer in layers}
    return Workload(
        network.name,
        network.source,
        layers,
        scenario=scenario,
        idle=network.shared(idle, tp),
        sequence=network.sequence,
        splits={name: split for name, split in splits.items() if split is not None and tp > 1},
        batch=network.batch,
    )


def _told(scenario: Scenario) -> str:
    sizes = {"tokens": scenario.tokens, "context": scenario.context}
    said = [f"{name} {value}" for name, value in sizes.items() if value is not None]
    return ", ".join([scenario.name, *said])


def _given(model: Model) -> Workload | None:
    """What brings GEMMs of its own; None: it is a network."""
    if isinstance(model, Trace):
        if not model.gemms:
            raise SpecError("model: a trace without a GEMM, expected one at least")
        return Workload("trace", "a trace", trace=model)
    if not isinstance(model, str | Path):
        return _listed(model)
    text = str(model)
    if text.startswith("gemm:"):
        return Workload(text, "given as M x N x K", [Bare(_one_gemm(text))])
    path = Path(text)
    if _is_trace(path):
        return Workload(text, "a trace", trace=load_trace(path))
    importer = importer_of(path)
    if importer is None or importer.gives != "gemms" or text in MODELS:
        return None
    return Workload(text, "a table of GEMMs", imported(path, ("gemms",)).content)


def _is_trace(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and the header, JSON."""
    if path.suffix.lower() == ".safetensors":
        return True
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except (OSError, ValueError):
        return False
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40


def _listed(model: Any) -> Workload:
    """GEMMs in memory: by size, or all of them with masks."""
    gemms = list(model) if isinstance(model, Iterable) else []
    if gemms and all(isinstance(one, Gemm) for one in gemms):
        return Workload("gemms", "given as GEMMs", [Bare(gemm) for gemm in gemms])
    if gemms and all(isinstance(one, SparseGemm) for one in gemms):
        return Workload("gemms", "given with masks", trace=Trace(gemms))
    if any(one.__module__.partition(".")[0] == "torch" for one in type(model).__mro__):
        raise SpecError(
            f"model: {type(model).__name__} is a module of PyTorch, expected what it multiplies: "
            "nmsim.torch.record(step, model) makes a network of a step"
        )
    raise SpecError(
        "model: expected a name, a path, a Trace, or a list of Gemm or of SparseGemm, "
        f"one at least, not {type(model).__name__}"
    )


def _one_gemm(text: str) -> Gemm:
    match = _ONE_GEMM.fullmatch(text)
    if match is None:
        raise SpecError(f"model {text!r}: expected gemm:MxNxK, such as gemm:512x512x1024")
    m, n, k = map(int, match.groups())
    return Gemm(m, n, k)
