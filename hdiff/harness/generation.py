"""Writer: continuations and fillings that a task of the harness asks for. No lm_eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from hdiff.control.answers import Answering, Question
from hdiff.control.literal import Given
from hdiff.control.pattern import Gap, Pattern, infill
from hdiff.corruption import Corruption
from hdiff.corruption.base import DEFAULT_STEPS
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.harness.arguments import GenerationArguments
from hdiff.heads.sampling import GREEDY, Sampling
from hdiff.samplers import AncestralSampler
from hdiff.samplers.base import HasHead
from hdiff.seeds import derive_seed


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

    model: HasHead
    corruption: Corruption
    tokenizer: Tokenizer
    max_tokens: int
    steps: int | None = None
    seed: int = 0

    def __call__(self, context: str, arguments: GenerationArguments) -> str:
        """Continues a context up to a stop text.

        The length is set before: `max_gen_toks`, or what a row leaves beside the context; what follows a stop
        is cut off. A context of more than half a row loses its beginning, down to half a row.

        Args:
            context: The context; with `infill` a text with gaps.
            arguments: What the task asks for.

        Returns:
            What follows the context; with `infill` the whole text.

        Raises:
            DataError: If gaps are malformed.
        """
        if arguments.infill:
            pattern = Pattern.parse(context, self.tokenizer)
        else:
            pattern = self._continuation(context, arguments.max_gen_toks)
        device = self.model.head.embedding.weight.device
        num_steps = min(self.steps or DEFAULT_STEPS, pattern.fewest_hidden)
        drawn = infill(
            self.model,
            self.corruption,
            self.tokenizer,
            AncestralSampler(num_steps, sampling=_sampling(arguments)),
            pattern,
            generator=torch.Generator(device).manual_seed(derive_seed(self.seed, "generate", context)),
        )
        if arguments.infill:
            return drawn.texts[0]
        num_given = sum(len(part) for part in pattern.parts if not isinstance(part, Gap))
        pieces = self.tokenizer.pieces(drawn.tokens[0].tolist())
        return _until("".join(pieces[num_given:]), arguments.until or ())

    def _continuation(self, context: str, wanted: int) -> Pattern:
        ids, num_kept, num_new = self._fitted(context, wanted)
        kept = ids[len(ids) - num_kept :]
        gap, given = Gap(num_new, num_new), Given(kept, self.tokenizer.pieces(kept))
        return Pattern((given, gap) if kept else (gap,))

    def is_cut(self, context: str, arguments: GenerationArguments) -> bool:
        """Whether a row has no room for the whole context and `max_gen_toks` tokens behind it."""
        given, num_kept, num_new = self._fitted(context, arguments.max_gen_toks)
        return not arguments.infill and (num_kept < len(given) or num_new < arguments.max_gen_toks)

    def _fitted(self, context: str, wanted: int) -> tuple[list[int], int, int]:
        """Tokens of a context, how many of them are kept, and how many are written behind them."""
        given, _ = self.tokenizer.encode(context.rstrip())
        num_kept = min(len(given), max(self.max_tokens // 2, self.max_tokens - wanted))
        return given, num_kept, min(wanted, self.max_tokens - num_kept)


@dataclass(frozen=True)
class AnswerWriter:
    """Answers contexts with a model that says where an answer ends.

    Args:
        answering: What answers.
        seed: Seed; every context has noise of its own.
    """

    answering: Answering
    seed: int = 0

    def __call__(self, context: str, arguments: GenerationArguments) -> str:
        """Answers a context, up to a stop text.

        A context that leaves less than half a row loses its beginning.

        Args:
            context: The context.
            arguments: What the task asks for.

        Returns:
            The answer.

        Raises:
            DataError: If gaps are asked of a model that answers prompts.
        """
        if arguments.infill:
            raise DataError("infill: true is for models of masked units without prompts; leave it out")
        question = self._question(context, arguments)
        answering = replace(self.answering, sampling=_sampling(arguments))
        device = answering.model.head.embedding.weight.device
        generator = torch.Generator(device).manual_seed(derive_seed(self.seed, "generate", context))
        (answer,) = answering.answer([question], generator=generator)
        return _until(answer.text, arguments.until or ())

    def is_cut(self, context: str, arguments: GenerationArguments) -> bool:
        """Whether a row has no room for the whole context; an answer shorter than `max_gen_toks` is none."""
        kept = len(self._question(context, arguments).tokens)
        return kept < len(self.answering.encode(self._stripped(context)))

    def _stripped(self, context: str) -> str:
        prompts = self.answering.prompts
        return context if prompts is not None and prompts.is_marked else context.strip()

    def _question(self, context: str, arguments: GenerationArguments) -> Question:
        tokens = self.answering.encode(self._stripped(context))
        kept = min(len(tokens), self.answering.sequence_length // 2)
        while kept < len(tokens) and self.answering.room(kept + 1) >= arguments.max_gen_toks:
            kept += 1
        if self.answering.room(len(tokens)) >= self.answering.sequence_length // 2:
            kept = len(tokens)
        return Question(
            tuple(tokens[len(tokens) - kept :]), min(arguments.max_gen_toks, self.answering.room(kept))
        )


def _sampling(arguments: GenerationArguments) -> Sampling:
    """As in transformers: greedy, unless a task asks for samples."""
    temperature, is_drawn = arguments.temperature, arguments.do_sample
    if is_drawn is None:
        is_drawn = temperature not in (0.0, 1.0)
    if not is_drawn or temperature == 0:
        return GREEDY
    return Sampling(temperature, top_k=arguments.top_k, top_p=arguments.top_p)


def _until(text: str, stops: str | Sequence[str]) -> str:
    """The text up to the first stop."""
    for stop in [stops] if isinstance(stops, str) else stops:
        if stop:
            text = text.partition(stop)[0]
    return text
