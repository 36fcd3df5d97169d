"""Arithmetic and comparisons over fields, as `derive` and `when` of an experiment have them.

Texts are parsed by Python's own grammar (``ast``) and turned into functions node by node; of the
grammar only what stands in `_BINARY`, `_COMPARED` and beside them is taken. Nothing is evaluated
by ``eval``, and no operator meets anything but numbers: a text cannot grow, nor a power explode.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from nmsim.errors import SpecError

__all__ = ["Expression", "parse"]

Values = Mapping[str, Any]
_Compute = Callable[[Values], Any]

_LONGEST = 1000
"""Characters of an expression: deep nesting of longer ones exhausts Python's parser."""

_MOST_BITS = 256
"""Of an integer that comes of a power or a product: beyond any field of a machine."""

_BINARY: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", operator.pow),
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_ORDERED: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}
_CALLED: dict[str, Callable[..., Any]] = {"min": min, "max": max}


@dataclass(frozen=True)
class Expression:
    """An expression: its text, and the names of the fields that it reads, in order.

    Call it with a mapping from these names to values.

    Raises
    ------
    SpecError
        where values do not allow what is asked of them: naming the field that it is said of, the
        column, and the value.

    Examples
    --------
    >>> parse("rows * 2", "derive.cols")({"rows": 64})
    128
    >>> parse("sram.a_kib >= rows and pattern != '4:8'", "when").fields
    ('sram.a_kib', 'rows', 'pattern')
    """

    text: str
    fields: tuple[str, ...]
    _compute: _Compute

    def __call__(self, values: Values) -> Any:
        """Its value for values of its fields."""
        return self._compute(values)


def parse(text: str, where: str) -> Expression:
    """Read an expression.

    Parameters
    ----------
    text
        Numbers, texts in quotes, names of fields (dotted), ``+ - * / // % **``, comparisons,
        ``in (…, …)``, ``and``, ``or``, ``not``, ``min(…)`` and ``max(…)``.
    where
        What it is said of, for messages: ``derive.cols``.

    Raises
    ------
    SpecError
        naming the field, the column and what was expected.
    """
    if len(text) > _LONGEST:
        raise SpecError(f"{where}: {len(text)} characters, expected {_LONGEST} at most")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise SpecError(f"{where}, column {error.offset or 1}: not an expression") from None
    except (ValueError, RecursionError, MemoryError):
        raise SpecError(f"{where}: not an expression") from None
    reader = _Reader(where, {})
    compute = reader.read(tree.body)
    return Expression(text, tuple(reader.fields), compute)


