"""Diagnosis: both failures of one model, measured on held-out text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hdiff.diagnosis.adjacent_words import choose_pairs
from hdiff.diagnosis.agreement import measure_agreement
from hdiff.diagnosis.frequency_collapse import FrequencyCollapse, measure_frequency_collapse
from hdiff.diagnosis.held_out import HeldOut
from hdiff.diagnosis.marginal_trap import PairFigures, TrapExample, measure_pairs
from hdiff.diagnosis.masked_model import MaskedSubject
from hdiff.errors import DataError
from hdiff.seeds import derive_seed

if TYPE_CHECKING:
    from hdiff.progress import Progress

LONGEST_PREFIX = 128
LONGEST_CONTEXT = 128
PREFIX_PART = 4
PASSES_OF_PAIR = 8
"""Rows with a pair take about so many times as long as rows with masks at their end: for the estimate."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        model: Name of the model.
        seed: Seed of everything drawn.
        text: What the held-out text and the reference of the unigram distribution are.
        frequency_collapse: Predictions far from text.
        pairs: Neighbours of held-out text, filled at once and in turn.
        agreement: The same where two words must agree, as `measure_agreement` gives it.
        examples: Pairs that the chain likes least, worst first.
        notes: What is not as asked for, and what the reader must know.
        step: Updates done by the weights of a run; None of other models.
    """

    model: str
    seed: int
    text: str
    frequency_collapse: FrequencyCollapse
    pairs: PairFigures
    agreement: dict[str, Any]
    examples: tuple[TrapExample, ...]
    notes: tuple[str, ...]
    step: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The object that diagnosis.json holds; docs/evaluate.md lists its keys."""
        return {
            "model": self.model,
            "step": self.step,
            "seed": self.seed,
            "text": self.text,
            "frequency_collapse": asdict(self.frequency_collapse),
            "marginal_trap": {
                "pairs": asdict(self.pairs),
                "agreement": self.agreement,
                "examples": [asdict(example) for example in self.examples],
            },
            "notes": list(self.notes),
        }


def diagnose(
    subject: MaskedSubject,
    text: HeldOut,
    *,
    prefixes: int = 64,
    masks: int = 128,
    pairs: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagnosis:
    """Measures both failures.

    Args:
        subject: The model.
        text: Held-out text in its tokens.
        prefixes: Prefixes that masks are appended to, at least 2.
        masks: Masks to append; fewer if the model's rows are too short.
        pairs: Pairs of neighbours, at least 2.
        seed: Seed of everything drawn.
        progress: Shows what happens.

    Returns:
        The diagnosis.

    Raises:
        DataError: If a number is too small or the text too short.
    """
    for name, value, least in (("prefixes", prefixes, 2), ("masks", masks, 1), ("pairs", pairs, 2)):
        if value < least:
            raise DataError(f"{name} is {value}; give at least {least}")
    notes = []
    room = subject.longest - len(subject.row_ends[0]) - len(subject.row_ends[1])
    prefix = max(1, min(LONGEST_PREFIX, room // PREFIX_PART))
    kept = min(masks, room - prefix)
    if kept < 1:
        raise DataError(f"{subject.name} reads {room} tokens; a prefix and a mask need at least 2")
    if kept < masks:
        notes.append(
            f"{kept} masks in place of {masks}: rows have {room} tokens, {prefix} of which are the prefix."
        )
    rows = text.rows(prefix + kept, prefixes)
    if len(rows) < prefixes:
        notes.append(f"{len(rows)} prefixes in place of {prefixes}: the text has no more.")

    def show(stage: str, before: int, count: int) -> None:
        if progress is not None:
            progress.update(before + count, len(rows) + PASSES_OF_PAIR * pairs + 1, stage)

    collapse = measure_frequency_collapse(
        subject, rows, text.unigram(), masks=kept, progress=partial(show, "frequency collapse", 0)
    )
    # Twice the rows, since some have no two whole words side by side.
    contexts = text.rows(text.block or min(room, LONGEST_CONTEXT), 2 * pairs)
    place_seed, unit = derive_seed(seed, "pairs"), "whole words"
    chosen = choose_pairs(contexts, subject.tokenizer, seed=place_seed)
    if len(chosen) < 2:
        notes.append("Pairs are any two neighbouring tokens: nearly no two neighbours are whole words.")
        chosen, unit = choose_pairs(contexts, subject.tokenizer, seed=place_seed, whole_words=False), "tokens"
    if len(chosen) < pairs:
        notes.append(f"{len(chosen)} pairs in place of {pairs}: the text has no more rows with one.")
    else:
        chosen = [chosen[place * len(chosen) // pairs] for place in range(pairs)]

    figures, examples = measure_pairs(
        subject,
        chosen,
        unit=unit,
        seed=derive_seed(seed, "draws"),
        progress=lambda count: show("pairs", len(rows), PASSES_OF_PAIR * count),
    )
    show("agreement", len(rows), PASSES_OF_PAIR * pairs)
    agreement = measure_agreement(subject)
    if agreement["left_out"]:
        notes.append(
            f"{agreement['left_out']} of {agreement['left_out'] + agreement['count']} agreement frames are "
            f"left out: their words are not one token each in this tokenizer."
        )
    show("agreement", len(rows), PASSES_OF_PAIR * pairs + 1)
    return Diagnosis(
        subject.name,
        seed,
        text.source,
        collapse,
        figures,
        agreement,
        tuple(examples),
        tuple(notes),
        subject.step,
    )
