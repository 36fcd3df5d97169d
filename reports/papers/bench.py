"""The machines that measures run on: those of the catalog, or the same with a mechanism changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from nmsim.machines import Machine, load_hardware
from nmsim.machines.gpu.schema import Gpu
from nmsim.spec import Spec
from reports.papers.csr import CsrCosts

__all__ = ["AS_IS", "Bench", "Change"]


class Change(Spec):
    """Fields of machines of a kind, or of what a CSR call costs, that are other than they are."""

    kind: Literal["gpu", "systolic", "csr"] = Field(description="whose fields they are")
    fields: tuple[str, ...] = Field(
        description="dotted paths, an entry of a list by * or by a text of it; "
        "what a machine lacks is passed over"
    )
    times: float | None = Field(None, description="what they are multiplied by")
    to: Any = Field(None, description="what they become, where `times` and `like` are not given")
    like: str = Field("", description="the field beside each whose value it takes")

    def of(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of one machine that change, by dotted path, with their new values."""
        return {
            path: self._value(value, beside)
            for pattern in self.fields
            for path, value, beside in _found(document, pattern.split("."))
            if value is not None or self.sets
        }

    @property
    def sets(self) -> bool:
        """Whether fields become a value, whatever they are now."""
        return self.times is None and not self.like

    def _value(self, value: Any, beside: Mapping[str, Any]) -> Any:
        if self.like:
            return beside[self.like]
        return self.to if self.times is None else value * self.times


def _found(
    tree: Any, names: list[str], at: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Path, value and siblings of every field that there is; an entry of a list has its texts."""
    head, *rest = names
    if isinstance(tree, list | tuple):
        for index, entry in enumerate(tree):
            if head == "*" or head in entry.values():
                yield from _found(entry, rest, (*at, str(index)))
    elif isinstance(tree, Mapping) and head in tree:
        if rest:
            yield from _found(tree[head], rest, (*at, head))
        else:
            yield ".".join((*at, head)), tree[head], tree


@dataclass(frozen=True)
class Bench:
    """Machines by name, and what a CSR call costs, with changes if there are any."""

    changes: tuple[Change, ...] = ()

    def machine(self, name: str | Path, **own: Any) -> Machine:
        """A machine of the catalog, or of a file, with fields of its own, as it is here."""
        found: Machine = load_hardware(name, **own)
        document = found.model_dump()
        fields: dict[str, Any] = {}
        for change in self.changes:
            if change.kind == document["kind"]:
                fields |= change.of(document)
        changed: Machine = load_hardware(found, **fields) if fields else found
        return changed

    def gpu(self, name: str | Path, **own: Any) -> Gpu:
        """A machine that is a GPU."""
        found = self.machine(name, **own)
        if not isinstance(found, Gpu):
            raise TypeError(f"{name}: expected a GPU")
        return found

    @property
    def csr(self) -> CsrCosts:
        """What a CSR call costs beside its kernel."""
        costs = CsrCosts()
        changes = {
            path: value
            for change in self.changes
            if change.kind == "csr"
            for path, value in change.of(costs._asdict()).items()
        }
        return costs._replace(**changes)


AS_IS = Bench()
"""Nothing is changed."""
