"""The pipeline writes what `hdiff sample` writes, lets its steps be watched, and its parts be swapped."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from shared_models import FAMILIES

from hdiff.cli import run as hdiff
from hdiff.corruption import TokenMasking, UnitMasking
from hdiff.errors import DataError
from hdiff.heads import Sampling
from hdiff.models.denoiser import Denoiser
from hdiff.samplers import (
    AncestralSampler,
    ConfidenceSampler,
    EntropyBoundedSampler,
    MaskedSampler,
    PlannedSampler,
    RemaskingSampler,
    hidden_rows,
)
from hdiff.samplers.stepping import SteppedSampler
from hdiff.sharing.pipeline import TextDiffusionPipeline


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pipeline(exported: Path) -> TextDiffusionPipeline:
    return TextDiffusionPipeline.from_pretrained(exported)


def sampled(capsys: pytest.CaptureFixture[str], run: Path, *options: str) -> list[str]:
    capsys.readouterr()
    assert hdiff(["sample", str(run), "--num", "2", "--seed", "3", "--json", *options]) == 0
    return [sample["text"] for sample in json.loads(capsys.readouterr().out)["samples"]]


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "judge"])
def test_texts_are_those_of_the_command(
    family: str, families: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = TextDiffusionPipeline.from_pretrained(families / family)
    expected = sampled(capsys, families / family, "--steps", "8", "--length", "24")
    assert pipeline(2, num_inference_steps=8, length=24, generator=seeded(3)).texts == tuple(expected)
    assert pipeline(2, num_inference_steps=8, length=24, generator=seeded(4)).texts != tuple(expected)


def test_so_are_those_of_gaps_samplers_and_defaults(
    families: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = families / "spans"
    pipeline = TextDiffusionPipeline.from_pretrained(run)
    assert pipeline(2, generator=seeded(3)).texts == tuple(sampled(capsys, run))
    gaps = "The function [2-3] the [2]"
    found = pipeline(2, infill=gaps, num_inference_steps=2, generator=seeded(3))
    assert found.texts == tuple(sampled(capsys, run, "--infill", gaps, "--steps", "2"))
    assert all(score is not None and score > 0 for score in found.scores)
    pipeline.sampler = {"kind": "confidence", "threshold": 0.01}
    pipeline.sampling = Sampling(temperature=0.7)
    asked = ["--sampler", "{kind: confidence, threshold: 0.01}", "--temperature", "0.7"]
    assert pipeline(2, generator=seeded(3)).texts == tuple(sampled(capsys, run, *asked))


def test_free_texts_are_drawn_by_the_sampler_of_the_recipe(
    families: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(families / "spans", run)
    recipe = (run / "recipe.yaml").read_text()
    assert "sampler: null" in recipe
    (run / "recipe.yaml").write_text(
        recipe.replace("sampler: null", "sampler: {kind: ancestral, order: spaced, lengths: {8: 1.0}}")
    )
    pipeline = TextDiffusionPipeline.from_pretrained(run)
    found = pipeline(2, num_inference_steps=16, length=24, generator=seeded(3))
    assert found.nfe == 3  # three spans of 8
    assert found.texts == tuple(sampled(capsys, run, "--steps", "16", "--length", "24"))
    gaps = "The function [2-3] the [2]"
    plain = TextDiffusionPipeline.from_pretrained(families / "spans")
    texts = [
        each(2, infill=gaps, num_inference_steps=2, generator=seeded(3)).texts for each in (pipeline, plain)
    ]
    assert texts[0] == texts[1]


def test_a_prefix_begins_every_text(pipeline: TextDiffusionPipeline) -> None:
    found = pipeline(3, prefix="The list is ", length=12, generator=seeded())
    assert all(text.startswith("The list is") for text in found.texts)
    assert [len(tokens) for tokens in found.tokens] == [12, 12, 12]
    whole = pipeline(1, prefix="The list", generator=seeded())
    assert len(whole.tokens[0]) == pipeline.sequence_length - 2
    assert pipeline(1, prefix="", length=5, generator=seeded()).tokens[0].shape == (5,)


def test_parts_can_be_swapped(pipeline: TextDiffusionPipeline) -> None:
    plain = pipeline(2, length=12, generator=seeded())
    pipeline.sampler = AncestralSampler(3)
    assert pipeline(2, length=12, generator=seeded()).nfe == 3
    pipeline.sampler = None
    pipeline.corruption = TokenMasking(mask_id=pipeline.tokenizer.vocab_size)
    assert pipeline(2, length=12, generator=seeded()).texts != plain.texts
    assert isinstance(pipeline.model, Denoiser)
    with torch.no_grad():
        pipeline.model.head.output_bias[pipeline.tokenizer.encode("e")[0]] = 1e4
    assert set(pipeline(1, length=12, generator=seeded()).texts[0]) == {"e"}


@pytest.mark.parametrize("infill", [None, "The list [3-4] the [2]"])
def test_a_callback_sees_every_step_and_changes_nothing(
    infill: str | None, pipeline: TextDiffusionPipeline
) -> None:
    seen: list[tuple[int, torch.Tensor]] = []

    def watch(step: int, tokens: torch.Tensor) -> None:
        seen.append((step, tokens.clone()))

    steps = None if infill else 5
    watched = pipeline(2, infill=infill, num_inference_steps=steps, generator=seeded(), callback=watch)
    silent = pipeline(2, infill=infill, num_inference_steps=steps, generator=seeded())
    assert watched.texts == silent.texts
    assert watched.scores == silent.scores
    mask_id = pipeline.tokenizer.vocab_size
    for (step, before), (next_step, after) in pairwise(seen):
        if next_step > step:  # of one candidate
            assert next_step == step + 1
            assert bool((before == after)[before != mask_id].all()), "what is filled stays"
            assert int((after == mask_id).sum()) < int((before == mask_id).sum())
    assert not bool((seen[-1][1] == mask_id).any())
    if infill is None:
        assert [step for step, _ in seen] == list(range(5))
        assert torch.equal(seen[-1][1], torch.stack(watched.tokens))


def test_a_callback_that_raises_ends_the_sampling(pipeline: TextDiffusionPipeline) -> None:
    def stop(step: int, tokens: torch.Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline(1, generator=seeded(), callback=stop)


@pytest.mark.parametrize(
    "sampler",
    [
        AncestralSampler(5),
        AncestralSampler(5, order="spaced", lengths={2: 1.0}),
        ConfidenceSampler(threshold=0.001),
        EntropyBoundedSampler(gamma=3.0),
        PlannedSampler(4, sampling=Sampling(top_k=3)),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_single_steps_draw_what_sample_draws(sampler: MaskedSampler, pipeline: TextDiffusionPipeline) -> None:
    """The network is called by the test, not by the sampler; rows end at different steps."""
    model, corruption = pipeline.model, pipeline.corruption.unconditional()
    assert isinstance(model, Denoiser)
    expected = sampler.sample(model, corruption, hidden_rows(model, 3, 20), generator=seeded())
    stepped, generator = SteppedSampler(sampler, model, pipeline.corruption), seeded()
    state = stepped.start(hidden_rows(model, 3, 20), generator=generator)
    while not state.is_done:
        state = stepped.step(model.hidden(state.tokens), state, generator=generator)
    assert torch.equal(state.tokens, expected.tokens)
    assert state.step == expected.nfe
    with pytest.raises(DataError, match="nothing is left"):
        stepped.step(model.hidden(state.tokens), state)


def test_a_step_uses_the_output_it_is_given(pipeline: TextDiffusionPipeline) -> None:
    """Guidance: what the caller does to the output decides what is drawn."""
    model = pipeline.model
    assert isinstance(model, Denoiser)
    assert isinstance(pipeline.corruption, UnitMasking)
    model.head.output_bias.data.zero_()
    stepped = SteppedSampler(AncestralSampler(1, sampling=Sampling(top_k=1)), model, pipeline.corruption)
    state = stepped.start(hidden_rows(model, 1, 6), generator=seeded())
    hidden = model.hidden(state.tokens)
    one, other = (stepped.step(output, state).tokens for output in (hidden, -hidden))
    assert not torch.equal(one, other)
    with pytest.raises(DataError, match=r"denoiser\.hidden"):
        stepped.step(hidden[:, :3], state)


BAD_CALLS: dict[str, tuple[str, dict[str, object], str]] = {
    "infill and prefix": ("spans", {"infill": "[2]", "prefix": "The"}, "leave prefix and length out"),
    "no gap": ("spans", {"infill": "The list"}, "has no gap"),
    "a prefix as long as the text": ("spans", {"prefix": "The list", "length": 2}, "at least one to fill"),
    "longer than the rows": ("spans", {"prefix": "The", "length": 40}, "the model's rows 32"),
    "texts of nothing": ("spans", {"length": 0}, "both must be at least 1"),
    "no text": ("spans", {"num_samples": 0}, "at least 1"),
    "no step": ("spans", {"num_inference_steps": 0}, "at least 1 step"),
    "a prefix of a cascade": ("cascade", {"prefix": "The"}, "need a model of masked units"),
    "a gap in noise": ("gaussian", {"infill": "The [2]"}, "need a model of masked units"),
}


@pytest.mark.parametrize("case", list(BAD_CALLS))
def test_what_cannot_be_asked_is_refused(case: str, families: Path) -> None:
    family, arguments, expected = BAD_CALLS[case]
    pipeline = TextDiffusionPipeline.from_pretrained(families / family)
    with pytest.raises(DataError, match=expected):
        pipeline(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["spans", "cascade", "gaussian"])
def test_every_family_can_be_watched(family: str, families: Path) -> None:
    pipeline, steps = TextDiffusionPipeline.from_pretrained(families / family), []
    made = pipeline(1, generator=seeded(), callback=lambda step, tokens: steps.append(step))
    assert steps == list(range(made.nfe))


def test_samplers_that_do_not_fit_are_refused(pipeline: TextDiffusionPipeline, families: Path) -> None:
    pipeline.sampler = RemaskingSampler(4)
    with pytest.raises(DataError, match="leave num_inference_steps out"):
        pipeline(1, num_inference_steps=8)
    noise = TextDiffusionPipeline.from_pretrained(families / "gaussian")
    noise.sampler = AncestralSampler(4)
    with pytest.raises(DataError, match="Gaussian has a sampler of its own, 'gaussian'"):
        noise(1)
    assert isinstance(pipeline.model, Denoiser)
    with pytest.raises(DataError, match="no single steps"):
        SteppedSampler(AncestralSampler(2), pipeline.model, noise.corruption)
