"""MinimalPair: a sentence and its ungrammatical twin: BLiMP files, a set on agreement, accuracy. No torch."""

from __future__ import annotations

import glob
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from hdiff.errors import DataError

KEYS = ("sentence_good", "sentence_bad", "UID", "field")
"""Keys of a line of BLiMP, in the order of the attributes of a pair."""


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences that differ in little more than grammaticality.

    Attributes:
        good: The grammatical sentence.
        bad: The other one.
        paradigm: Which contrast the pair tests; accuracy is counted per paradigm.
        field: Area of grammar, for example `morphology`.
    """

    good: str
    bad: str
    paradigm: str
    field: str


def read_minimal_pairs(source: Path | str) -> list[MinimalPair]:
    """Reads pairs in the format of BLiMP, one JSON object per line.

    Source: BLiMP, arXiv:1912.00582 (github.com/alexwarstadt/blimp).

    Args:
        source: A folder of .jsonl files, or a glob pattern.

    Returns:
        The pairs, by file name and line.

    Raises:
        DataError: If nothing is there, a line is malformed, or there are no pairs.
    """
    folder = Path(source)
    files = (
        sorted(folder.glob("*.jsonl"))
        if folder.is_dir()
        else [Path(f) for f in sorted(glob.glob(str(source)))]
    )
    files = [file for file in files if file.is_file()]
    if not files:
        raise DataError(
            f"no minimal pairs at {source}: expected a folder of .jsonl files or a glob; get BLiMP from "
            f"data/ of github.com/alexwarstadt/blimp"
        )
    pairs = [pair for file in files for pair in _read_file(file)]
    if not pairs:
        raise DataError(f"the {len(files)} files at {source} hold no pairs; expected a JSON object per line")
    return pairs


def _read_file(file: Path) -> Iterator[MinimalPair]:
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{file}, line {number} is not JSON ({error}); download the file again"
            ) from error
        good, bad, paradigm, field = (_text(found, key, f"{file}, line {number}") for key in KEYS)
        yield MinimalPair(good, bad, paradigm, field)


def _text(found: Any, key: str, where: str) -> str:
    value = found.get(key) if isinstance(found, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} has {value!r} for '{key}'; every line needs text for {', '.join(KEYS)}")
    return value


def spread_pairs(pairs: Sequence[MinimalPair], max_pairs: int | None) -> list[MinimalPair]:
    """At most so many pairs of each paradigm, spread evenly: neighbours in a file resemble each other.

    Args:
        pairs: All pairs.
        max_pairs: Pairs per paradigm; None keeps all.

    Returns:
        The kept pairs in their order.

    Raises:
        DataError: If `max_pairs` is below 1.
    """
    if max_pairs is None:
        return list(pairs)
    if max_pairs < 1:
        raise DataError(f"max_pairs is {max_pairs}; keep at least 1 pair per paradigm, or None for all")
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair.paradigm, []).append(place)
    kept: list[int] = []
    for found in places.values():
        count = min(max_pairs, len(found))
        kept += [found[index * len(found) // count] for index in range(count)]
    return [pairs[place] for place in sorted(kept)]


def agreement_pairs() -> list[MinimalPair]:
    """Pairs like "I like tennis." and "I likes tennis.": what a model gets wrong that fills tokens apart.

    200 pairs, 40 for each of five paradigms. The sentences of a pair differ in one word, and what is right in
    one pair is wrong in another: who prefers frequent or short words is right in exactly half of them. Except
    where the word before decides (a subject right before its verb), this holds after every word too.

    Returns:
        The pairs, always the same.
    """
    made = [
        *(("agreement_pronoun_verb", *pair) for pair in _pronoun_verb()),
        *(("agreement_noun_verb", *pair) for pair in _noun_verb()),
        *(("agreement_across_phrase", *pair) for pair in _across_phrase()),
        *(("agreement_determiner_noun", *pair) for pair in _determiner_noun()),
        *(("agreement_reflexive", *pair) for pair in _reflexive()),
    ]
    return [MinimalPair(good, bad, paradigm, "agreement") for paradigm, good, bad in made]


_Sentences = Iterator[tuple[str, str]]

# Plural form, singular form, what follows.
_VERBS = (
    ("like", "likes", "tennis"),
    ("want", "wants", "to play"),
    ("know", "knows", "the way"),
    ("see", "sees", "a bird"),
    ("live", "lives", "in a big house"),
)
_ACTIONS = (
    ("want", "wants", "some food"),
    ("like", "likes", "to play"),
    ("go", "goes", "to the park"),
    ("look", "looks", "very happy"),
)


def _both(singular: str, plural: str, verb: tuple[str, str, str]) -> _Sentences:
    """A verb after a singular and a plural subject: each of its forms is right once."""
    many, one, rest = verb
    yield f"{singular} {one} {rest}.", f"{singular} {many} {rest}."
    yield f"{plural} {many} {rest}.", f"{plural} {one} {rest}."


def _pronoun_verb() -> _Sentences:
    # "I" and "you" take the plural form.
    for (singular, plural), verb in product(
        (("He", "I"), ("She", "We"), ("It", "They"), ("Someone", "You")), _VERBS
    ):
        yield from _both(singular, plural, verb)


def _noun_verb() -> _Sentences:
    for noun, verb in product(("dog", "boy", "girl", "cat", "bear"), _ACTIONS):
        yield from _both(f"The {noun}", f"The {noun}s", verb)


def _across_phrase() -> _Sentences:
    """The noun before the verb is not its subject, and of either number."""
    subjects = (
        ("dog", "near the car"),
        ("boy", "behind the tree"),
        ("girl", "with the doll"),
        ("cat", "under the table"),
        ("bear", "by the door"),
    )
    for (noun, phrase), ending, verb in product(subjects, ("", "s"), _ACTIONS[:2]):
        yield from _both(f"The {noun} {phrase}{ending}", f"The {noun}s {phrase}{ending}", verb)


def _determiner_noun() -> _Sentences:
    nouns = ("dog", "boy", "girl", "cat", "bear", "tree", "car", "door", "bird", "flower")
    # A preposition before it keeps "that" from opening a clause.
    for number, (noun, (one, many)) in enumerate(product(nouns, (("this", "these"), ("that", "those")))):
        start = ("She looked at", "They ran to")[number // 2 % 2]
        yield f"{start} {one} {noun}.", f"{start} {many} {noun}."
        yield f"{start} {many} {noun}s.", f"{start} {one} {noun}s."


def _reflexive() -> _Sentences:
    subjects = (("She", "He"), ("The girl", "The boy"), ("The woman", "The man"), ("The queen", "The king"))
    rest = (
        "saw {} in the water",
        "hurt {}",
        "washed {} in the river",
        "made {} a cake",
        "asked {} a question",
    )
    for (she, he), predicate in product(subjects, rest):
        for subject, right, wrong in ((she, "herself", "himself"), (he, "himself", "herself")):
            yield f"{subject} {predicate.format(right)}.", f"{subject} {predicate.format(wrong)}."


@dataclass(frozen=True)
class Accuracy:
    """Share of pairs whose good sentence costs fewer nats than the bad one; ties count half.

    Attributes:
        share: In [0, 1].
        stderr: Standard error over pairs; NaN for a single pair.
        pairs: How many.
        ties: How many of them cost exactly the same: their sentences have the same tokens, as a rule.
    """

    share: float
    stderr: float
    pairs: int
    ties: int

    @classmethod
    def of(cls, nats: Sequence[tuple[float, float]]) -> Accuracy:
        """Counts pairs (nats of the good sentence, nats of the bad one)."""
        outcomes = [0.5 if good == bad else float(good < bad) for good, bad in nats]
        count = len(outcomes)
        stderr = statistics.stdev(outcomes) / math.sqrt(count) if count > 1 else math.nan
        return cls(statistics.fmean(outcomes), stderr, count, outcomes.count(0.5))


@dataclass(frozen=True)
class PairScores:
    """Nats of both sentences of every pair, and what follows from them.

    Attributes:
        pairs: The pairs.
        nats: Of their good and their bad sentences, in the same order.
        draws: Random orders or states that each figure is a mean of; 1 where there is nothing random.
        likelihood: What the nats are, in words.
    """

    pairs: tuple[MinimalPair, ...]
    nats: tuple[tuple[float, float], ...]
    draws: int
    likelihood: str

    @property
    def paradigms(self) -> dict[str, Accuracy]:
        """Accuracy of each paradigm, in the order of the pairs."""
        found: dict[str, list[tuple[float, float]]] = {}
        for pair, nats in zip(self.pairs, self.nats, strict=True):
            found.setdefault(pair.paradigm, []).append(nats)
        return {name: Accuracy.of(nats) for name, nats in found.items()}

    @property
    def accuracy(self) -> float:
        """Mean over paradigms."""
        return statistics.fmean(accuracy.share for accuracy in self.paradigms.values())

    @property
    def stderr(self) -> float:
        """Standard error of `accuracy` over pairs, the paradigms being fixed."""
        found = [accuracy.stderr for accuracy in self.paradigms.values()]
        return math.hypot(*found) / len(found)
