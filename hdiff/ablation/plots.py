"""Plots of an ablation as SVG: bounds of seeds, L_T over T, judge NLL over NFE and seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hdiff.ablation.statistics import Spread
from hdiff.ablation.summary import Summary
from hdiff.pages.svg import FILE, Palette, dot, line, svg, text, ticks

WIDTH, ROW, HEIGHT = 760, 26, 320
MARGIN_TOP, MARGIN_BOTTOM, MARGIN_RIGHT = 34, 46, 16
STROKES = ("none", "8 3", "2 3", "9 3 2 3", "5 2 1 2 1 2")
"""Dashes of curves, so that colour is not all that tells them apart."""
LETTER = 6.7  # width of a letter at 12 px, for the room that labels need


def plots(summary: Summary, palette: Palette = FILE) -> dict[str, str]:
    """All plots there is something to draw for, as SVG by the name of what they show."""
    drawn = {
        "bound": _dot_plot(summary, palette),
        "t_step": _curves(summary, palette, "L", lambda _variant, t: float(t), "steps T", "L_T, nats/token"),
        "judge_nll": _judged(summary, palette, "nfe", "NFE (trunk calls per sample)"),
        "judge_nll_seconds": _judged(summary, palette, "seconds_per_sample", "seconds per sample"),
    }
    return {name: svg for name, svg in drawn.items() if svg is not None}


def _dot_plot(summary: Summary, palette: Palette) -> str | None:
    """A row per variant: seeds as dots, their mean as a stroke."""
    key = ("bound", None)
    rows = [(variant, spreads[key]) for variant, spreads in summary.spreads.items() if key in spreads]
    if not rows:
        return None
    left = 16 + LETTER * max(len(variant) for variant, _ in rows)
    height = MARGIN_TOP + ROW * len(rows) + MARGIN_BOTTOM
    axis = _Axis.over([v for _, s in rows for v in s.by_seed.values()], left, WIDTH - MARGIN_RIGHT)
    floor = height - MARGIN_BOTTOM
    parts = [text(palette, 0, 16, "bound on held-out text, nats/token: seeds as dots, the mean as a stroke")]
    for value in axis.ticks():
        parts += [line(palette.rule, axis(value), MARGIN_TOP - 8, axis(value), floor)]
        parts += [text(palette, axis(value), floor + 18, f"{value:g}", anchor="middle")]
    for i, (variant, spread) in enumerate(rows):
        y = MARGIN_TOP + ROW * (i + 0.5)
        colour = _colour(summary, palette, variant)
        parts.append(text(palette, left - 10, y + 4, variant, anchor="end"))
        parts.append(line(colour, axis(spread.mean), y - 8, axis(spread.mean), y + 8, width=2.5))
        for seed, value in spread.by_seed.items():
            parts.append(dot(colour, axis(value), y, 4, f"{variant}, seed {seed}: {value:.4f}"))
    return svg(palette, WIDTH, height, "Bound of every variant and seed", parts)


def _judged(summary: Summary, palette: Palette, cost: str, x_label: str) -> str | None:
    """Judge NLL over what a sample costs."""

    def x_of(variant: str, t: int) -> float | None:
        spread = summary.spreads[variant].get((cost, t))
        return None if spread is None or spread.mean <= 0 else spread.mean

    return _curves(summary, palette, "judge_nll", x_of, x_label, "judge NLL of samples, nats/token")


def _curves(
    summary: Summary,
    palette: Palette,
    figure: str,
    x_of: Callable[[str, int], float | None],
    x_label: str,
    y_label: str,
) -> str | None:
    """A curve of means per variant, with seeds as small dots, over a logarithmic axis."""
    curves: dict[str, list[tuple[float, Spread]]] = {}
    for variant, spreads in summary.spreads.items():
        steps = sorted(t for key, t in spreads if key == figure and t is not None)
        places = [(x_of(variant, t), spreads[figure, t]) for t in steps]
        if points := [(math.log2(at), spread) for at, spread in places if at is not None]:
            curves[variant] = points
    if not curves:
        return None
    height = HEIGHT + ROW * len(curves)
    floor = HEIGHT - MARGIN_BOTTOM
    every = [point for curve in curves.values() for point in curve]
    x = _Axis.over([at for at, _ in every], 56, WIDTH - MARGIN_RIGHT - 8)
    y = _Axis.over([v for _, spread in every for v in spread.by_seed.values()], floor, MARGIN_TOP)
    parts = [text(palette, 0, 16, y_label)]
    for value in y.ticks():
        parts.append(line(palette.rule, 56, y(value), WIDTH - MARGIN_RIGHT, y(value)))
        parts.append(text(palette, 48, y(value) + 4, f"{value:g}", anchor="end"))
    for value in _round_values(2**x.low, 2**x.high):
        parts.append(text(palette, x(math.log2(value)), floor + 18, f"{value:.4g}", anchor="middle"))
    parts.append(text(palette, WIDTH - MARGIN_RIGHT, floor + 36, x_label, anchor="end"))
    for i, (variant, curve) in enumerate(curves.items()):
        colour = _colour(summary, palette, variant)
        path = " ".join(f"{x(at):.1f},{y(spread.mean):.1f}" for at, spread in curve)
        stroke = f"fill:none;stroke:{colour};stroke-width:2;stroke-dasharray:{STROKES[i % len(STROKES)]}"
        parts.append(f'<polyline points="{path}" style="{stroke}"/>')
        for at, spread in curve:
            parts += [
                dot(colour, x(at), y(value), 2, f"{variant}, seed {seed}: {value:.4f}")
                for seed, value in spread.by_seed.items()
            ]
            title = f"{variant}, {x_label} {2**at:.4g}: {spread.mean:.4f}"
            parts.append(dot(colour, x(at), y(spread.mean), 3.5, title))
        key = HEIGHT + ROW * i + 4
        parts.append(f'<polyline points="48,{key:g} 80,{key:g}" style="{stroke}"/>')
        parts.append(text(palette, 88, key + 4, variant))
    return svg(palette, WIDTH, height, f"{y_label} over {x_label}", parts)


@dataclass(frozen=True)
class _Axis:
    """A linear scale from values to pixels."""

    low: float
    high: float
    first: float
    last: float

    @classmethod
    def over(cls, values: Sequence[float], first: float, last: float) -> _Axis:
        low, high = min(values), max(values)
        pad = 0.06 * (high - low) or 0.1
        return cls(low - pad, high + pad, first, last)

    def __call__(self, value: float) -> float:
        return self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first)

    def ticks(self) -> list[float]:
        """About five round values."""
        return ticks(self.low, self.high)


def _round_values(low: float, high: float) -> list[float]:
    """Powers of two between two numbers; where that are fewer than three, 1, 2, 5 times powers of ten."""
    twos = [2.0**power for power in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    if low >= 0.5 and len(twos) >= 3:
        return twos
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [m * 10.0**power for power in powers for m in (1, 2, 5) if low <= m * 10.0**power <= high]
    return tens if len(tens) >= 2 else _Axis(low, high, 0, 1).ticks()


def _colour(summary: Summary, palette: Palette, variant: str) -> str:
    order = sorted(summary.spreads, key=lambda name: name != summary.ablation.baseline)
    return palette.series[order.index(variant) % len(palette.series)]
