"""Pieces of plots as SVG: text, lines, dots, round ticks and the colours of files and pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Palette:
    """Colours as CSS.

    Attributes:
        ink: Text.
        rule: Axes and grid.
        paper: Background.
        series: Of what is compared, in order; the baseline is the first.
    """

    ink: str
    rule: str
    paper: str
    series: tuple[str, ...]


_NAMES = ("token", "accent", "warm", "phrase", "sentence", "word", "crossing", "clause")
_LIGHT = ("#77808b", "#1f5fa8", "#b4521e", "#128577", "#7a5fa6", "#b97a10", "#b4445c", "#2f6fb3")
FILE = Palette("#1d2126", "#e3e3de", "#ffffff", _LIGHT)
"""For files that stand alone."""
PAGE = Palette("var(--ink)", "var(--rule)", "var(--panel)", tuple(f"var(--{name})" for name in _NAMES))
"""For pages, which know light and dark."""


def svg(palette: Palette, width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A whole picture; `title` is read by screen readers."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'role="img" style="background:{palette.paper};max-width:100%;height:auto;'
        f'font:12px system-ui,sans-serif"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def text(palette: Palette, x: float, y: float, words: str, *, anchor: str = "start") -> str:
    """Words on the line y; `anchor` (`start`, `middle`, `end`) says which part of them is at x."""
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {at} style="fill:{palette.ink}">{escape(words)}</text>'


def line(
    colour: str, x1: float, y1: float, x2: float, y2: float, *, width: float = 1, dashed: bool = False
) -> str:
    """A straight line."""
    at = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    dashes = ";stroke-dasharray:5 4" if dashed else ""
    return f'<line {at} style="stroke:{colour};stroke-width:{width:g}{dashes}"/>'


def dot(colour: str, x: float, y: float, radius: float, title: str) -> str:
    """A dot that says what it is when pointed at."""
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" style="fill:{colour};fill-opacity:.75">'
    return f"{circle}<title>{escape(title)}</title></circle>"


def ticks(low: float, high: float) -> list[float]:
    """About five round values from `low` to `high`."""
    power = 10.0 ** math.floor(math.log10((high - low) / 5)) if high > low else 1.0
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= (high - low) / 5)
    return [round(n * step, 10) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
