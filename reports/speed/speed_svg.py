"""The figure that the docs embed: a log-log plot as an SVG of its own, on a white ground."""

import html
import math
from collections.abc import Iterator, Sequence

from speed_figures import Curve, Point, raised

__all__ = ["COLOURS", "LABELS", "cost_svg"]

COLOURS = {"lock-step, no bits": "#332288", "lock-step, bits": "#2E8B7D", "intersecting": "#CC6677"}
LABELS = {
    "lock-step, no bits": "lock-step, 2:4 on 2:4: no bits",
    "lock-step, bits": "lock-step, 4:8 on 2:4: bits of one mask",
    "intersecting": "intersecting, 2:4 × 2:4: bits of both",
}
_WIDTH, _HEIGHT = 820, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 24, 104, 116
_X, _Y = (6.0, 14.0), (-4.4, 1.4)
_INK, _MUTED, _GRID = "#1F2933", "#5F6B7A", "#E1E5EA"
_FONT = "font-family=\"Inter, 'Segoe UI', Roboto, Arial, 'Liberation Sans', sans-serif\""


def _x(macs: float) -> float:
    share = (math.log10(macs) - _X[0]) / (_X[1] - _X[0])
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(seconds: float) -> float:
    share = (math.log10(seconds) - _Y[0]) / (_Y[1] - _Y[0])
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _text(x: float, y: float, text: str, *, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{html.escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str, more: str = "") -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{stroke}" {more}/>'


def _axes() -> Iterator[str]:
    left, right, low, high = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, _TOP
    for exponent in range(math.ceil(_X[0]), math.floor(_X[1]) + 1):
        at = _x(10.0**exponent)
        yield _line(at, low, at, high, _GRID)
        yield _line(at, low, at, low + 5, _MUTED)
        yield _text(at, low + 20, f"10{raised(exponent)}", anchor="middle")
    for exponent in range(math.ceil(_Y[0]), math.floor(_Y[1]) + 1):
        at = _y(10.0**exponent)
        yield _line(left, at, right, at, _GRID)
        yield _line(left - 5, at, left, at, _MUTED)
        yield _text(left - 9, at + 4, f"10{raised(exponent)}", anchor="end")
    yield _line(left, low, right, low, _MUTED)
    yield _line(left, low, left, high, _MUTED)
    yield _text((left + right) / 2, low + 42, "MACs of the dense GEMM, M·N·K", anchor="middle")
    middle = (low + high) / 2
    turned = f'transform="rotate(-90 22 {middle:.1f})"'
    yield _text(22, middle, "CPU time of a simulation [s]", anchor="middle", more=turned)


def _stroke(curve: Curve) -> str:
    dash = "" if curve.fidelity == "cycle" else 'stroke-dasharray="6 4"'
    return f'stroke="{COLOURS[curve.series]}" stroke-width="2" fill="none" {dash}'


def _dot(x: float, y: float, colour: str, *, filled: bool) -> str:
    fill = colour if filled else "#FFFFFF"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}" '
        'stroke-width="1.6"/>'
    )


def _curve(curve: Curve) -> Iterator[str]:
    colour = COLOURS[curve.series]
    path = " ".join(f"{_x(p.macs):.1f},{_y(p.median):.1f}" for p in curve.points)
    yield f'<polyline points="{path}" {_stroke(curve)}/>'
    for point in curve.points:
        yield from _whisker(point, colour)
        filled = curve.fidelity == "cycle"
        yield _dot(_x(point.macs), _y(point.median), colour, filled=filled)


def _whisker(point: Point, colour: str) -> Iterator[str]:
    at, low, high = _x(point.macs), _y(point.least), _y(point.most)
    yield _line(at, low, at, high, colour, 'stroke-width="1.2" stroke-opacity="0.6"')


def _legend() -> Iterator[str]:
    x = float(_LEFT)
    for series, shown in LABELS.items():
        yield _line(x, 62, x + 22, 62, COLOURS[series], 'stroke-width="3"')
        yield _text(x + 28, 66, shown)
        x += 40 + 6.05 * len(shown)
    x = float(_LEFT)
    for fidelity, dash in (("cycle", ""), ("analytical", 'stroke-dasharray="6 4"')):
        yield _line(x, 84, x + 34, 84, _INK, f'stroke-width="2" {dash}')
        yield _dot(x + 17, 84, _INK, filled=fidelity == "cycle")
        yield _text(x + 41, 88, f"fidelity {fidelity}")
        x += 150


def cost_svg(curves: Sequence[Curve], title: str, notes: Sequence[str]) -> str:
    """The whole drawing.

    Parameters
    ----------
    notes
        Lines of the caption.
    """
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" height="{_HEIGHT}" role="img" font-size="12" fill="{_INK}" {_FONT}>'
        ),
        f"<title>{html.escape(title)}</title>",
        (
            f'<rect x="0.5" y="0.5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="8" '
            f'fill="#FFFFFF" stroke="{_GRID}"/>'
        ),
        _text(20, 34, title, more='font-size="17" font-weight="700"'),
        *_legend(),
        *_axes(),
    ]
    for curve in curves:
        parts += _curve(curve)
    for at, note in enumerate(notes):
        y = _HEIGHT - 16 - 17 * (len(notes) - 1 - at)
        parts.append(_text(20, y, note, more=f'font-size="11.5" style="fill:{_MUTED}"'))
    return "\n".join([*parts, "</svg>"]) + "\n"
