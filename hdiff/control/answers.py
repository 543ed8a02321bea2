"""Answering: answers to prompts, by whatever model there is. Torch only.

Dimensions: B prompts, L tokens of a whole row, N tokens to fill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from hdiff.corruption import Corruption, Free
from hdiff.data.batch import Batch
from hdiff.data.prompt_rows import NUM_ENDS
from hdiff.data.sources.prompts import PromptFormat
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.factory import DiffusionModel
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.autoregressive import Autoregressive, as_autoregressive
from hdiff.models.beside_given import BesideGiven
from hdiff.models.length_head import length_log_probs
from hdiff.models.wrapped import unwrapped
from hdiff.runs.folder import RunFolder
from hdiff.samplers.build import text_sampler

DEFAULT_TOKENS = 256
"""Most tokens of an answer of a model that never saw where one ends."""


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        prompt: What it answers, as the model read it.
        text: Its text.
        tokens: Its tokens, without the end.
        nfe: Evaluations of the network.
        has_ended: Whether the model ended it; else it was cut at the most tokens that were allowed.
    """

    prompt: str
    text: str
    tokens: tuple[int, ...]
    nfe: int
    has_ended: bool


@dataclass(frozen=True)
class Question:
    """A prompt in tokens, and the most tokens of its answer."""

    tokens: tuple[int, ...]
    most: int


