"""Skeleton: labels that the spans of a text are to have; `follow_skeleton` writes such texts.

Dimensions: B rows, L tokens with both ends, R type streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hdiff.control.candidates import (
    NUM_ENDS,
    Controlled,
    check_rows,
    check_steps,
    controlled,
    one_by_one,
)
from hdiff.control.verification import FREE
from hdiff.corruption.base import Corruption
from hdiff.corruption.type_code import TypeCode
from hdiff.errors import DataError, nearest
from hdiff.models.wrapped import unwrapped
from hdiff.samplers.base import HasHead, Sampler
from hdiff.samplers.coarse_to_fine import CoarseToFineSampler
from hdiff.samplers.samples import Samples

if TYPE_CHECKING:
    from hdiff.data.tokenizer import Tokenizer


MAX_TOKENS = 1_000_000
"""Longest span that can be asked for; rows of models are shorter."""


@dataclass(frozen=True)
class Skeleton:
    """Spans of a text: label and tokens of each, in the order of the text."""

    spans: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, text: str) -> Skeleton:
        """Reads `NP:2 VP:3 PP:3`; without a number a span has one token, `*:5` leaves five tokens free."""
        spans = []
        for item in text.split():
            label, colon, number = item.rpartition(":")
            if not (colon and label and number.isdecimal()):
                label, number = item, "1"
            digits = number.lstrip("0") or "0"
            if len(digits) > len(str(MAX_TOKENS)) or int(digits) > MAX_TOKENS:
                raise DataError(f"'{item[:40]}' has more than {MAX_TOKENS:,} tokens; write a span as in NP:2")
            if int(digits) < 1:
                raise DataError(f"'{item}' has {number} tokens; a span has at least 1, as in NP:2")
            spans.append((label, int(digits)))
        if not spans:
            raise DataError("the skeleton is empty; write LABEL:TOKENS, for example NP:2 VP:3")
        return cls(tuple(spans))

    def __len__(self) -> int:
        """Tokens of the text."""
        return sum(length for _, length in self.spans)


def follow_skeleton(
    denoiser: HasHead,
    corruption: Corruption,
    tokenizer: Tokenizer,
    sampler: Sampler,
    skeleton: Skeleton,
    *,
    labels: Mapping[str, Mapping[str, int]],
    num_samples: int = 1,
    longest: int | None = None,
    accept: Callable[[Sequence[str]], bool] | None = None,
    tries: int = 1,
    generator: torch.Generator | None = None,
) -> Controlled:
    """Writes texts whose coarsest types are those of the skeleton; finer ones are drawn, then the tokens.

    Args:
        denoiser: The model.
        corruption: Its cascade, whose types show labels.
        tokenizer: Its tokenizer.
        sampler: A `CoarseToFineSampler`.
        skeleton: The spans.
        labels: For each level the numbers of its labels (`data.labels` of run.json).
        num_samples: Texts to make.
        longest: Tokens of the rows the model was trained on; None: any.
        accept: Whether a text, given as one piece per token, is what was wanted (`skeleton_checker`).
        tries: Texts drawn per sample until one is accepted; if none is, the first one stays.
        generator: Source of randomness, on the model's device.

    Returns:
        The texts; types are given, so there is no score.

    Raises:
        DataError: If the model generates no labels first, a label is unknown, the text is too long, or tries
            are below 1 or cannot be told apart.
    """
    if tries < 1 or (tries > 1 and accept is None):
        raise DataError(f"{tries} tries; give at least 1, and more only with a parser that accepts a text")
    check_rows(num_samples, len(skeleton), longest)
    types = skeleton_types(skeleton, corruption, labels)  # (L, R)
    if not isinstance(sampler, CoarseToFineSampler):
        raise DataError(f"{type(sampler).__name__} knows no types; add", "--sampler coarse_to_fine")
    check_steps(sampler, num_values(skeleton, corruption))
    row = [tokenizer.eos_id, *[unwrapped(denoiser).mask_id] * len(skeleton), tokenizer.eos_id]
    filler = sampler.banning(tokenizer.facts.never_text)
    kept: dict[int, Samples] = {}
    accepted: set[int] = set()
    for _ in range(tries):
        wanted = [number for number in range(num_samples) if number not in accepted]
        if not wanted:
            break
        filled = filler.sample(
            denoiser,
            corruption,
            torch.tensor([row] * len(wanted)),
            types=types.expand(len(wanted), -1, -1),
            generator=generator,
        )
        for number, drawn in zip(wanted, one_by_one(filled), strict=True):
            if accept is not None and accept(tokenizer.pieces(drawn.tokens[0, 1:-1].tolist())):
                accepted.add(number)
                kept[number] = drawn
            kept.setdefault(number, drawn)
    return controlled(tokenizer, [kept[number] for number in range(num_samples)], [None] * num_samples)


def num_values(skeleton: Skeleton, corruption: Corruption) -> int:
    """Tokens and types that are drawn for a skeleton: the most steps that can be of use."""
    drawn = len(corruption.type_sizes) - (FREE not in dict(skeleton.spans))
    return len(skeleton) * (1 + max(0, drawn))


def skeleton_types(
    skeleton: Skeleton, corruption: Corruption, labels: Mapping[str, Mapping[str, int]]
) -> Tensor:
    """Types of a row, hidden where the skeleton leaves them open.

    Args:
        skeleton: The spans.
        corruption: The model's cascade.
        labels: For each level the numbers of its labels.

    Returns:
        long (L, R), the number of types of a stream where they are to be drawn.

    Raises:
        DataError: If the model generates no labels first, or a label is unknown.
    """
    level, code = _label_code(corruption, skeleton)
    known = known_labels(labels.get(level, {}), code.num_labels)
    sizes = torch.tensor(corruption.type_sizes)
    types = sizes.repeat(len(skeleton) + NUM_ENDS, 1)
    # The ends are separators: units of their own without a label, at every level.
    types[0] = types[-1] = code.encode(1, 0, 0)
    place = 1
    for label, length in skeleton.spans:
        if label != FREE:
            if label not in known:
                open_ones = " ".join(f"{name if name in known else FREE}:{n}" for name, n in skeleton.spans)
                raise DataError(
                    f"no label '{label}' at level '{level}'{nearest(label, known)} (known: "
                    f"{', '.join(known)}); {FREE} leaves it open:",
                    f"--skeleton '{open_ones}'",
                )
            types[place : place + length, 0] = code.encode(0, known[label], 0)
            types[place, 0] = code.encode(1, known[label], 0)
        place += length
    return types


def known_labels(numbers: Mapping[str, int], num_labels: int) -> dict[str, int]:
    """Labels that types tell apart, by rising number; rarer ones share one type with the last."""
    is_shared = max(numbers.values(), default=0) > num_labels
    known = {
        label: number
        for label, number in numbers.items()
        if number < num_labels or (number == num_labels and not is_shared)
    }
    return dict(sorted(known.items(), key=lambda item: item[1]))


def skeleton_labels(corruption: Corruption, labels: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Labels that a skeleton may name, most frequent first; empty for models that generate none first."""
    for level, code in corruption.type_codes[:1]:
        if code.num_labels and not code.is_lexical:
            return list(known_labels(labels.get(level, {}), code.num_labels))
    return []


