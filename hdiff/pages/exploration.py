"""explore_run: corruption explorations of a run's own validation sentences, for its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from hdiff.corruption import Corruption
from hdiff.data.prepared import PreparedData
from hdiff.pages.corrupted_words import corrupt_words
from hdiff.pages.inspection import explore, inspect_sentence
from hdiff.parsers.buckets import Buckets
from hdiff.runs.folder import RunFolder
from hdiff.seeds import derive_seed
from hdiff.structure import LEVELS, SpanTree

if TYPE_CHECKING:
    from hdiff.parsers.base import Parser

MIN_WORDS, MAX_WORDS = 8, 20
MOST_TEXTS = 200
"""Texts that are searched for sentences."""


def explore_run(run: RunFolder, parser: Parser, *, count: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """Explores a few sentences of the validation split, by the run's own corruption and level by level."""
    prepared = PreparedData.load(run.recipe.data.path)
    buckets = _buckets(run, prepared)
    corruption = None if run.autoregressive is not None else run.corruption
    explorations: list[dict[str, Any]] = []
    number = 0
    split = prepared.split("validation")
    # From all over the split: its first texts are often titles.
    for index in range(0, len(split), max(1, len(split) // MOST_TEXTS)):
        row = split[index]
        for tree in parser.parse([row["text"][:2000]]):
            sentences = [span for span in tree.at("sentence") if _fits(tree.text[span.start : span.end])]
            if not sentences:
                continue
            text = tree.text[sentences[0].start : sentences[0].end]
            own = prepared.salience.apply(next(iter(parser.parse([text]))))
            if corruption is not None:
                explorations += _as_trained(run, corruption, own, buckets, derive_seed(seed, number), number)
            for level in (level for level in LEVELS if level in parser.levels):
                exploration = inspect_sentence(
                    text, parser=parser, level=level, seed=seed, salience=prepared.salience
                )
                explorations.append({**exploration, "sentence": number, "choice": f"each {level}"})
            number += 1
        if number >= count:
            break
    return explorations


def is_current(explorations: Sequence[Mapping[str, Any]] | None, weights: str | None) -> bool:
    """Whether explorations are there, of the kind that this version makes, and of these weights."""
    return explorations is not None and all(
        "choice" in exploration and exploration.get("weights") == weights for exploration in explorations
    )


def _as_trained(
    run: RunFolder, corruption: Corruption, tree: SpanTree, buckets: Buckets, seed: int, number: int
) -> list[dict[str, Any]]:
    """One exploration with the run's own corruption; none where it hides no word at a time of its own."""
    drawn = corrupt_words(
        tree,
        corruption,
        buckets=buckets,
        replacements=_some_words(run),
        generator=torch.Generator().manual_seed(seed),
    )
    if drawn is None:
        return []
    level = run.recipe.corruption.get("level") or "word"
    exploration = explore(tree, drawn.times, level=level, title="As this run is trained")
    words = [
        {**word, "unit": unit, **({"stages": list(stages)} if stages else {})}
        for word, unit, stages in zip(exploration["words"], drawn.units, drawn.stages, strict=True)
    ]
    choice = f"as this run is trained: {run.recipe.corruption['kind']}"
    verb = "replaced" if drawn.is_replaced else "masked"
    return [{**exploration, "words": words, "sentence": number, "choice": choice, "verb": verb}]


def _some_words(run: RunFolder) -> list[str]:
    """Tokens that are whole words, for corruptions that replace words."""
    pieces = [run.tokenizer.name(token_id) for token_id in range(run.tokenizer.vocab_size)]
    return [piece.strip() for piece in pieces if piece.strip().isalpha() and len(piece) > 2] or ["?"]


def _buckets(run: RunFolder, prepared: PreparedData) -> Buckets:
    wanted = run.recipe.data.salience_buckets
    if isinstance(wanted, tuple):
        return Buckets(wanted)
    return Buckets.of_histogram(prepared.manifest["salience_histogram"], wanted or 4)


def _fits(text: str) -> bool:
    """Whether a sentence is prose of a length that fits a screen."""
    is_whole = text[:1].isupper() and text[-1:] in ".!?" and "\n" not in text
    return is_whole and MIN_WORDS <= len(text.split()) <= MAX_WORDS