@dataclass(frozen=True)
class Answering:
    """Draws answers. Given tokens are never changed.

    Three ways to end, as the model was trained: a length head draws the length first; a left-to-right model
    draws the end as a token; others fill all the room, and what follows the first end-of-text token is cut.

    Args:
        model: The network.
        corruption: What it was trained with; None for an autoregressive model.
        tokenizer: Its tokenizer.
        sequence_length: Tokens of its rows.
        prompts: How prompts are written; None for a model of texts without prompts.
        num_steps: Steps T of an answer; fewer where there is less to fill. None: the default of its sampler.
        sampler: `{kind: name, ...}` of `hdiff.samplers.SAMPLERS`; None is the plain one.
        sampling: Temperature and truncation, of lengths too.
    """

    model: DiffusionModel | Autoregressive
    corruption: Corruption | None
    tokenizer: Tokenizer
    sequence_length: int
    prompts: PromptFormat | None = None
    num_steps: int | None = None
    sampler: Mapping[str, Any] | None = None
    sampling: Sampling = AS_IT_IS

    @classmethod
    def of_run(cls, run: RunFolder, **options: Any) -> Answering:
        """Answers by the model of a run, as its data set writes prompts."""
        prompts = run.record["data"].get("prompts")
        return cls(
            run.model,
            None if run.autoregressive is not None else run.corruption,
            run.tokenizer,
            run.recipe.data.sequence_length,
            None if prompts is None else PromptFormat.from_dict(prompts),
            **options,
        )

    def __call__(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int | None = None,
        generator: torch.Generator | None = None,
    ) -> list[Answer]:
        """Answers prompts.

        Args:
            prompts: The prompts, as `PromptFormat.prompt_of` writes them.
            max_tokens: Most tokens of an answer; None: what a row leaves.
            generator: Source of randomness, on the model's device.

        Returns:
            An answer to each.

        Raises:
            DataError: If a prompt leaves no room for an answer, or the sampler does not fit the model.
        """
        questions = [self._question(prompt, max_tokens) for prompt in prompts]
        answers = self.answer(questions, generator=generator)
        return [replace(answer, prompt=prompt) for answer, prompt in zip(answers, prompts, strict=True)]

    @torch.no_grad()
    def answer(
        self, questions: Sequence[Question], *, generator: torch.Generator | None = None
    ) -> list[Answer]:
        """Answers prompts in tokens."""
        answers: dict[int, Answer] = {}
        if (left_to_right := as_autoregressive(unwrapped(self.model))) is not None:
            for places in _alike(len(one.tokens) for one in questions):
                chosen = [questions[place] for place in places]
                answers.update(zip(places, self._by_token(left_to_right, chosen, generator), strict=True))
        else:
            sizes = self._sizes(questions, generator)
            for places in _alike(sizes):
                chosen = [questions[place] for place in places]
                answers.update(zip(places, self._by_steps(chosen, sizes[places[0]], generator), strict=True))
        return [answers[place] for place in range(len(questions))]

    @property
    def end(self) -> Literal["length", "token", "padding"]:
        """How answers end."""
        model = unwrapped(self.model)
        if as_autoregressive(model) is not None:
            return "token"
        has_head = getattr(model, "length_head", None) is not None
        return "length" if has_head and self.prompts is not None else "padding"

    def encode(self, prompt: str) -> list[int]:
        """Tokens of a prompt."""
        is_marked = self.prompts is not None and self.prompts.is_marked
        return (self.tokenizer.encode_marked(prompt) if is_marked else self.tokenizer.encode(prompt))[0]

    def room(self, num_tokens: int) -> int:
        """Tokens that a row leaves for the answer to a prompt of so many tokens."""
        return self.sequence_length - self._front(num_tokens) - num_tokens - (NUM_ENDS - 1)

    def _front(self, num_tokens: int) -> int:
        """End-of-text tokens before a prompt: one, or as many as let the answer begin with a block."""
        block_size = None if self.corruption is None else self.corruption.block_size
        return 1 + (-(1 + num_tokens)) % (block_size or 1)

    def _question(self, prompt: str, max_tokens: int | None) -> Question:
        if max_tokens is not None and max_tokens < 1:
            raise DataError(f"an answer of {max_tokens} tokens; give at least 1")
        tokens = self.encode(prompt)
        room = self.room(len(tokens))
        if room < 1:
            raise DataError(
                f"the prompt has {len(tokens)} tokens, and a row of {self.sequence_length} leaves no room "
                f"for an answer; shorten the prompt, or use a model with longer rows"
            )
        if max_tokens is not None and max_tokens > room:
            raise DataError(
                f"the prompt has {len(tokens)} tokens, and a row of {self.sequence_length} leaves {room} "
                f"for the answer, not {max_tokens}; ask for fewer:",
                f"--max-tokens {room}",
            )
        default = room if self.prompts is not None else min(room, DEFAULT_TOKENS)
        return Question(tuple(tokens), max_tokens or default)

    def _sizes(self, questions: Sequence[Question], generator: torch.Generator | None) -> list[int]:
        """Tokens to fill in each answer."""
        if self.end == "padding":
            whole = self.prompts is not None  # rows as long as those of its training
            return [self.room(len(one.tokens)) + 1 if whole else one.most for one in questions]
        model, device = unwrapped(self.model), self.model.head.embedding.weight.device
        rows, places = [], []
        for one in questions:
            rows.append([*self._before(one), model.mask_id, self.tokenizer.eos_id])
            places.append(len(rows[-1]) - 2)
        most = torch.tensor([one.most for one in questions], device=device)
        log_probs = length_log_probs(
            model, _padded(rows, self.tokenizer.eos_id, device), torch.tensor(places, device=device), most
        )
        drawn = self.sampling.draw(log_probs, generator=generator)
        return [1 + number for number in drawn.tolist()]

    def _before(self, question: Question) -> list[int]:
        return [self.tokenizer.eos_id] * self._front(len(question.tokens)) + list(question.tokens)

    def _by_steps(
        self, questions: Sequence[Question], size: int, generator: torch.Generator | None
    ) -> list[Answer]:
        assert self.corruption is not None, "a diffusion model has one"
        network, corruption = unwrapped(self.model), self.corruption.unconditional()
        eos_id, has_length = self.tokenizer.eos_id, self.end == "length"
        rows = [[*self._before(one), *[network.mask_id] * size, *[eos_id] * has_length] for one in questions]
        whole = _padded(rows, eos_id, network.head.embedding.weight.device)
        free = Free.of(replace(whole, given=whole.input_ids != network.mask_id))
        num_steps = (
            None
            if self.num_steps is None
            else min(self.num_steps, corruption.most_steps(size) or self.num_steps)
        )
        sampler = text_sampler(
            self.sampler,
            corruption,
            num_steps=num_steps,
            default=corruption.default_steps(size),
            sampling=self.sampling,
        )
        if sampler.bans:
            never = self.tokenizer.facts.never_text
            sampler = sampler.banning([one for one in never if has_length or one != eos_id])
        view = BesideGiven(network, free, corruption)
        samples = sampler.sample(view, corruption, free.batch.input_ids, generator=generator)
        calls = (samples.calls + has_length).tolist()
        return [
            self._finished(row, one.most, nfe, has_length=has_length)
            for row, one, nfe in zip(samples.tokens.tolist(), questions, calls, strict=True)
        ]

    def _by_token(
        self, model: Autoregressive, questions: Sequence[Question], generator: torch.Generator | None
    ) -> list[Answer]:
        eos_id, device = self.tokenizer.eos_id, model.head.embedding.weight.device
        never = [one for one in self.tokenizer.facts.never_text if one != eos_id]
        sampling = replace(self.sampling, banned=(*self.sampling.banned, *never))
        rows = torch.tensor([[model.vocab_size, *self._before(one)] for one in questions], device=device)
        first, most = rows.shape[1], max(one.most for one in questions)
        for _ in range(most + 1):
            hidden = model.trunk(model.head.embed(rows))[:, -1]
            rows = torch.cat(
                [rows, sampling.draw(model.head.logits(hidden), generator=generator)[:, None]], 1
            )
            if bool((rows[:, first:] == eos_id).any(1).all()):
                break
        return [
            self._finished(row, one.most, None)
            for row, one in zip(rows[:, first:].tolist(), questions, strict=True)
        ]

    def _finished(self, row: list[int], most: int, nfe: int | None, *, has_length: bool = False) -> Answer:
        end = row.index(self.tokenizer.eos_id) if self.tokenizer.eos_id in row else len(row)
        tokens = tuple(row[: min(end, most)])
        has_ended = end <= most and (end < len(row) or has_length)
        text = self.tokenizer.decode(tokens).strip() if tokens else ""
        return Answer("", text, tokens, min(end + 1, most) if nfe is None else nfe, has_ended)


def _padded(rows: Sequence[Sequence[int]], eos_id: int, device: torch.device) -> Batch:
    """Rows of different lengths as a batch."""
    length = max(map(len, rows))
    tokens = torch.tensor([[*row, *[eos_id] * (length - len(row))] for row in rows], device=device)
    sizes = torch.tensor([len(row) for row in rows], device=device)
    return Batch(tokens, torch.arange(length, device=device) < sizes[:, None])


def _alike(sizes: Any) -> list[list[int]]:
    """Places of equal sizes."""
    groups: dict[int, list[int]] = {}
    for place, size in enumerate(sizes):
        groups.setdefault(size, []).append(place)
    return list(groups.values())
