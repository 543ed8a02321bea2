"""Keywords: words that occur in a text of a given length, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hdiff.control.candidates import Controlled, check_rows, fill_best
from hdiff.control.literal import Given, GivenText
from hdiff.corruption.base import Corruption
from hdiff.errors import DataError
from hdiff.models.wrapped import unwrapped
from hdiff.samplers.base import HasHead, Sampler

if TYPE_CHECKING:
    from hdiff.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Keywords:
    """Keywords and the text they are to occur in.

    Args:
        tokens: Tokens of each keyword, in the order of the text.
        length: Tokens of the text.

    Raises:
        DataError: If they leave no token of the text to fill.
    """

    tokens: tuple[Given, ...]
    length: int

    def __post_init__(self) -> None:
        if self.fewest_hidden < 1:
            raise DataError(
                f"the keywords take {self.length - self.fewest_hidden} tokens and do not fit into "
                f"{self.length} with at least one to fill; give a larger length"
            )

    @classmethod
    def of(cls, words: Sequence[str], length: int, tokenizer: Tokenizer) -> Keywords:
        """Keywords as tokens of a text of `length` tokens; one keyword may be several words."""
        if not words or not all(word.strip() for word in words):
            raise DataError(f"keywords are {list(words)}; give at least one, and none that is empty")
        # Inside of a text a word follows a space, which subword tokenizers put into its token.
        return cls(tuple(Given.of(f" {word.strip()}", tokenizer, is_inside=True) for word in words), length)

    @property
    def given(self) -> GivenText:
        """The given text of all keywords."""
        return GivenText(tuple(piece for word in self.tokens for piece in word.pieces), has_spaces=False)

    @property
    def fewest_hidden(self) -> int:
        """Tokens to fill."""
        return self.length - sum(map(len, self.tokens))

    def place(
        self, num_rows: int, *, mask_id: int, eos_id: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Rows with the keywords at random places, every placement in order equally likely.

        Args:
            num_rows: Rows B.
            mask_id: Stands where the text is to be filled.
            eos_id: Stands at both ends.
            generator: Source of randomness.

        Returns:
            long (B, length + 2).
        """
        device = None if generator is None else generator.device
        places = self.fewest_hidden + len(self.tokens)
        rows = []
        for _ in range(num_rows):
            drawn = torch.randperm(places, generator=generator, device=device)[: len(self.tokens)]
            at = dict(zip(drawn.sort().values.tolist(), self.tokens, strict=True))
            text = [token for place in range(places) for token in at.get(place, (mask_id,))]
            rows.append([eos_id, *text, eos_id])
        return torch.tensor(rows)


def with_keywords(
    denoiser: HasHead,
    corruption: Corruption,
    tokenizer: Tokenizer,
    sampler: Sampler,
    keywords: Keywords,
    *,
    num_samples: int = 1,
    tries: int = 8,
    longest: int | None = None,
    generator: torch.Generator | None = None,
) -> Controlled:
    """Texts with keywords in their order, by `infill`; the likeliest of several placements is kept."""
    check_rows(num_samples, keywords.length, longest)
    if tries < 1:
        raise DataError(f"{tries} tries; place the keywords at least once")
    ids = {"mask_id": unwrapped(denoiser).mask_id, "eos_id": tokenizer.eos_id}
    candidates = [keywords.place(num_samples, **ids, generator=generator) for _ in range(tries)]
    return fill_best(
        denoiser, corruption, tokenizer, sampler, candidates, given=keywords.given, generator=generator
    )
