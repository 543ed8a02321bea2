"""TokenStream: documents end to end as tokens, units, labels, salience and targets.

Dimensions: N tokens of all documents, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hdiff.data.unit_choice import OUTERMOST, document_keys, eligible
from hdiff.errors import DataError
from hdiff.seeds import derive_seed
from hdiff.structure import level_rank

if TYPE_CHECKING:
    from hdiff.data.prepared import PreparedData
    from hdiff.data.sources.arrow import ArrowRows
    from hdiff.data.token_targets import TokenTargets
    from hdiff.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenStream:
    """Documents end to end.

    Attributes:
        tokens: Token ids, int32 (N,).
        salience: Salience of each token, 0 for separators, float32 (N,).
        unit_starts: Level -> whether a unit begins at each token, bool (N,).
        labels: Level -> number of the label of each token's unit, 0 for none, int16 (N,).
        document_starts: Whether a document begins at each token, bool (N,).
        targets: Name -> what supervision predicts of each token, int16 (N,).
    """

    tokens: NDArray[np.int32]
    salience: NDArray[np.float32]
    unit_starts: Mapping[str, NDArray[np.bool_]]
    labels: Mapping[str, NDArray[np.int16]]
    document_starts: NDArray[np.bool_]
    targets: Mapping[str, NDArray[np.int16]]

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def of_rows(
        cls,
        rows: ArrowRows,
        tokenizer: Tokenizer,
        *,
        separator: bool,
        levels: Sequence[str],
        max_unit_tokens: int | None,
        label_numbers: NDArray[np.int16],
        units: str | Sequence[str] = OUTERMOST,
        units_seed: int = 0,
        token_salience: NDArray[np.float32] | None,
        targets: TokenTargets | None = None,
        labels: Sequence[str] = (),
    ) -> TokenStream:
        """Puts documents end to end.

        Args:
            rows: Documents, with the columns of `hdiff.data.sources.arrow.schema`.
            tokenizer: Their tokenizer.
            separator: Whether an end-of-text token follows each document.
            levels: Levels whose units are needed, `token` not among them.
            max_unit_tokens: Longest unit in tokens.
            label_numbers: Number of each label id of the rows.
            units: Which spans become units (`hdiff.data.unit_choice`).
            units_seed: Seed of random choices.
            token_salience: Salience of each token id, float32 (V,); None takes that of the rows.
            targets: What supervision predicts; None for nothing.
            labels: Labels by their ids in the rows, for `targets` and `units`.

        Returns:
            Their tokens.
        """
        lengths = rows.lengths("input_ids")
        extra = int(separator)
        starts = np.concatenate([[0], (lengths + extra).cumsum()])  # (documents + 1,)
        total = int(starts[-1])
        is_text = np.ones(total, dtype=np.bool_)
        if separator:
            is_text[starts[1:] - 1] = False
        tokens = np.full(total, tokenizer.eos_id, dtype=np.int32)
        tokens[is_text] = rows.values("input_ids")
        salience = np.zeros(total, dtype=np.float32)
        if token_salience is None:
            salience[is_text] = rows.values("salience")
        else:
            salience[is_text] = token_salience[tokens[is_text]]
        document_starts = np.zeros(total, dtype=np.bool_)
        document_starts[starts[:-1][np.diff(starts) > 0]] = True
        may_be_unit = _eligible(rows, starts, units, units_seed, labels) if levels else None
        columns = {
            level: _units(rows, starts, level, max_unit_tokens, label_numbers, may_be_unit)
            for level in levels
        }
        return cls(
            tokens,
            salience,
            {level: begins for level, (begins, _) in columns.items()},
            {level: numbers for level, (_, numbers) in columns.items()},
            document_starts,
            {} if targets is None else targets.of_rows(rows, starts, labels),
        )

    @classmethod
    def joined(cls, parts: Sequence[TokenStream], taken: slice) -> TokenStream:
        """Streams of the same levels end to end, and a stretch of the whole."""

        def cut(arrays: list[NDArray[Any]]) -> NDArray[Any]:
            return np.concatenate(arrays)[taken]

        levels = list(parts[0].unit_starts)
        return cls(
            cut([part.tokens for part in parts]),
            cut([part.salience for part in parts]),
            {level: cut([part.unit_starts[level] for part in parts]) for level in levels},
            {level: cut([part.labels[level] for part in parts]) for level in levels},
            cut([part.document_starts for part in parts]),
            {name: cut([part.targets[name] for part in parts]) for name in parts[0].targets},
        )

    def subset(self, num_tokens: int, *, seed: int | None) -> TokenStream:
        """Whole documents, drawn with the seed or the first ones, the last one cut."""
        begins = np.flatnonzero(self.document_starts)
        order = np.arange(len(begins))
        if seed is not None:
            order = np.argsort([derive_seed(seed, "subset", int(document)) for document in order])
        lengths = np.diff(np.append(begins, len(self)))[order]
        inside = np.arange(len(self)) - np.repeat(lengths.cumsum() - lengths, lengths)
        return self.taken((np.repeat(begins[order], lengths) + inside)[:num_tokens])

    def taken(self, places: NDArray[np.int64], *, rows: int | None = None) -> TokenStream:
        """Tokens in another order.

        Args:
            places: Which token stands at each place.
            rows: Rows of one length that they make up, a document each; None: documents begin where they did.

        Returns:
            The tokens.
        """
        document_starts = self.document_starts[places]
        if rows is not None:
            document_starts = np.zeros_like(document_starts)
            document_starts[:: len(places) // rows] = True
        return TokenStream(
            self.tokens[places],
            self.salience[places],
            {level: flags[places] for level, flags in self.unit_starts.items()},
            {level: labels[places] for level, labels in self.labels.items()},
            document_starts,
            {name: values[places] for name, values in self.targets.items()},
        )


def needed_levels(prepared: PreparedData, levels: Sequence[str]) -> list[str]:
    """Levels that need data, checked; `token` needs none."""
    needed = [level for level in levels if level != "token"]
    kept = list(prepared.manifest["levels"])
    for level in needed:
        if level not in kept:
            raise DataError(
                f"corruption needs level '{level}', the data set keeps {kept}; prepare it with that level:",
                prepared.command_with(level),
            )
        counts = prepared.manifest["counts"].get("train", {})
        if counts.get("spans", {}).get(level) == 0:
            raise DataError(
                f"level '{level}' has 0 spans in the {counts.get('documents', 0):,} training documents of "
                f"{prepared.path}; prepare them again with a --parser that gives it, or take another level"
            )
    return needed


def label_order(prepared: PreparedData) -> NDArray[np.int16]:
    """New number of each stored label: 1 the most frequent of the training split."""
    stored = prepared.split("train").values("span_label")
    counts = np.bincount(stored, minlength=int(stored.max(initial=0)) + 1)
    order = np.empty(len(counts), dtype=np.int16)
    order[np.argsort(-counts, kind="stable")] = np.arange(1, len(counts) + 1)
    return order


def label_numbers(names: Sequence[str], prepared: PreparedData) -> NDArray[np.int16]:
    """Numbers that a data set gives to labels: 1 to the most frequent one of its training split.

    Args:
        names: Labels, of this or of another data set.
        prepared: The data set whose numbers count.

    Returns:
        A number for each label; those that its training split lacks share the number after all others.
    """
    order = label_order(prepared)
    known = dict(zip(prepared.manifest["labels"], order.tolist(), strict=False))
    return np.array([known.get(name, len(order) + 1) for name in names], dtype=np.int16)


def _eligible(
    rows: ArrowRows,
    document_starts: NDArray[np.int64],
    units: str | Sequence[str],
    seed: int,
    labels: Sequence[str],
) -> NDArray[np.bool_] | None:
    """Spans that may become units; None for all."""
    if units == OUTERMOST:
        return None
    document = np.repeat(np.arange(len(rows)), rows.lengths("span_start"))
    lengths = rows.lengths("input_ids")
    keys = document_keys(rows.values("input_ids"), lengths, seed=seed)
    return eligible(
        units,
        first=rows.values("span_start") + document_starts[document],
        end=rows.values("span_end") + document_starts[document],
        rank=rows.values("span_level"),
        label=rows.values("span_label"),
        document=document,
        keys=keys,
        labels=labels,
    )


def _units(
    rows: ArrowRows,
    document_starts: NDArray[np.int64],
    level: str,
    max_unit_tokens: int | None,
    label_order: NDArray[np.int16],
    may_be_unit: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.bool_], NDArray[np.int16]]:
    """`hdiff.structure.segment` for all documents at once: where units begin, and their labels.

    Spans come in nesting order, so a candidate is maximal exactly if it begins at or after the end
    of every candidate before it.
    """
    document = np.repeat(np.arange(len(rows)), rows.lengths("span_start"))
    first = rows.values("span_start") + document_starts[document]
    end = rows.values("span_end") + document_starts[document]
    rank = rows.values("span_level")
    candidate = rank >= level_rank(level)
    if may_be_unit is not None:
        candidate &= may_be_unit
    if max_unit_tokens is not None:
        candidate &= end - first <= max_unit_tokens
    first, end = first[candidate], end[candidate]
    covered = np.concatenate([[0], np.maximum.accumulate(end)[:-1]]) if len(end) else end
    taken = first >= covered
    total = int(document_starts[-1])
    change = np.zeros(total + 2, dtype=np.int64)
    np.add.at(change, first[taken] + 1, 1)
    np.add.at(change, end[taken], -1)
    label = label_order[np.minimum(rows.values("span_label")[candidate][taken], len(label_order) - 1)]
    labels = np.zeros(total, dtype=np.int16)
    lengths = end[taken] - first[taken]
    inside = np.arange(int(lengths.sum())) - np.repeat(lengths.cumsum() - lengths, lengths)
    labels[np.repeat(first[taken], lengths) + inside] = np.repeat(label, lengths)
    return change.cumsum()[:total] <= 0, labels