def _label_code(corruption: Corruption, skeleton: Skeleton) -> tuple[str, TypeCode]:
    """Level whose labels are generated first, and their code."""
    codes = corruption.type_codes
    if codes and codes[0][1].num_labels and not codes[0][1].is_lexical:
        if not corruption.generates_types_first:
            raise DataError("the cascade generates words first; skeletons need direction 'coarse_to_fine'")
        if any(code.num_buckets for _, code in codes):
            raise DataError("types of the cascade also show salience; train without it to give a skeleton")
        return codes[0]
    kind = type(corruption).__name__ + (" without labels" if codes else "")
    types = "types: [label], num_labels: 32"
    raise DataError(
        f"a skeleton needs a model that generates labels before words, this one is of {kind}; train with",
        f"'corruption={{kind: tree_cascade, levels: [{_level_of(skeleton)}], {types}}}'",
    )


def _level_of(skeleton: Skeleton) -> str:
    """Level whose spans have such labels: NP is a phrase, NN a word."""
    from hdiff.parsers.brackets import CLAUSE_LABELS
    from hdiff.parsers.evaluation import CATEGORIES

    labels = {label for label, _ in skeleton.spans}
    return "phrase" if labels & CATEGORIES.keys() else "clause" if labels & CLAUSE_LABELS else "word"
