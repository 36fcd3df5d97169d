"""The page of a machine of the catalog."""

from typing import Any, NamedTuple

from figures import read_figures
from page_parts import bullets, command, plain, table

from nmsim.machines import Machine, kind_of, load_hardware

__all__ = ["machine_page"]


class Held(NamedTuple):
    """What a machine was held against, and what it is not good for."""

    against: str
    not_for: tuple[str, ...]


ARRAY = Held(
    """Cycles and products equal a simulation of every processing element on small arrays, the
memory pipeline equals a simulation of events, and a stall-free dense array counts as SCALE-Sim 3
does where it is set to ([Next to SCALE-Sim](../../scale-sim.md)). **No measured time of a chip
stands behind it.**""",
    (
        """absolute times of a chip that exists: what is around the array (hosts, launches, vector
  units) is estimated from bytes or left out""",
        """what placement and wiring do to clock and area: cells are counted as synthesis finds
  them, wires are estimated ([What sparsity costs in silicon](../../silicon.md))""",
    ),
)
IDEAL = Held(
    "Nothing: it is arithmetic. Time is MACs issued over the peak.",
    ("a prediction of any hardware: it says what masks could gain, not what is gained",),
)
OF_KIND = {"systolic": ARRAY, "ideal": IDEAL}
OF_GPUS = (
    "the layouts of backward and update phases: all measured GEMMs are of the forward kind",
    """libraries, drivers and clocks other than those of the tables; a row's `evidence` says how
  near it stands ([evidence](../../evidence.md))""",
)


def machine_page(name: str) -> list[str]:
    """What it is, from where, what it was measured against, what it is not good for."""
    machine: Any = load_hardware(name)
    facts = [("kind", machine.kind), ("peak", f"{machine.peak_macs:,.0f} MACs a cycle")]
    facts += [("clock", f"{machine.clock_mhz:,.0f} MHz")] if hasattr(machine, "clock_mhz") else []
    facts += [("memory", f"{machine.capacity_gib:g} GiB")] if machine.capacity_gib else []
    facts += [("based on", machine.based_on)] if machine.based_on else []
    own = kind_of(machine).facts(machine)
    facts += [each for each in own if each[0] not in ("measured", "evidence")]
    held = OF_KIND[machine.kind] if machine.kind in OF_KIND else _gpu(machine)
    return [
        table(facts),
        f"All fields, with units: `nmsim show hardware {name}`.",
        "## From where",
        f"{plain(machine.source)}.",
        "## What it was measured against",
        held.against,
        "## What it is not good for",
        bullets(held.not_for),
        "## Run it",
        command(f"nmsim simulate gemm:2048x2048x2048 --hardware {name} --recipe asp"),
    ]


def _gpu(machine: Machine) -> Held:
    name = machine.name
    measured = [*_gemms(name), *_attention(name)]
    if machine.unfitted:
        measured.append(f"**Not measured.** {plain(machine.unfitted)}.")
    elif not measured:
        measured.append(
            "No measured table that ships is of it; its constants come from where its source says."
        )
    unfitted = "differences smaller than that: no time of this GPU was fitted to"
    lacks = [
        f"{what} in {number_format}"
        for number_format, on, what in map(_lack, read_figures()["unmeasured"])
        if on == name
    ]
    not_for = [unfitted] if machine.unfitted else []
    not_for += [f"what nobody has measured on it: {'; '.join(lacks)}"] if lacks else []
    return Held("\n\n".join(measured), (*not_for, *OF_GPUS))


def _lack(said: str) -> tuple[str, str, str]:
    """Number format, machine and patterns of a line such as ``bf16 on h200: 2:4``."""
    where, _, what = said.partition(": ")
    number_format, _, machine = where.partition(" on ")
    return number_format, machine, what


def _gemms(name: str) -> list[str]:
    rows = [
        f"| `{key}` | {one['rows']:,} | {one['mape']:.1f} | {one['median']:.1f} | "
        f"{one['p90']:.1f} | {one['bias']:+.1f} |"
        for key, one in read_figures()["tables"].items()
        if one["machine"] == name
    ]
    head = ["| table | rows | MAPE | median | p90 | bias |", "|---|--:|--:|--:|--:|--:|"]
    said = (
        "Measured times of GEMMs that ship with nmsim, and how far the closed form is off, in "
        "percent (`nmsim validate`):"
    )
    return [said, "\n".join([*head, *rows])] if rows else []


def _attention(name: str) -> list[str]:
    rows = [
        f"| {one['library']} | {one['kind']} | {one['held_out']['rows']:,} | "
        f"{one['held_out']['mape']:.1f} |"
        for one in read_figures()["attention"]
        if one["machine"] == name
    ]
    head = ["| library | kind | rows | MAPE |", "|---|---|--:|--:|"]
    said = "Measured fused attention, heads that no fit has seen, in percent:"
    return [said, "\n".join([*head, *rows])] if rows else []
