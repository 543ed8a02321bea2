"""Draws coarse_to_fine.svg: one sentence as a tree cascade hides it, words first, then their types.

    python docs/images/coarse_to_fine.py       # needs a spaCy pipeline

The tree is that of the parser, the times those that `TreeCascade` draws (seed 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import torch

from hdiff.corruption import TreeCascade
from hdiff.pages.corrupted_words import CorruptedWords, corrupt_words
from hdiff.pages.svg import FILE, svg, text
from hdiff.parsers import Buckets, load_parser

SENTENCE = "The old fisherman mended his nets before the storm came."
TIMES = (0.0, 0.4, 0.6, 0.8, 0.95, 1.0)
CHARACTER, LINE, LEFT = 9.0, 30.0, 76.0
"""Pixels: of a character, between lines, left of the text."""
COLOURS = {"phrase": FILE.series[1], "word": "#2a8a7c", "": "#9a9a9a"}
"""Of what is visible in place of a hidden word; grey where nothing is."""


def state(drawn: CorruptedWords, words: Sequence[str], index: int, t: float) -> tuple[str, str]:
    """What is visible of a word at one time: its text and level; both empty if nothing."""
    if drawn.times[index] > t:
        return words[index], "token"
    for stage in drawn.stages[index]:
        if stage["time"] > t:
            return str(stage["text"]), str(stage["level"])
    return "", ""


def row(drawn: CorruptedWords, words: Sequence[str], t: float, y: float) -> list[str]:
    """The sentence at one time; neighbours of which only one phrase label is visible share a bar."""
    parts = [text(FILE, LEFT - 14, y, f"t = {t:g}", anchor="end")]
    starts = [sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
    states = [state(drawn, words, index, t) for index in range(len(words))]
    for (shown, level, _), group in groupby(
        range(len(words)), key=lambda i: (*states[i], -1 if states[i][1] in ("phrase", "") else i)
    ):
        members = list(group)
        x = LEFT + starts[members[0]] * CHARACTER
        width = (starts[members[-1]] + len(words[members[-1]]) - starts[members[0]]) * CHARACTER - 2
        if level == "token":
            parts.append(
                f'<text x="{x:.0f}" y="{y:.0f}" textLength="{width:.0f}" '
                f'style="fill:{FILE.ink};font-family:monospace;font-size:14px">{escape(shown)}</text>'
            )
            continue
        parts.append(
            f'<rect x="{x:.0f}" y="{y - 15:.0f}" width="{width:.0f}" height="21" rx="3" '
            f'style="fill:{COLOURS[level]};fill-opacity:0.35"/>'
        )
        if width > CHARACTER:
            middle, length = x + width / 2, min(width - 4, 6.6 * len(shown))
            parts.append(
                f'<text x="{middle:.0f}" y="{y - 1:.0f}" text-anchor="middle" textLength="{length:.0f}" '
                f'lengthAdjust="spacingAndGlyphs" '
                f'style="fill:{FILE.ink};font-family:sans-serif;font-size:10px">{escape(shown)}</text>'
            )
    return parts


def main() -> None:
    """Writes the picture beside this file."""
    (tree,) = load_parser("spacy").parse([SENTENCE])
    words = [tree.text[word.start : word.end] for word in tree.words]
    cascade = TreeCascade(
        levels=["phrase", "word"], types=["label"], k={"phrase": 16.0, "word": 3.0, "token": 1.5}, mask_id=0
    )
    drawn = corrupt_words(
        tree,
        cascade,
        buckets=Buckets((0.5,)),
        replacements=(),
        generator=torch.Generator().manual_seed(1),
    )
    assert drawn is not None, "a cascade hides words at times of their own"
    parts: list[str] = []
    for index, t in enumerate(TIMES):
        parts += row(drawn, words, t, 22.0 + index * LINE)
    width = LEFT + sum(len(word) + 1 for word in words) * CHARACTER
    title = "A sentence at six times: words become parts of speech, then phrase labels, then nothing"
    picture = svg(FILE, width, 22.0 + len(TIMES) * LINE - 12, title, parts)
    Path(__file__).with_suffix(".svg").write_text(picture + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
