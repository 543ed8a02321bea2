"""Plots of a diagnosis as SVG: predictions over distance, and pairs filled at once and in turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hdiff.diagnosis.diagnosis import Diagnosis
from hdiff.pages.svg import FILE, Palette, line, svg, text, ticks

WIDTH, HEIGHT, ROW = 640, 320, 26
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 34, 40
_LABELS = 196


def frequency_plot(diagnosis: Diagnosis, palette: Palette = FILE) -> str:
    """Distance from text against what predictions are made of, as SVG."""
    collapse = diagnosis.frequency_collapse
    curves = (
        ("KL(prediction || unigram), band: standard error", collapse.kl_to_unigram),
        ("of it: what the prefix tells", collapse.prefix_information),
        ("entropy of the prediction", collapse.entropy),
    )
    top = max(*collapse.entropy, *collapse.kl_to_unigram, collapse.unigram_entropy) * 1.06
    floor = HEIGHT - _BOTTOM

    def x(distance: float) -> float:
        span = max(1, collapse.distance[-1] - 1)
        return _LEFT + (distance - 1) / span * (WIDTH - _RIGHT - _LEFT)

    def y(nats: float) -> float:
        return floor - nats / top * (floor - _TOP)

    parts = [text(palette, 0, 16, "nats")]
    for tick in ticks(0, top):
        parts.append(line(palette.rule, _LEFT, y(tick), WIDTH - _RIGHT, y(tick)))
        parts.append(text(palette, _LEFT - 6, y(tick) + 4, f"{tick:g}", anchor="end"))
    for tick in (1, *(tick for tick in ticks(1, collapse.distance[-1]) if tick > 1)):
        parts.append(text(palette, x(tick), floor + 16, f"{tick:g}", anchor="middle"))
    parts.append(
        text(palette, WIDTH - _RIGHT, floor + 34, "distance from the visible text, tokens", anchor="end")
    )
    band = list(zip(collapse.distance, collapse.kl_to_unigram, collapse.kl_stderr, strict=True))
    outline = [(d, k + e) for d, k, e in band] + [(d, max(0.0, k - e)) for d, k, e in reversed(band)]
    points = " ".join(f"{x(d):.1f},{y(nats):.1f}" for d, nats in outline)
    parts.append(f'<polygon points="{points}" style="fill:{palette.series[1]};fill-opacity:.2"/>')
    for i, (label, values) in enumerate(curves):
        colour = palette.series[(1, 2, 0)[i]]
        points = " ".join(f"{x(d):.1f},{y(v):.1f}" for d, v in zip(collapse.distance, values, strict=True))
        parts.append(f'<polyline points="{points}" style="fill:none;stroke:{colour};stroke-width:2"/>')
        parts += _key(palette, colour, i, label)
    level = y(collapse.unigram_entropy)
    parts.append(line(palette.ink, _LEFT, level, WIDTH - _RIGHT, level, dashed=True))
    parts += _key(palette, palette.ink, len(curves), "entropy of the unigram distribution", dashed=True)
    return svg(
        palette, WIDTH, HEIGHT + ROW * (len(curves) + 1) + 10, "Predictions over distance from text", parts
    )


@dataclass(frozen=True)
class _Bar:
    """A bar: what it is, how long, its standard error, its colour among the series, and how it is written."""

    label: str
    value: float
    error: float
    series: int
    written: str


def pair_plot(diagnosis: Diagnosis, palette: Palette = FILE) -> str:
    """Bars of what filling pairs at once loses, and what a joint head gives back, as SVG."""
    pairs, agreement = diagnosis.pairs, diagnosis.agreement
    nats = [
        _nats("total correlation", pairs.total_correlation, pairs.stderr, 2),
        _nats("excess surprise", pairs.excess_surprise, pairs.excess_stderr, 2),
        _nats("true pairs: gain in turn", pairs.true_pairs.gain, pairs.true_pairs.gain_stderr, 1),
    ]
    if pairs.head_joint_recovers is not None:
        nats.append(_nats("true pairs: gain of head", pairs.head_joint_recovers, pairs.head_stderr or 0, 3))
    shares = [
        _share("trapped, at once", pairs.trapped, 2),
        _share("trapped, in turn", pairs.trapped_in_turn, 1),
    ]
    has_head = agreement["disagreement_head"] is not None
    there = "_there" if has_head else ""  # a head is compared on the frames that it can fill
    for label, key, series in (
        ("disagree, at once", f"disagreement_product{there}", 2),
        ("disagree, in turn", f"disagreement_chain{there}", 1),
        ("disagree, joint head", "disagreement_head", 3),
    ):
        if agreement[key] is not None:
            shares.append(_share(label, agreement[key], series))
    parts: list[str] = []
    height = _bars(parts, palette, nats, "nats per pair of neighbours, ± standard error", 0)
    frames = f"{agreement['head_count'] if has_head else agreement['count']} agreement frames"
    frames += " of neighbouring words" if has_head else ""
    height = _bars(parts, palette, shares, f"share of pairs; share of {frames}", height + 12)
    return svg(palette, WIDTH, height + 8, "Pairs filled at once and in turn", parts)


def _nats(label: str, value: float, error: float, series: int) -> _Bar:
    return _Bar(label, value, error, series, f"{value:.3f} ± {error:.3f}")


def _share(label: str, value: float, series: int) -> _Bar:
    return _Bar(label, value, 0.0, series, f"{100 * value:.1f} %")


def _bars(parts: list[str], palette: Palette, bars: Sequence[_Bar], title: str, start: float) -> float:
    """Draws a group of bars from `start` downwards and returns where it ends."""
    parts.append(text(palette, 0, start + 16, title))
    finite = [bar for bar in bars if math.isfinite(bar.value)]
    low = min(0.0, *(bar.value - bar.error for bar in finite))
    high = max(1e-3, *(bar.value + bar.error for bar in finite))
    first, last = _LABELS, WIDTH - 116

    def x(value: float) -> float:
        return first + (value - low) / (high - low) * (last - first)

    for i, bar in enumerate(bars):
        y = start + 30 + ROW * i
        parts.append(text(palette, first - 8, y + 12, bar.label, anchor="end"))
        if not math.isfinite(bar.value):
            parts.append(text(palette, x(0) + 6, y + 12, "infinite"))
            continue
        left, right = sorted((x(0), x(bar.value)))
        parts.append(
            f'<rect x="{left:.1f}" y="{y:.1f}" width="{max(1.0, right - left):.1f}" height="16" '
            f'style="fill:{palette.series[bar.series]};fill-opacity:.8"/>'
        )
        if bar.error:
            parts.append(line(palette.ink, x(bar.value - bar.error), y + 8, x(bar.value + bar.error), y + 8))
        parts.append(text(palette, max(right, x(bar.value + bar.error)) + 6, y + 12, bar.written))
    end = start + 30 + ROW * len(bars)
    parts.append(line(palette.rule, x(0), start + 24, x(0), end - 4))
    return end


def _key(palette: Palette, colour: str, i: int, label: str, *, dashed: bool = False) -> list[str]:
    y = HEIGHT + ROW * i + 14
    return [
        line(colour, _LEFT, y, _LEFT + 24, y, width=2, dashed=dashed),
        text(palette, _LEFT + 32, y + 4, label),
    ]
