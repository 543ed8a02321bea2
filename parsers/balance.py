"""Balance: how many spans hold one of two brackets or quotes without the other. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from hdiff.structure import SpanTree

from .pairs import paired


@dataclass
class Balance:
    """Clauses and phrases with a mark whose partner is in the sentence, and those without the partner."""

    spans: int = 0
    unbalanced: int = 0

    def add(self, tree: SpanTree) -> None:
        """Counts the spans of one sentence."""
        words = tree.words
        pairs = paired([tree.text[word.start : word.end] for word in words], [word.label for word in words])
        places = [(words[pair.first].start, words[pair.last].start) for pair in pairs]
        for span in tree.spans if places else ():
            if span.level not in ("clause", "phrase"):
                continue
            held = [(span.start <= a < span.end, span.start <= b < span.end) for a, b in places]
            self.spans += any(a or b for a, b in held)
            self.unbalanced += any(a != b for a, b in held)

    def to_dict(self) -> dict[str, float]:
        """Counts, and the share in [0, 1] of unbalanced spans."""
        share = self.unbalanced / self.spans if self.spans else 0.0
        return {"share": share, "unbalanced": self.unbalanced, "spans": self.spans}
