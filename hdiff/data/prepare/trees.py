"""TreeFile: parsed documents of a shard on disk, and the counts of their words.

One JSON value per line: a header, the documents, the statistics. A span is three numbers: start, end,
and its kind, an index into the header's list of (level, label).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hdiff.data.sources.rejected import Rejected
from hdiff.structure import Span, SpanTree

TREES_FORMAT = 4
"""Changes whenever the same trees are written differently."""


_TOLD = ("heads", "entities", "tags", "relations")
"""What trees may tell of each word besides spans."""


def encode_trees(items: Sequence[SpanTree | Rejected], statistics: Mapping[str, Any] | None) -> bytes:
    """The content of a file of trees, ASCII lines, with counts of their words if somebody needs them."""
    kinds: dict[tuple[str, str], int] = {}
    lines = [""]
    for item in items:
        if isinstance(item, Rejected):
            lines.append(json.dumps({"text": item.text, "rejected": item.reason, "place": item.place}))
            continue
        flat: list[int] = []
        for span in item.spans:
            kind = kinds.setdefault((span.level, span.label), len(kinds))
            flat += (span.start, span.end, kind)
        row: dict[str, Any] = {"text": item.text, "spans": flat}
        row |= {name: values for name in _TOLD if (values := getattr(item, name)) is not None}
        if item.language is not None:
            row["language"] = item.language
        lines.append(json.dumps(row))
    lines[0] = json.dumps({"trees": TREES_FORMAT, "kinds": list(kinds)})
    lines.append(json.dumps({"statistics": statistics}))
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def read_trees(path: Path) -> Iterator[SpanTree | Rejected]:
    """The documents of a file of trees in order: trees (salience 1) and rejected documents."""
    with path.open(encoding="ascii") as file:
        header = json.loads(next(file))
        kinds = [(level, label) for level, label in header["kinds"]]
        is_word = [level == "word" for level, _ in kinds]
        for line in file:
            row = json.loads(line)
            if "statistics" in row:
                return
            if "rejected" in row:
                yield Rejected(row["text"], row["rejected"], row.get("place", ""))
                continue
            flat = row["spans"]
            spans = []
            num_words = 0
            for start, end, kind in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
                level, label = kinds[kind]
                spans.append(Span(start, end, label, level))
                num_words += is_word[kind]
            told = {name: tuple(row[name]) for name in _TOLD if name in row}
            yield SpanTree(
                row["text"],
                tuple(spans),
                (1.0,) * num_words,
                **told,
                language=row.get("language"),
            )


def read_statistics(path: Path) -> Any:
    """The counts of a file of trees, as they were given to `encode_trees`; None if it has none."""
    with path.open("rb") as file:
        last_line = deque(file, maxlen=1).pop()
    return json.loads(last_line)["statistics"]
