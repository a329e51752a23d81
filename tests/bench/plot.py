"""Plots as SVG, drawn by hand: readable on light and on dark pages, and the same bytes for the same figures."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from tests.bench.figures import written

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 40, 44, 48
_BAR = 26
_COLOURS = 6
_MARKED = 20  # points of a line; more of them would hide it
_STYLE = """
svg { color-scheme: light dark; }
.paper { fill: #ffffff; } .grid { stroke: #d8dee4; stroke-width: 1; } .axis { stroke: #57606a; stroke-width: 1; }
text { fill: #24292f; font: 12px system-ui, sans-serif; } .title { font-size: 15px; font-weight: 600; }
.line { fill: none; stroke-width: 2; }
.c0 { stroke: #0969da; fill: #0969da; } .c1 { stroke: #bc4c00; fill: #bc4c00; } .c2 { stroke: #1a7f37; fill: #1a7f37; }
.c3 { stroke: #8250df; fill: #8250df; } .c4 { stroke: #bf3989; fill: #bf3989; } .c5 { stroke: #57606a; fill: #57606a; }
@media (prefers-color-scheme: dark) {
.paper { fill: #0d1117; } .grid { stroke: #30363d; } .axis { stroke: #8b949e; } text { fill: #e6edf3; }
.c0 { stroke: #58a6ff; fill: #58a6ff; } .c1 { stroke: #f0883e; fill: #f0883e; }
.c2 { stroke: #3fb950; fill: #3fb950; } .c3 { stroke: #a371f7; fill: #a371f7; }
.c4 { stroke: #f778ba; fill: #f778ba; } .c5 { stroke: #8b949e; fill: #8b949e; }
}
"""


def lines(
    title: str,
    across: str,
    up: str,
    series: Mapping[str, Points],
    *,
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """Draw named lines; an axis begins at 0 unless it is logarithmic."""
    every = [point for points in series.values() for point in points]
    xs = _Scale([x for x, _ in every], _LEFT, _WIDTH - _RIGHT, logarithmic=log_x, marked=log_x)
    ys = _Scale([y for _, y in every], _HEIGHT - _BOTTOM, _TOP + 36, logarithmic=log_y)
    parts = [_text(16, 24, title, "title"), _text(16, _TOP + 22, up)]
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 10, across, anchor="end"))
    for tick in ys.ticks:
        parts.append(f'<path class="grid" d="M{_LEFT} {ys(tick)}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 8, ys(tick) + 4, _label(tick), anchor="end"))
    for tick in xs.ticks:
        parts.append(_text(xs(tick), _HEIGHT - _BOTTOM + 18, _label(tick), anchor="middle"))
    parts.append(f'<path class="axis" d="M{_LEFT} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>')
    names = _WIDTH - 16
    for number, (name, points) in reversed(list(enumerate(series.items()))):
        colour = f"c{number % _COLOURS}"
        path = "L".join(f"{xs(x)} {ys(y)}" for x, y in points)
        parts.append(f'<path class="line {colour}" style="fill:none" d="M{path}"/>')
        if len(points) <= _MARKED:
            parts += [f'<circle class="{colour}" cx="{xs(x)}" cy="{ys(y)}" r="3"/>' for x, y in points]
        names -= 7 * len(name) + 26
        parts.append(f'<circle class="{colour}" cx="{names}" cy="44" r="4"/>{_text(names + 9, 48, name)}')
    return _svg(title, _HEIGHT, parts)


def bars(title: str, unit: str, values: Iterable[tuple[str, float]]) -> str:
    """Draw one bar for each name, with its value beside it."""
    given = list(values)
    left = 24 + max(7 * len(name) for name, _ in given)
    scale = (_WIDTH - _RIGHT - 80 - left) / max(value for _, value in given)
    parts = [_text(16, 24, title, "title")]
    for number, (name, value) in enumerate(given):
        y = _TOP + number * _BAR
        parts.append(_text(left - 8, y + 13, name, anchor="end"))
        parts.append(
            f'<rect class="c0" x="{left}" y="{y}" width="{value * scale:.1f}" height="{_BAR - 10}" rx="2"/>'
        )
        parts.append(_text(round(left + value * scale + 8), y + 13, f"{written(value)} {unit}"))
    return _svg(title, _TOP + len(given) * _BAR + 12, parts)


class _Scale:
    """Turns values into places on an axis."""

    def __init__(
        self, values: Sequence[float], start: float, end: float, *, logarithmic: bool, marked: bool = False
    ) -> None:
        self._start, self._end, self._logarithmic = start, end, logarithmic
        if logarithmic:
            low, high = math.log10(min(values)), math.log10(max(values))
            if not marked:
                low, high = math.floor(low), math.ceil(high)
            self._low, self._span = low, (high - low) or 1.0
            self.ticks = (
                sorted(set(values)) if marked else [10.0**power for power in range(int(low), int(high) + 1)]
            )
        else:
            step = _step(max(values))
            steps = math.ceil(max(values) / step)
            self._low, self._span = 0.0, steps * step
            self.ticks = [number * step for number in range(steps + 1)]

    def __call__(self, value: float) -> float:
        place = math.log10(value) if self._logarithmic else value
        return round(self._start + (place - self._low) / self._span * (self._end - self._start), 1)


def _step(highest: float) -> float:
    """A round distance between ticks, so that there are four to eight of them."""
    magnitude = 10.0 ** math.floor(math.log10(highest / 4))
    return next(magnitude * factor for factor in (1, 2, 5, 10) if highest / (magnitude * factor) <= 8)


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text{of_kind} x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, height: int, parts: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
            f'aria-label="{escape(title)}">',
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="6"/>',
            *parts,
            "</svg>\n",
        ]
    )
