"""Areas of cells from a Liberty file, the format in which libraries of cells are handed out."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path

from nmsim.cost.bill import Cell
from nmsim.errors import SpecError
from nmsim.spec import read_text

__all__ = ["cells_of_liberty"]

_FUNCTIONS: Mapping[Cell, Callable[..., int]] = {
    "not": lambda a: 1 - a,
    "and2": lambda a, b: a & b,
    "or2": lambda a, b: a | b,
    "nand2": lambda a, b: 1 - (a & b),
    "nor2": lambda a, b: 1 - (a | b),
    "xor2": lambda a, b: a ^ b,
    "xnor2": lambda a, b: 1 - (a ^ b),
    "andnot": lambda a, b: a & (1 - b),
    "ornot": lambda a, b: a | (1 - b),
    "mux2": lambda a, b, s: b if s else a,
}

_INVERTING: Callable[..., int] = lambda a, b, s: 1 - (b if s else a)  # noqa: E731
"""A multiplexer that inverts: in a tree every other level does, so that it counts as one."""

_CELL = re.compile(r'\bcell\s*\(\s*"?(\w+)"?\s*\)\s*\{')
_AREA = re.compile(r"\barea\s*:\s*((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_FUNCTION = re.compile(r'\bfunction\s*:\s*"([^"]*)"')
_STATE = re.compile(r'\bnext_state\s*:\s*"\s*\(?\s*(\w+)\s*\)?\s*"')
_ODD = re.compile(r"\b(clear|preset|latch|statetable|three_state|test_cell)\b")


def cells_of_liberty(path: Path) -> dict[Cell, float]:
    """The smallest cell of each kind, by what its one output computes; flip-flops without reset.

    Raises
    ------
    SpecError
        if the file cannot be read, is no Liberty file, or lacks a flip-flop, a multiplexer or a
        gate; names what it lacks. What a multiplexer takes the place of is a cell of its own.
    """
    text = re.sub(r"/\*.*?\*/", "", read_text(path), flags=re.DOTALL)
    found: dict[Cell, float] = {}
    for name, body in _cells(text, path):
        area = _AREA.search(body)
        kind = _kind(body, f"{path}: cell {name}")
        if area and kind and float(area[1]) > 0:
            found[kind] = min(found.get(kind, float("inf")), float(area[1]))
    for needed in ("dff", "nand2"):
        if needed not in found:
            raise SpecError(f"{path}: expected a Liberty file with a cell {needed}")
    return {**_composed(found), **found}


def _cells(text: str, path: Path) -> Iterator[tuple[str, str]]:
    """Each cell's name, and what stands between its braces."""
    for match in _CELL.finditer(text):
        depth, at = 1, match.end()
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        if depth:
            raise SpecError(f"{path}: cell {match[1]}: a brace is open at the end of the file")
        yield match[1], text[match.end() : at]


def _kind(body: str, where: str) -> Cell | None:
    """What a cell is; None for one that nobody counts."""
    if _ODD.search(body):
        return None
    if re.search(r"\bff\s*\(", body):
        falling = re.search(r'\bclocked_on\s*:\s*"\s*\(?\s*[!~]', body) or "'\"" in body
        return "dff" if _STATE.search(body) and not falling else None
    functions = _FUNCTION.findall(body)
    if len(functions) != 1:
        return None
    if functions[0].count("(") != functions[0].count(")"):
        raise SpecError(f"{where}: function {functions[0]!r}, expected as many ( as )")
    return _computes(functions[0])


def _computes(function: str) -> Cell | None:
    """The cell of a Boolean function, whatever its inputs are called and in which order."""
    names = sorted(set(re.findall(r"[A-Za-z_]\w*", function)))
    if not 1 <= len(names) <= 3:
        return None
    truth = _truth(function, names)
    for kind, wanted in (*_FUNCTIONS.items(), ("mux2", _INVERTING)):
        if wanted.__code__.co_argcount == len(names) and any(
            truth == [wanted(*(row[i] for i in order)) for row in _rows(names)]
            for order in _orders(len(names))
        ):
            return kind
    return None


def _rows(names: list[str]) -> list[tuple[int, ...]]:
    return list(product((0, 1), repeat=len(names)))


def _orders(inputs: int) -> list[tuple[int, ...]]:
    return [one for one in product(range(inputs), repeat=inputs) if len(set(one)) == inputs]


def _truth(function: str, names: list[str]) -> list[int] | None:
    """Values of a function for all inputs; None if it is not understood."""
    try:
        return [
            _Parser(function, dict(zip(names, row, strict=True))).value() for row in _rows(names)
        ]
    except (IndexError, KeyError):
        return None


class _Parser:
    """Boolean expressions of Liberty: ! ' * & (or nothing) ^ + |, and brackets."""

    def __init__(self, text: str, values: Mapping[str, int]) -> None:
        self.tokens = [*re.findall(r"[A-Za-z_]\w*|[01]|[!'*&^+|()]", text), "end"]
        self.values = values

    def value(self) -> int:
        """Of the whole expression."""
        found = self._or()
        if self.tokens != ["end"]:
            raise KeyError(self.tokens[0])
        return found

    def _or(self) -> int:
        found = self._xor()
        while self.tokens[0] in "+|":
            self.tokens.pop(0)
            found |= self._xor()
        return found

    def _xor(self) -> int:
        found = self._and()
        while self.tokens[0] == "^":
            self.tokens.pop(0)
            found ^= self._and()
        return found

    def _and(self) -> int:
        found = self._not()
        while self.tokens[0] in "*&" or self.tokens[0] not in "+|^)end":
            if self.tokens[0] in "*&":
                self.tokens.pop(0)
            found &= self._not()
        return found

    def _not(self) -> int:
        word = self.tokens.pop(0)
        if word == "!":
            return 1 - self._not()
        if word == "(":
            found = self._or()
            if self.tokens.pop(0) != ")":
                raise KeyError(word)
        else:
            found = int(word) if word in "01" else self.values[word]
        while self.tokens[0] == "'":
            self.tokens.pop(0)
            found = 1 - found
        return found


def _composed(found: Mapping[Cell, float]) -> dict[Cell, float]:
    """Of cells that a library lacks, what gates take their place."""
    nand = found["nand2"]
    inverter = found.get("not", nand / 2)
    both = {"not": inverter, "and2": nand + inverter, "nor2": found.get("nor2", nand)}
    nor = both["nor2"]
    return {
        **both,  # type: ignore[dict-item]
        "or2": nor + inverter,
        "xor2": 4 * nand,
        "mux2": 3 * nand + inverter,
    }
