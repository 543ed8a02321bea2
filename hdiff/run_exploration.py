"""explore_run: corruption explorations of a run's own validation sentences, for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hdiff.data.prepared import PreparedData
from hdiff.inspection import inspect_sentence
from hdiff.run_folder import RunFolder

if TYPE_CHECKING:
    from hdiff.parsers.base import Parser

MIN_WORDS, MAX_WORDS = 8, 24


def explore_run(run: RunFolder, parser: Parser, *, count: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """Explores a few sentences of the validation split with the run's own units.

    Args:
        run: The run.
        parser: Parser of its data set.
        count: Sentences wanted.
        seed: Seed of the masking times.

    Returns:
        Explorations as `hdiff.inspection` makes them; fewer if the split has few fitting sentences.
    """
    prepared = PreparedData.load(run.recipe.data.path)
    level = run.recipe.corruption.get(
        "level", "phrase" if run.recipe.corruption["kind"] in ("span_masking", "tree_cascade") else "word"
    )
    found: list[dict[str, Any]] = []
    for row in prepared.split("validation"):
        for tree in parser.parse([row["text"][:2000]]):
            sentences = [span for span in tree.at("sentence") if _fits(tree.text[span.start : span.end])]
            if sentences:
                text = tree.text[sentences[0].start : sentences[0].end]
                found.append(
                    inspect_sentence(text, parser=parser, level=level, seed=seed, salience=prepared.salience)
                )
        if len(found) == count:
            break
    return found


def _fits(text: str) -> bool:
    return "\n" not in text and MIN_WORDS <= len(text.split()) <= MAX_WORDS
