"""Texts filled by a model that knows nothing, and whether they hold what was given."""

from __future__ import annotations

import random

import torch

from hdiff.control import Pattern
from hdiff.control.candidates import Controlled, controlled
from hdiff.control.literal import GivenText
from hdiff.data.tokenizer import Tokenizer
from hdiff.samplers.samples import Samples

ONE_CALL = torch.ones(1, dtype=torch.long)


def filled(
    row: list[int], tokenizer: Tokenizer, given_text: GivenText | None, dice: random.Random
) -> Controlled:
    """A row filled at random with any token that may be drawn, as a sampler hands it over."""
    allowed = [i for i in range(tokenizer.vocab_size) if i not in tokenizer.facts.never_text]
    is_given = [token < tokenizer.vocab_size for token in row]
    tokens = [token if known else dice.choice(allowed) for token, known in zip(row, is_given, strict=True)]
    steps = torch.tensor([[-1 if known else dice.randint(0, 3) for known in is_given]])
    units = torch.arange(len(row))[None]
    samples = Samples(torch.tensor([tokens]), steps, units, nfe=1, calls=ONE_CALL, passes=ONE_CALL)
    return controlled(tokenizer, [samples], [None], given=given_text)


def fill(pattern: Pattern, tokenizer: Tokenizer, seed: int) -> Controlled:
    lengths = pattern.lengths()[0]
    row = pattern.row(lengths, mask_id=tokenizer.vocab_size, eos_id=tokenizer.eos_id)
    return filled(row, tokenizer, pattern.given, random.Random(seed))


def holds(stretches: list[str], text: str) -> bool:
    """Whether stretches stand in a text in their order, the first at its start, the last at its end."""
    if not text.startswith(stretches[0]) or not text.endswith(stretches[-1]):
        return False
    place = 0
    for stretch in stretches:
        found = text.find(stretch, place)
        if found < 0:
            return False
        place = found + len(stretch)
    return True


def words() -> Tokenizer:
    spaced = "The list of dogs ( a cat ) is returned . It barked at a small park , the man did n't ."
    return Tokenizer.train([spaced], "words")
