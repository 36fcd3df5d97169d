"""The flow from YAML files to a page: what becomes of a network, a recipe and a machine."""

from typing import NamedTuple

from drawn import COLOURS, MUTED, WIDTH, canvas, styled, svg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

__all__ = ["BOXES", "Box", "flow_svg"]

TITLE = "From YAML files to a page"
HEIGHT = 632
LINE = 18


class Box(NamedTuple):
    """A thing on its way: its name, where it is made, what it holds; its place in points."""

    name: str
    where: str
    lines: tuple[str, ...]
    left: float
    top: float
    width: float
    colour: str

    @property
    def wide(self) -> bool:
        """Whether there is room beside the name for where it is made."""
        return self.width > ONE

    @property
    def height(self) -> float:
        """Of all lines and the room around them."""
        return LINE * (len(self.lines) + (1 if self.wide else 2)) + 16


FIRST, SECOND, THIRD, ONE, TWO, ALL = 18, 226, 434, 188, 396, 604
FILE, MADE, MODEL, SEEN = COLOURS["sky"], COLOURS["teal"], COLOURS["indigo"], COLOURS["rose"]

BOXES = {
    "network": Box("network", "models/*.yaml", ("layers, one by one",), FIRST, 54, ONE, FILE),
    "recipe": Box("recipe", "recipes/*.yaml", ("what is pruned, when",), SECOND, 54, ONE, FILE),
    "machine": Box("machine", "KIND/catalog/*.yaml", ("what it runs on",), THIRD, 54, ONE, FILE),
    "gemms": Box(
        "GEMMs", "network/", ("forward, backward,", "update; K is last"), FIRST, 152, ONE, MADE
    ),
    "masks": Box(
        "masks",
        "pruning/, recipes/",
        ("a promise first,", "bits when asked for"),
        SECOND,
        152,
        ONE,
        MADE,
    ),
    "kind": Box(
        "kind of machine",
        "machines/KIND/",
        ("schema, engines,", "storage of operands"),
        THIRD,
        152,
        ONE,
        MODEL,
    ),
    "sparse": Box(
        "sparse GEMM, on a machine",
        "mask/",
        ("sizes and two masks: all that a model is told of work",),
        FIRST,
        268,
        ALL,
        MADE,
    ),
    "engine": Box(
        "engine",
        "machines/KIND/",
        (
            "cycle: folds through memory, warps of a tile",
            "analytical: closed forms",
            "both: one answer to how operands are stored",
        ),
        FIRST,
        348,
        TWO,
        MODEL,
    ),
    "step": Box(
        "beside the GEMMs", "step/", ("making masks,", "memory and more"), THIRD, 348, ONE, MODEL
    ),
    "rows": Box(
        "rows",
        "run/",
        ("cycles, bytes, what binds; speed-up over", "the same GEMM dense"),
        FIRST,
        464,
        TWO,
        SEEN,
    ),
    "page": Box(
        "page",
        "report/",
        ("index.html, results.csv, and manifest.json to run it again",),
        FIRST,
        562,
        ALL,
        SEEN,
    ),
}

ARROWS = (
    ("network", "gemms"), ("recipe", "masks"), ("machine", "kind"), ("gemms", "masks"),
    ("gemms", "sparse"), ("masks", "sparse"), ("kind", "sparse"), ("sparse", "engine"),
    ("sparse", "step"), ("engine", "rows"), ("rows", "page"), ("step", "page"),
)  # fmt: skip


def _box(figure: Figure, box: Box) -> None:
    bottom = 1 - (box.top + box.height) / HEIGHT
    figure.add_artist(
        FancyBboxPatch(
            (box.left / WIDTH, bottom), box.width / WIDTH, box.height / HEIGHT,
            boxstyle="square,pad=0", mutation_aspect=WIDTH / HEIGHT,
            facecolor="#F5F7F9", edgecolor="#D5DAE1", linewidth=1,
        )
    )  # fmt: skip
    figure.add_artist(
        FancyBboxPatch(
            (box.left / WIDTH, bottom), 5 / WIDTH, box.height / HEIGHT,
            boxstyle="square,pad=0", facecolor=box.colour, edgecolor="none",
        )
    )  # fmt: skip
    left = (box.left + 15) / WIDTH
    texts = [(box.name, {"fontweight": "bold"})]
    if not box.wide:
        texts.append((box.where, {"color": MUTED}))
    texts += [(line, {}) for line in box.lines]
    for number, (text, how) in enumerate(texts):
        at = 1 - (box.top + 21 + LINE * number) / HEIGHT
        figure.text(left, at, text, **how)
    if box.wide:
        at = 1 - (box.top + 21) / HEIGHT
        right = (box.left + box.width - 12) / WIDTH
        figure.text(right, at, box.where, color=MUTED, ha="right")


def _ends(one: Box, other: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow leaves a box and where it meets the next: below it, or at its side."""
    if one.top == other.top:
        at = one.top + one.height / 2
        return (one.left + one.width, at), (other.left, at)
    shared = max(one.left, other.left) + min(one.left + one.width, other.left + other.width)
    return (shared / 2, one.top + one.height), (shared / 2, other.top)


def _arrow(figure: Figure, one: Box, other: Box) -> None:
    ends = (((x / WIDTH), 1 - y / HEIGHT) for x, y in _ends(one, other))
    figure.add_artist(
        FancyArrowPatch(
            *ends, arrowstyle="-|>", mutation_scale=11, shrinkA=0, shrinkB=1,
            color=MUTED, linewidth=1.3,
        )
    )  # fmt: skip


def flow_svg() -> str:
    """The whole drawing."""
    with styled():
        figure = canvas(HEIGHT, TITLE)
        for box in BOXES.values():
            _box(figure, box)
        for one, other in ARROWS:
            _arrow(figure, BOXES[one], BOXES[other])
        return svg(figure, TITLE)
