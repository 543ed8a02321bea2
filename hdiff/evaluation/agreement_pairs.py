"""agreement_pairs: minimal pairs about agreement, made of a few words, balanced."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hdiff.evaluation.minimal_pair_files import MinimalPair


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
