"""TextDiffusionPipeline: model, tokenizer, corruption and sampler, called to make text.

Dimensions: B texts, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hdiff.control.answers import Answering
from hdiff.control.literal import Given
from hdiff.control.pattern import Gap, Pattern
from hdiff.control.pattern import infill as fill_gaps
from hdiff.corruption import Corruption
from hdiff.corruption.base import DEFAULT_STEPS
from hdiff.data.sources.prompts import PromptFormat
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.factory import DiffusionModel
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.models.wrapped import unwrapped
from hdiff.samplers import OnStep, Sampler, hidden_rows
from hdiff.samplers.build import text_sampler
from hdiff.sharing import PretrainedModel

NUM_ENDS = 2
"""Texts with given words stand between two end-of-text tokens."""


@dataclass(frozen=True)
class PipelineOutput:
    """Texts of one call.

    Attributes:
        texts: The texts.
        tokens: Their tokens, long (L_i,) each.
        nfe: Evaluations of the network for the text that took most.
        scores: Bound on -log p(filled | given), nats per token; None where nothing was given or the sampler
            has no bound.
    """

    texts: tuple[str, ...]
    tokens: tuple[Tensor, ...]
    nfe: int
    scores: tuple[float | None, ...]


class TextDiffusionPipeline:
    """Makes text, as a pipeline of diffusers makes images. Its parts are attributes that may be swapped.

    Args:
        model: The network.
        tokenizer: Its tokenizer.
        corruption: What it was trained with.
        sequence_length: Tokens of a text if none are asked for, and the most with given words.
        sampler: A `Sampler`, or its recipe `{kind: name, ...}`, which takes the steps of a call; None is
            `free_sampler` where nothing is given, else the plain sampler of the corruption.
        sampling: Temperature and truncation, if `sampler` is no finished `Sampler`.
        free_sampler: Recipe of the sampler of free texts; None is the plain one.
        prompts: How prompts are written; None for a model of texts without prompts.
    """

    def __init__(
        self,
        model: DiffusionModel,
        tokenizer: Tokenizer,
        corruption: Corruption,
        *,
        sequence_length: int,
        sampler: Sampler | Mapping[str, Any] | None = None,
        sampling: Sampling = AS_IT_IS,
        free_sampler: Mapping[str, Any] | None = None,
        prompts: PromptFormat | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.corruption = corruption
        self.sequence_length = sequence_length
        self.sampler = sampler
        self.sampling = sampling
        self.free_sampler = free_sampler
        self.prompts = prompts

    @classmethod
    def of(cls, pretrained: PretrainedModel) -> TextDiffusionPipeline:
        """The pipeline of a model; free texts are drawn by the sampler of its recipe."""
        return cls(
            pretrained.denoiser,
            pretrained.tokenizer,
            pretrained.corruption,
            sequence_length=pretrained.description.sequence_length,
            free_sampler=pretrained.description.evaluation.sampler,
            prompts=None
            if (given := pretrained.description.prompts) is None
            else PromptFormat.from_dict(given),
        )

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> TextDiffusionPipeline:
        """Loads a model.

        Args:
            name: A folder of `hdiff export`, a run folder, `builtin:stories`, or a repository of the hub.
            **options: See `PretrainedModel.from_pretrained`.

        Returns:
            The pipeline.
        """
        return cls.of(PretrainedModel.from_pretrained(name, **options))

    def to(self, device: torch.device | str) -> TextDiffusionPipeline:
        """Moves the network; generators must be on the same device. Returns this pipeline."""
        self.model.to(device)
        return self

    @property
    def _network(self) -> DiffusionModel:
        """The model without wrappers: of torch.compile, data parallelism, peft."""
        network: DiffusionModel = unwrapped(self.model)
        return network

    def __call__(
        self,
        num_samples: int = 1,
        *,
        num_inference_steps: int | None = None,
        length: int | None = None,
        prefix: str | None = None,
        infill: str | None = None,
        prompt: str | Sequence[Any] | None = None,
        max_tokens: int | None = None,
        generator: torch.Generator | None = None,
        callback: OnStep | None = None,
    ) -> PipelineOutput:
        """Makes texts; equal generators give equal texts, those of `hdiff sample` with its seed.

        Args:
            num_samples: Texts B.
            num_inference_steps: Steps T; None takes 16, fewer where there is less to fill, and one per block
                where there are more blocks.
            length: Tokens of each text, those of `prefix` among them.
            prefix: How each text begins.
            infill: Text with gaps, `The dog [4] in the [2-5].`, in place of `length` and `prefix`.
            prompt: What to answer: a text, or a list of texts or of rows of a table; B answers to each.
            max_tokens: Most tokens of an answer; None: what a row leaves.
            generator: Source of randomness, on the model's device.
            callback: Gets each step that is done and the tokens so far.

        Returns:
            The texts.

        Raises:
            DataError: If arguments do not belong together or to the model.
        """
        if prompt is not None:
            if any(value is not None for value in (infill, prefix, length, callback)):
                raise DataError("a prompt has no prefix, infill, length or callback; leave them out")
            return self._answers(
                [prompt] if isinstance(prompt, str) else prompt,
                num_samples,
                max_tokens,
                num_inference_steps,
                generator,
            )
        if max_tokens is not None:
            raise DataError(
                "max_tokens is of answers; give a prompt, or set the tokens of a text with length"
            )
        if infill is not None and (prefix is not None or length is not None):
            raise DataError("infill sets beginning and length itself; leave prefix and length out")
        model, corruption = self._network, self.corruption.unconditional()
        if infill is not None or prefix is not None:
            if corruption.masked_units() is None:
                raise DataError(
                    f"given words need a model of masked units (span_masking, token_masking), this one is of "
                    f"{type(self.corruption).__name__}; leave prefix and infill out"
                )
            pattern = (
                Pattern.parse(infill, self.tokenizer)
                if infill is not None
                else self._continuation(str(prefix), length)
            )
            drawn = fill_gaps(
                model,
                corruption,
                self.tokenizer,
                self._sampler(min(DEFAULT_STEPS, pattern.fewest_hidden), num_inference_steps),
                pattern,
                num_samples=num_samples,
                longest=self.sequence_length,
                generator=generator,
                on_step=callback,
            )
            return PipelineOutput(
                drawn.texts, drawn.tokens, max(one.nfe for one in drawn.samples), drawn.scores
            )
        length = self.sequence_length if length is None else length
        rows = hidden_rows(model, num_samples, length)
        sampler = self._sampler(corruption.default_steps(length), num_inference_steps, self.free_sampler)
        samples = sampler.sample(model, corruption, rows, generator=generator, on_step=callback)
        texts = tuple("".join(self.tokenizer.pieces(row)) for row in samples.tokens.tolist())
        return PipelineOutput(texts, tuple(samples.tokens), samples.nfe, (None,) * len(texts))

    def _answers(
        self,
        prompts: Sequence[Any],
        num_samples: int,
        max_tokens: int | None,
        num_steps: int | None,
        generator: torch.Generator | None,
    ) -> PipelineOutput:
        if num_samples < 1 or not prompts:
            raise DataError(f"{num_samples} answers to {len(prompts)} prompts; both must be at least 1")
        if isinstance(self.sampler, Sampler):
            raise DataError(
                "steps of an answer depend on its length; give the pipeline a sampler as {'kind': name}"
            )
        answering = Answering(
            self.model,
            self.corruption,
            self.tokenizer,
            self.sequence_length,
            self.prompts,
            num_steps=num_steps,
            sampler=self.sampler,
            sampling=self.sampling,
        )
        form = self.prompts or PromptFormat()
        asked = [form.prompt_of(one) for one in prompts for _ in range(num_samples)]
        answers = answering(asked, max_tokens=max_tokens, generator=generator)
        tokens = tuple(torch.tensor(one.tokens, dtype=torch.long) for one in answers)
        texts = tuple(one.text for one in answers)
        return PipelineOutput(texts, tokens, max(one.nfe for one in answers), (None,) * len(texts))

    def _continuation(self, prefix: str, length: int | None) -> Pattern:
        given = Given.of(prefix.rstrip(), self.tokenizer)
        if not self.tokenizer.facts.keeps_spaces:
            given = given.followed_by(" ")
        length = self.sequence_length - NUM_ENDS if length is None else length
        if length <= len(given):
            raise DataError(
                f"the prefix has {len(given)} tokens and the text {length}; leave at least one to fill"
            )
        gap = Gap(length - len(given), length - len(given))
        return Pattern((given, gap) if given else (gap,))

    def _sampler(
        self, default: int, num_steps: int | None, otherwise: Mapping[str, Any] | None = None
    ) -> Sampler:
        """The sampler of one call, with its steps, else `default` ones."""
        if not isinstance(self.sampler, Sampler):
            spec = self.sampler or otherwise
            return text_sampler(
                spec,
                self.corruption.unconditional(),
                num_steps=num_steps,
                default=default,
                sampling=self.sampling,
            )
        if num_steps is not None:
            raise DataError(
                f"{type(self.sampler).__name__} has its own steps; leave num_inference_steps out, or "
                f"give the pipeline a sampler as {{'kind': name}}"
            )
        return self.sampler
