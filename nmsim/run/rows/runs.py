"""Sparse GEMMs run on a machine, those that are alike once, and the columns of their rows."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from nmsim.machines import Machine, Sample, dense_runs, kind_of, simulate_all
from nmsim.mask import Mask, SparseGemm
from nmsim.result import Columns, Result
from nmsim.run.rows.energy import energies
from nmsim.run.rows.row import Dense, GemmRun, by_format, gemm_columns

__all__ = ["Runs"]

_KNOWN = 4096
"""Unlike GEMMs that a run remembers, some 10 MB."""

_AT_ONCE = 512
"""GEMMs that closed forms take together; what is simulated goes one by one, to be seen to go on."""

_BITS = 1 << 30
"""Of the masks of such GEMMs, 128 MiB; those of a larger mask are made alone."""


@dataclass(frozen=True)
class Runs:
    """What runs GEMMs on a machine, and remembers those that no mask's bits tell apart.

    Parameters
    ----------
    machine
        As it was asked for.
    compare
        Run each GEMM dense, too.
    technology
        Whose figures price the energy of GEMMs; "": nobody asks for it.
    """

    machine: Machine
    fidelity: str
    compare: bool = True
    sample: Sample | None = None
    technology: str = ""
    known: dict[Hashable, GemmRun] = field(default_factory=dict)

    def some(self, works: Iterable[SparseGemm]) -> Iterator[list[SparseGemm]]:
        """GEMMs in lists to run together, whose masks' bits, if they are made, fit in memory."""
        most = _AT_ONCE if self.fidelity == "analytical" and self.sample is None else 1
        some: list[SparseGemm] = []
        bits = 0
        for work in works:
            own = sum(mask.rows * mask.k for mask in (work.a, work.b) if not _counted(mask))
            if some and (len(some) == most or bits + own > _BITS):
                yield some
                some, bits = [], 0
            some.append(work)
            bits += own
        if some:
            yield some

    def columns(self, works: Sequence[SparseGemm]) -> Columns:
        """The columns of ``gemm_columns``, a value for each GEMM."""
        keys = [self._key(work) for work in works]
        new = {key: work for key, work in zip(keys, works, strict=True) if key not in self.known}
        ran = dict(zip(new, self._run(list(new.values())), strict=True))
        found = {key: ran.get(key) or self.known[key] for key in dict.fromkeys(keys)}
        if len(self.known) < _KNOWN:
            self.known.update((key, run) for key, run in ran.items() if not isinstance(key, int))
        place = {key: number for number, key in enumerate(found)}
        at = [place[key] for key in keys]
        runs = list(found.values())
        columns = gemm_columns(self.machine, runs) | energies(self.technology, runs)
        columns["layer"] = [work.gemm.layer for work in works]
        several = len(found) < len(works)
        return {
            name: [values[i] for i in at] if several and name != "layer" else values
            for name, values in columns.items()
        }

    def _key(self, work: SparseGemm) -> Hashable:
        """What a row follows from, but for its layer's name; an own number where bits count."""
        masked = [mask for mask in (work.a, work.b) if not mask.is_dense]
        counted = all(map(_counted, masked))
        if work.dense_as is not None or len(masked) > 1 or not counted:
            return id(work)
        if masked and not kind_of(self.machine).by_promise(self.machine, work):
            return id(work)
        return work.in_step, work.number_format, work.note

    def _run(self, works: Sequence[SparseGemm]) -> list[GemmRun]:
        kind = kind_of(self.machine)
        own = kind.in_format(self.machine, "").machine
        found: dict[int, GemmRun] = {}
        for wanted, numbers in by_format(works).items():
            ran, some = kind.in_format(self.machine, wanted), [works[n] for n in numbers]
            results = simulate_all(ran.machine, some, self.fidelity, self.sample)
            dense = self._dense(own, ran.machine, some, results)
            runs = (GemmRun(w, ran, r, d) for w, r, d in zip(some, results, dense, strict=True))
            found |= dict(zip(numbers, runs, strict=True))
        return [found[number] for number in range(len(works))]

    def _dense(
        self, own: Machine, ran: Machine, works: Sequence[SparseGemm], results: Sequence[Result]
    ) -> Sequence[Dense | None]:
        """The GEMMs with nothing pruned in the machine's own format, and in another that they ran.

        What ran without masks in the machine's own format is its own dense run.
        """
        if not self.compare:
            return [None] * len(works)
        same = ran == own
        plain = [same and _is_plain(work) for work in works]
        others = [work for work, dense in zip(works, plain, strict=True) if not dense]
        runs = iter(dense_runs(own, others, self.fidelity))
        in_format = [None] * len(works) if same else dense_runs(ran, works, self.fidelity)
        return [
            Dense(result if dense else next(runs), other)
            for dense, result, other in zip(plain, results, in_format, strict=True)
        ]


def _counted(mask: Mask) -> bool:
    """Whether what a mask keeps is known without its bits."""
    return mask.is_dense or mask.regular or mask.known_kept is not None


def _is_plain(work: SparseGemm) -> bool:
    """Whether a GEMM is its own dense run."""
    dense = work.a.is_dense and work.b.is_dense
    return dense and work.dense_as is None and work.k == work.gemm.k
