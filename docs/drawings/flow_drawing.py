"""The flow from YAML files to a page: what becomes of a network, a recipe and a machine."""

from typing import NamedTuple

from drawn import COLOURS, MUTED, WIDTH, canvas, styled, svg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

__all__ = ["BOXES", "Box", "flow_svg"]

TITLE = "From YAML files to a page"
HEIGHT = 716
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
    def height(self) -> float:
        """Points that all lines take, and the room around them."""
        beside = bool(self.where) and self.width <= ONE  # in a wide box it stands at the right
        return LINE * (1 + beside + len(self.lines)) + 16


FIRST, SECOND, THIRD, ONE, TWO = 18, 222, 426, 196, 400
FILE, MADE, MODEL, SEEN = COLOURS["sky"], COLOURS["teal"], COLOURS["indigo"], COLOURS["rose"]

BOXES = {
    "network": Box("network", "models/*.yaml", ("layers, one by one",), FIRST, 58, ONE, FILE),
    "recipe": Box("recipe", "recipes/*.yaml", ("what is pruned, when",), SECOND, 58, ONE, FILE),
    "machine": Box("machine", "KIND/catalog/*.yaml", ("what it runs on",), THIRD, 58, ONE, FILE),
    "gemms": Box(
        "GEMMs", "network/", ("forward, backward,", "update; K is last"), FIRST, 164, ONE, MADE
    ),
    "masks": Box(
        "masks", "pruning/, recipes/", ("a promise first,", "bits when asked for"),
        SECOND, 164, ONE, MADE,
    ),
    "kind": Box(
        "kind of machine", "machines/KIND/", ("schema, engines,", "storage of operands"),
        THIRD, 164, ONE, MODEL,
    ),
    "sparse": Box(
        "sparse GEMM", "mask", ("sizes and two masks: all that an engine sees",),
        FIRST, 288, TWO, MADE,
    ),
    "engine": Box(
        "engine", "machines/KIND/",
        (
            "cycle: folds through memory, warps of a tile, bit by bit where needed",
            "analytical: closed forms; they share the choice of what runs",
        ),
        FIRST, 394, 604, MODEL,
    ),
    "rows": Box(
        "rows", "run/", ("cycles, bytes, bound; speed-up", "against the dense twin"),
        FIRST, 518, 298, SEEN,
    ),
    "step": Box(
        "the step beside them", "step/", ("making masks, elementwise", "work, memory"),
        324, 518, 298, SEEN,
    ),
    "page": Box(
        "page", "report/",
        ("index.html, results.csv, manifest.json: all that it takes to run it again",),
        FIRST, 642 - 2, 604, SEEN,
    ),
}  # fmt: skip

ARROWS = (
    ("network", "gemms"), ("recipe", "masks"), ("machine", "kind"), ("gemms", "masks"),
    ("gemms", "sparse"), ("masks", "sparse"), ("sparse", "engine"), ("kind", "engine"),
    ("engine", "rows"), ("engine", "step"), ("rows", "page"), ("step", "page"),
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
    wide = box.width > ONE
    if not wide:
        texts.append((box.where, {"color": MUTED}))
    texts += [(line, {}) for line in box.lines]
    for number, (text, how) in enumerate(texts):
        at = 1 - (box.top + 21 + LINE * number) / HEIGHT
        figure.text(left, at, text, **how)
    if wide:
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
