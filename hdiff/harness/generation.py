"""Writer: continuations and fillings that a task of the harness asks for. No lm_eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hdiff.components import nearest
from hdiff.control.pattern import Gap, Pattern, infill
from hdiff.corruption import UnitMasking
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.heads.sampling import GREEDY, Sampling
from hdiff.models.denoiser import Denoiser
from hdiff.samplers import AncestralSampler
from hdiff.samplers.draw import STEPS
from hdiff.seeds import derive_seed

ARGUMENTS = ("until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p", "infill")
"""What a task may ask for; `infill: true` reads the context as `The dog [4] .`."""

_MAX_NEW_TOKENS = 256  # the default of the harness


@dataclass(frozen=True)
class Writer:
    """Fills the end of a text, or its gaps, with a model of masked units.

    Args:
        model: The model.
        corruption: What it was trained with.
        tokenizer: Its tokenizer.
        max_tokens: Tokens of a text between its ends.
        steps: Steps T; None takes 16, or fewer where there is less to fill.
        seed: Seed; every context has noise of its own.
    """

    model: Denoiser
    corruption: UnitMasking
    tokenizer: Tokenizer
    max_tokens: int
    steps: int | None = None
    seed: int = 0

    def __call__(self, context: str, arguments: Mapping[str, Any]) -> str:
        """Continues a context up to a stop text.

        The length is set before: `max_gen_toks`, at most a row; what follows a stop is cut off. A context
        that does not fit beside it loses its beginning.

        Args:
            context: The context; with `infill` a text with gaps.
            arguments: Of `ARGUMENTS`.

        Returns:
            What follows the context; with `infill` the whole text.

        Raises:
            DataError: If an argument has no meaning for diffusion, or gaps are malformed.
        """
        for name in arguments:
            if name not in ARGUMENTS:
                raise DataError(
                    f"a task asks for '{name}', which diffusion has not{nearest(name, ARGUMENTS)} "
                    f"(known: {', '.join(ARGUMENTS)}); set other --gen_kwargs"
                )
        is_infill = bool(arguments.get("infill", False))
        if is_infill:
            pattern = Pattern.parse(context, self.tokenizer)
        else:
            pattern = self._continuation(context, int(arguments.get("max_gen_toks", _MAX_NEW_TOKENS)))
        device = self.model.head.embedding.weight.device
        drawn = infill(
            self.model,
            self.corruption,
            self.tokenizer,
            AncestralSampler(min(self.steps or STEPS, pattern.fewest_hidden), sampling=_sampling(arguments)),
            pattern,
            generator=torch.Generator(device).manual_seed(derive_seed(self.seed, "generate", context)),
        )
        if is_infill:
            return drawn.texts[0]
        num_given = sum(len(part) for part in pattern.parts if not isinstance(part, Gap))
        pieces = self.tokenizer.pieces(drawn.tokens[0].tolist())
        return _until("".join(pieces[num_given:]), arguments.get("until") or ())

    def _continuation(self, context: str, wanted: int) -> Pattern:
        if wanted < 1:
            raise DataError(f"max_gen_toks is {wanted}; give at least 1")
        given, _ = self.tokenizer.encode(context.rstrip())
        num_new = min(wanted, self.max_tokens)
        num_kept = min(len(given), self.max_tokens - num_new)
        gap = Gap(num_new, num_new)
        return Pattern((tuple(given[len(given) - num_kept :]), gap) if num_kept else (gap,))


def _sampling(arguments: Mapping[str, Any]) -> Sampling:
    """As in transformers: greedy, unless a task asks for samples."""
    temperature = float(arguments.get("temperature", 1.0))
    if not arguments.get("do_sample", temperature not in (0.0, 1.0)) or temperature == 0:
        return GREEDY
    return Sampling(temperature, top_k=arguments.get("top_k"), top_p=arguments.get("top_p"))


def _until(text: str, stops: str | Sequence[str]) -> str:
    """The text up to the first stop."""
    for stop in [stops] if isinstance(stops, str) else stops:
        if stop:
            text = text.partition(stop)[0]
    return text
