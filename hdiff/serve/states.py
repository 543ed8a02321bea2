"""States x_t of a sentence: one draw of the run's own corruption, seen at a hundred times.

Dimensions: L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hdiff.corruption import (
    BlockMasking,
    Corrupted,
    Corruption,
    Gaussian,
    SoftMasking,
    TreeCascade,
    UnitMasking,
)
from hdiff.corruption.gaussian import GaussianCorrupted
from hdiff.data.batch import Batch
from hdiff.serve.requests import CorruptRequest
from hdiff.serve.sentence import Sentence
from hdiff.serve.served_run import ServedRun
from hdiff.structure import LEVELS

_MIXTURE = (
    "This run was trained on a mixture: the seed decides whether the units are those of the tree (level {}) "
    "or random spans. Here: {}."
)
NUM_TIMES = 100
"""Times 1/100 .. 1; at 0 the text is clean."""


def corrupt_sentence(request: CorruptRequest, run: ServedRun) -> dict[str, Any]:
    """Everything there is to see of a corrupted sentence.

    Every time is a call of `corrupt` with the same seed. The corruptions draw the order in which tokens are
    hidden before they look at t, so a state holds all that is hidden at earlier times.

    Args:
        request: The sentence.
        run: The model.

    Returns:
        JSON-able: `tokens`, each with `text`, `salience`, `unit` and `states`, a list of `[number of the
        time, kind, text]` with kind `clean`, `masked`, `typed` (a type stands in) or `replaced`; `spans` and
        `groups` (units of each level) in token positions; `signal` (Gaussian noise: its share at each
        time); `corruption`, `level`, `notes`.

    Raises:
        DataError: As `Sentence.of` and `Corruption.corrupt`.
    """
    sentence = Sentence.of(request.text, run)
    corruption, notes = sentence.corruption(run)
    levels = [level for level in LEVELS[:-1] if any(span.level == level for span in sentence.spans)]
    found: dict[str, Any] = {
        "tokens": [
            {"text": piece, "salience": salience, "unit": place, "states": []}
            for place, (piece, salience) in enumerate(zip(sentence.pieces, sentence.salience, strict=True))
        ],
        "spans": [vars(span) for span in sentence.spans],
        "groups": {level: sentence.groups(level) for level in levels},
        "num_times": NUM_TIMES,
        "signal": None,
        "corruption": None if corruption is None else run.recipe.corruption["kind"],
        "level": None if corruption is None else "token",
        "is_parsed": sentence.is_parsed,
        "notes": [*sentence.notes, *notes],
    }
    if corruption is None:
        return found
    batch = sentence.batch(run)
    if isinstance(corruption, UnitMasking):
        units = corruption.units(batch, generator=torch.Generator().manual_seed(request.seed))[0].tolist()
        for token, unit in zip(found["tokens"], units, strict=True):
            token["unit"] = unit
        found["level"] = _level(corruption, batch, units)
        if getattr(corruption, "segmentation", "") == "mixture" and corruption.required_levels():
            found["notes"].append(_MIXTURE.format(corruption.required_levels()[0], found["level"]))
    numbers = (run.folder.record.get("data") or {}).get("labels") or {}
    signal = []
    for number in range(1, NUM_TIMES + 1):
        state = state_at(corruption, batch, number / NUM_TIMES, request.seed)
        if isinstance(state, GaussianCorrupted):
            signal.append(float(state.log_snr.sigmoid().mean()))
            continue
        for token, shown in zip(found["tokens"], _shown(state, corruption, run, numbers), strict=True):
            before = token["states"][-1][1:] if token["states"] else ["clean", ""]
            if list(shown) != before:
                token["states"].append([number, *shown])
    if isinstance(corruption, BlockMasking):
        found["notes"].append(
            f"This corruption has blocks of {corruption.block_size} tokens, each at a time of its own: t "
            f"moves all of them on by the same amount, so some are hidden early and not all at t = 1."
        )
    if isinstance(corruption, Gaussian):
        found["signal"] = signal
        found["notes"].append(
            "Gaussian noise is added to the vectors of the tokens: none is hidden or replaced, and there are "
            "no units. What fades is the share of the signal that is left, alpha² in the mean over tokens."
        )
    return found


def state_at(corruption: Corruption, batch: Batch, t: float, seed: int) -> Corrupted:
    """The state at one time; the same seed gives the same order of hiding at all times.

    Args:
        corruption: The corruption.
        batch: A batch of one row.
        t: Time in (0, 1].
        seed: Seed.

    Returns:
        The state.
    """
    return corruption.corrupt(batch, torch.tensor([t]), generator=torch.Generator().manual_seed(seed))


def _level(corruption: UnitMasking, batch: Batch, units: Sequence[int]) -> str:
    """What the units of this draw are: those of a level of the parse, or random spans."""
    if units == list(range(len(units))):
        return "token"
    level = getattr(corruption, "level", "")
    is_parsed = level in batch.unit_ids and units == batch.unit_ids[level][0].tolist()
    return level if is_parsed else "random span"


def _shown(
    state: Corrupted, corruption: Corruption, run: ServedRun, labels: Mapping[str, Mapping[str, int]]
) -> list[tuple[str, str]]:
    """What stands at each token of a state: kind and text."""
    types = None if state.types_t is None else state.types_t[0]
    shown = []
    for place, (now, clean) in enumerate(zip(state.x_t[0].tolist(), state.x_0[0].tolist(), strict=True)):
        if now == clean:
            shown.append(("clean", ""))
        elif now != corruption.mask_id:
            shown.append(("replaced", "".join(run.tokenizer.pieces([now])).strip() or "␣"))
        else:
            text = "" if types is None else _type_text(types[place], corruption, labels)
            shown.append(("typed", text) if text else ("masked", ""))
    return shown


def _type_text(types: Tensor, corruption: Corruption, labels: Mapping[str, Mapping[str, int]]) -> str:
    """The finest type that is visible, in words: `[` begins a unit, its label, its class of salience."""
    sizes = corruption.type_sizes
    if isinstance(corruption, SoftMasking):
        shown = [int(number) for number, size in zip(types, sizes, strict=True) if int(number) < size]
        if not shown:
            return ""
        number = shown[-1]
        if corruption.is_lexical:
            return f"class {number}"
        return _label(number, labels.get(corruption.level, {}), corruption.num_classes)
    if not isinstance(corruption, TreeCascade):
        return ""
    is_downward = corruption.direction == "coarse_to_fine"
    levels = corruption.levels if is_downward else corruption.levels[::-1]
    text = ""
    for level, size, value in sorted(
        zip(levels, sizes, types.tolist(), strict=True), key=lambda entry: LEVELS.index(entry[0])
    ):
        if value < size:
            text = _tree_type(value, level, corruption, labels)
    return text


def _tree_type(
    value: int, level: str, corruption: TreeCascade, labels: Mapping[str, Mapping[str, int]]
) -> str:
    salience = ""
    if "salience" in corruption.types and level == corruption.levels[-1]:
        value, bucket = divmod(value, corruption.num_buckets)
        salience = f" s{bucket}"
    border = ""
    if "boundary" in corruption.types:
        value, begins = divmod(value, 2)
        border = "[" if begins else "·"
    has_label = "label" in corruption.types
    label = _label(value, labels.get(level, {}), corruption.num_labels) if has_label else ""
    return f"{border}{label}{salience}".strip()


def _label(number: int, numbers: Mapping[str, int], num_labels: int) -> str:
    if number == 0:
        return "none"
    if number == num_labels and max(numbers.values(), default=0) > num_labels:
        return "other"
    return next((label for label, known in numbers.items() if known == number), str(number))
