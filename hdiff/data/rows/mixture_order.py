"""MixtureOrder: which corpus of a mixture each row of an endless sequence comes from.

A function of the seed and the row's place. The places are cut into windows. How many rows of a window a
corpus gives follows from its exact quota up to both ends of the window (an integer division: errors are
carried on and never add up); their order inside the window is drawn from the seed. So a stretch is off by no
more than what its two cut windows hold, whatever its length, and the rows of each of several processes are
mixed, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch

from hdiff.seeds import derive_seed

WINDOW = 16
"""Rows whose order is drawn together."""


class MixtureOrder:
    """Which corpus each place of an endless sequence takes its row from, by one weight per corpus."""

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        self.seed = seed
        exact = [Fraction(weight) for weight in weights]
        self.shares = [weight / sum(exact) for weight in exact]
        # Each corpus takes its part of what those before it leave; the last one takes all of it.
        self._parts = [weight / sum(exact[index:]) for index, weight in enumerate(exact)]
        self._phases = [
            derive_seed(seed, "mixture phase", index) % part.denominator
            for index, part in enumerate(self._parts)
        ]
        self._window = -1
        self._places: list[tuple[int, int]] = []

    def counts(self, places: int) -> list[int]:
        """How many of the first `places` rows, a multiple of `WINDOW`, each corpus gives."""
        counts = []
        for part, phase in zip(self._parts, self._phases, strict=True):
            counts.append((places * part.numerator + phase) // part.denominator)
            places -= counts[-1]
        return counts

    def at(self, place: int) -> tuple[int, int]:
        """The corpus at a place, and how many of its rows lie at places before."""
        window, position = divmod(place, WINDOW)
        if window != self._window:
            self._places = self._drawn(window)
            self._window = window
        return self._places[position]

    def _drawn(self, window: int) -> list[tuple[int, int]]:
        before, after = self.counts(window * WINDOW), self.counts((window + 1) * WINDOW)
        corpora = [
            corpus
            for corpus, (first, last) in enumerate(zip(before, after, strict=True))
            for _ in range(last - first)
        ]
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "mixture", window))
        places = []
        for index in torch.randperm(WINDOW, generator=generator).tolist():
            corpus = corpora[index]
            places.append((corpus, before[corpus]))
            before[corpus] += 1
        return places
