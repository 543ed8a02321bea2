"""States x_t of a sentence: one draw of the run's own corruption, seen at a hundred times.

Dimensions: L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hdiff.corruption import Corrupted, Corruption
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
    result: dict[str, Any] = {
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
        return result
    batch = sentence.batch(run)
    masked = corruption.masked_units()
    if masked is not None:
        units = masked.units(batch, generator=torch.Generator().manual_seed(request.seed))[0].tolist()
        for token, unit in zip(result["tokens"], units, strict=True):
            token["unit"] = unit
        result["level"] = _level(corruption, batch, units)
        if getattr(corruption, "segmentation", "") == "mixture" and corruption.required_levels():
            result["notes"].append(_MIXTURE.format(corruption.required_levels()[0], result["level"]))
    numbers = (run.folder.record.get("data") or {}).get("labels") or {}
    signal = []
    for number in range(1, NUM_TIMES + 1):
        state = state_at(corruption, batch, number / NUM_TIMES, request.seed)
        if state.signal is not None:
            signal.append(state.signal)
            continue
        for token, shown in zip(result["tokens"], _shown(state, corruption, run, numbers), strict=True):
            before = token["states"][-1][1:] if token["states"] else ["clean", ""]
            if list(shown) != before:
                token["states"].append([number, *shown])
    if corruption.about_states is not None:
        result["notes"].append(corruption.about_states)
    result["signal"] = signal or None
    return result


def state_at(corruption: Corruption, batch: Batch, t: float, seed: int) -> Corrupted:
    """The state at one time; the same seed gives the same order of hiding at all times."""
    return corruption.corrupt(batch, torch.tensor([t]), generator=torch.Generator().manual_seed(seed))


def _level(corruption: Corruption, batch: Batch, units: Sequence[int]) -> str:
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
    """The finest type that is visible, in words."""
    visible = [
        ((LEVELS.index(level), number), code.describe(value, labels.get(level, {})))
        for number, ((level, code), value) in enumerate(
            zip(corruption.type_codes, types.tolist(), strict=True)
        )
        if value < code.size
    ]
    return max(visible)[1] if visible else ""