@dataclass(frozen=True)
class _Reader:
    """Turns nodes into functions; ``fields`` collects the names that they read."""

    where: str
    fields: dict[str, None]

    def read(self, node: ast.expr) -> _Compute:
        """The function of a node."""
        readers: dict[type[ast.expr], Callable[[Any], _Compute]] = {
            ast.Constant: self._constant,
            ast.Name: self._field,
            ast.Attribute: self._field,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._binary,
            ast.Compare: self._compared,
            ast.BoolOp: self._joined,
            ast.Call: self._called,
            ast.Tuple: self._several,
            ast.List: self._several,
        }
        reader = readers.get(type(node))
        if reader is None:
            self._refuse(node, "expected arithmetic and comparisons over fields")
        return reader(node)

    def _refuse(self, node: ast.AST, why: str) -> NoReturn:
        raise SpecError(f"{self.where}, column {getattr(node, 'col_offset', 0) + 1}: {why}")

    def _constant(self, node: ast.Constant) -> _Compute:
        value = node.value
        if value is not None and not isinstance(value, bool | int | float | str):
            self._refuse(node, f"{str(value)[:20]!r}, expected a number or a text")
        return lambda _: value

    def _field(self, node: ast.Name | ast.Attribute) -> _Compute:
        name = self._dotted(node)
        self.fields[name] = None
        return lambda values: values[name]

    def _dotted(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return node.id
        if not isinstance(node, ast.Attribute):
            self._refuse(node, "expected the name of a field before the dot")
        return f"{self._dotted(node.value)}.{node.attr}"

    def _unary(self, node: ast.UnaryOp) -> _Compute:
        inner = self.read(node.operand)
        if isinstance(node.op, ast.Not):
            return lambda values: not inner(values)
        if type(node.op) not in _UNARY:
            self._refuse(node, "expected +, - or not")
        apply = _UNARY[type(node.op)]
        return lambda values: apply(self._number(inner(values), node.operand))

    def _binary(self, node: ast.BinOp) -> _Compute:
        if type(node.op) not in _BINARY:
            self._refuse(node, "expected one of + - * / // % **")
        _, apply = _BINARY[type(node.op)]
        left, right = self.read(node.left), self.read(node.right)

        def compute(values: Values) -> Any:
            one = self._number(left(values), node.left)
            other = self._number(right(values), node.right)
            if _explodes(node.op, one, other):
                self._refuse(node, f"{one} and {other} give a number beyond any field")
            try:
                found = apply(one, other)
            except (ArithmeticError, ValueError):
                self._refuse(node, f"{one} and {other} have no value here")
            if isinstance(found, complex):
                self._refuse(node, f"{one} to the power of {other} is no real number")
            return found

        return compute

    def _number(self, value: Any, node: ast.expr) -> Any:
        if not isinstance(value, int | float):
            name = ast.unparse(node)
            self._refuse(node, f"{name} is {_shown(value)}, expected a number")
        return value

    def _compared(self, node: ast.Compare) -> _Compute:
        operands = [node.left, *node.comparators]
        parts = [self.read(one) for one in operands]
        tests = [self._test(op, at) for op, at in zip(node.ops, operands[1:], strict=True)]

        def compute(values: Values) -> bool:
            left = parts[0](values)
            for test, part, at in zip(tests, parts[1:], operands, strict=False):
                right = part(values)
                if not test(left, right, at):
                    return False
                left = right
            return True

        return compute

    def _test(self, op: ast.cmpop, right: ast.expr) -> Callable[[Any, Any, ast.expr], bool]:
        if type(op) in _ORDERED:
            _, ordered = _ORDERED[type(op)]
            return lambda one, other, at: ordered(self._number(one, at), self._number(other, right))
        if type(op) not in _COMPARED:
            self._refuse(right, "expected < <= > >= == != or in")
        if isinstance(op, ast.In | ast.NotIn) and not isinstance(right, ast.Tuple | ast.List):
            self._refuse(right, "expected a list: (…, …)")
        compared = _COMPARED[type(op)]
        return lambda one, other, _: compared(one, other)

    def _joined(self, node: ast.BoolOp) -> _Compute:
        parts = [self.read(one) for one in node.values]
        ends = isinstance(node.op, ast.Or)

        def compute(values: Values) -> Any:
            found: Any = None
            for part in parts:
                found = part(values)
                if bool(found) is ends:
                    return found
            return found

        return compute

    def _called(self, node: ast.Call) -> _Compute:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _CALLED or node.keywords or len(node.args) < 2:
            self._refuse(node, "expected min(…, …) or max(…, …)")
        apply = _CALLED[name]
        parts = [(self.read(one), one) for one in node.args]
        return lambda values: apply(*(self._number(part(values), at) for part, at in parts))

    def _several(self, node: ast.Tuple | ast.List) -> _Compute:
        parts = [self.read(one) for one in node.elts]
        return lambda values: tuple(part(values) for part in parts)


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)[:60]


def _explodes(op: ast.operator, one: Any, other: Any) -> bool:
    """Whether integers give one with more digits than any field has; Python would compute it."""
    if not (isinstance(one, int) and isinstance(other, int)):
        return False
    if isinstance(op, ast.Pow):
        return other > 0 and one.bit_length() * other > _MOST_BITS
    return one.bit_length() + other.bit_length() > 2 * _MOST_BITS
