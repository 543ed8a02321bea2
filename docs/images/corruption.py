"""Draws corruption.svg: one sentence hidden over t, with words, phrases and clauses as units.

    python docs/images/corruption.py       # needs a spaCy pipeline

The spans are those of the parser, the times those that `SpanMasking` draws (seed 0).
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import torch

from hdiff.corruption import SpanMasking
from hdiff.pages.corrupted_words import corrupt_words
from hdiff.pages.svg import FILE, svg, text
from hdiff.parsers import Buckets, load_parser
from hdiff.structure import SpanTree

SENTENCE = "The old fisherman who lived by the sea mended his nets before the storm came."
LEVELS = ("word", "phrase", "clause")
TIMES = (0.2, 0.4, 0.6, 0.8)
CHARACTER, LINE, LEFT, GAP = 8.0, 22.0, 60.0, 18.0
"""Pixels: of a character, between lines, left of the text, between levels."""


def hidden_times(tree: SpanTree, level: str) -> tuple[float, ...]:
    """Time at which each word is hidden, its unit at once."""
    corruption = SpanMasking(segmentation="parsed", level=level, mask_id=0)
    buckets = Buckets((0.5,))  # of salience, which this corruption does not look at
    generator = torch.Generator().manual_seed(0)
    drawn = corrupt_words(tree, corruption, buckets=buckets, replacements=(), generator=generator)
    assert drawn is not None, "units are hidden at times of their own"
    return drawn.times


def line(words: list[str], times: tuple[float, ...], t: float, y: float) -> list[str]:
    """The sentence at one time: words, and bars in place of hidden ones; bars of one unit are joined."""
    parts = [text(FILE, LEFT - 10, y, f"t = {t:g}", anchor="end")]
    x = LEFT
    for index, word in enumerate(words):
        width = len(word) * CHARACTER
        if times[index] > t:
            parts.append(
                f'<text x="{x:.0f}" y="{y:.0f}" textLength="{width - 2:.0f}" '
                f'style="fill:{FILE.ink};font-family:monospace">{escape(word)}</text>'
            )
        else:
            joined = index + 1 < len(words) and times[index + 1] == times[index]
            length = width + (CHARACTER if joined else -2)
            parts.append(
                f'<rect x="{x:.0f}" y="{y - 12:.0f}" width="{length:.0f}" height="15" '
                f'style="fill:{FILE.series[1]}"/>'
            )
        x += width + CHARACTER
    return parts


def main() -> None:
    """Writes the picture beside this file."""
    (tree,) = load_parser("spacy").parse([SENTENCE])
    words = [tree.text[word.start : word.end] for word in tree.words]
    parts, y = [], 20.0
    for level in LEVELS:
        times = hidden_times(tree, level)
        parts.append(f'<g style="font-weight:600">{text(FILE, 0, y, f"unit: {level}")}</g>')
        for t in TIMES:
            y += LINE
            parts += line(words, times, t, y)
        y += LINE + GAP
    width = LEFT + sum(len(word) + 1 for word in words) * CHARACTER
    title = "A sentence at four times, with words, phrases and clauses hidden as units"
    out = Path(__file__).with_suffix(".svg")
    out.write_text(svg(FILE, width, y - GAP, title, parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
