"""Pipeline and samplers with models that torch or peft have wrapped, and in unusual states of torch."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shared_models import save_untrained
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from hdiff.config import EvaluationConfig
from hdiff.control import Keywords, infill, with_keywords
from hdiff.data.packing import PackedBlocks
from hdiff.diagnosis.run_model import subject_of_run
from hdiff.evaluation.bounds import draw_samples, evaluate_bound, evaluate_t_step
from hdiff.evaluation.continuations import Continuation, ContinuationScorer
from hdiff.evaluation.minimal_pair_files import MinimalPair
from hdiff.evaluation.minimal_pairs import evaluate_minimal_pairs, score_pairs
from hdiff.evaluation.sampler_bound import evaluate_sampler
from hdiff.models.wrapped import unwrapped
from hdiff.runs.folder import RunFolder
from hdiff.samplers import AncestralSampler, hidden_rows
from hdiff.sharing.pipeline import TextDiffusionPipeline
from hdiff.sharing.shared_run import load_model


class Adapted(nn.Module):
    """As peft wraps: the network two modules down, with attributes passed on."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.base_model = nn.ModuleDict({"model": model})

    def get_base_model(self) -> nn.Module:
        return self.base_model["model"]


def lora(model: nn.Module) -> nn.Module:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    names = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    wrapped: nn.Module = peft.PeftModel(model, peft.LoraConfig(target_modules=names[:1]))
    return wrapped


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "nothing": lambda model: model,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "compiled in place": lambda model: model.compile(backend="eager") or model,
    "data parallel": nn.DataParallel,
    "averaged": AveragedModel,
    "compiled and parallel": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
    "on several processes": DistributedDataParallel,
    "averaged on several processes": lambda model: DistributedDataParallel(AveragedModel(model)),
    "like peft": Adapted,
    "peft": lora,
    "copied": copy.deepcopy,
    "pickled": lambda model: pickle.loads(pickle.dumps(model)),
    "training": lambda model: model.train(),
    "frozen": lambda model: model.requires_grad_(False),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("wrapped") / "shared")


def texts(pipeline: TextDiffusionPipeline, **given: Any) -> tuple[str, ...]:
    generator = torch.Generator().manual_seed(0)
    return pipeline(2, num_inference_steps=2, generator=generator, **given).texts


@pytest.mark.parametrize("given", [{"length": 6}, {"prefix": "the", "length": 6}, {"infill": "the [2]"}])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_model_makes_the_same_texts(wrapper: str, given: dict[str, Any], folder: Path) -> None:
    pipeline = TextDiffusionPipeline.from_pretrained(folder)
    expected = texts(pipeline, **given)
    pipeline.model = WRAPPERS[wrapper](pipeline.model)
    assert texts(pipeline, **given) == expected


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_samplers_take_wrapped_models(wrapper: str, folder: Path) -> None:
    pipeline = TextDiffusionPipeline.from_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    model = WRAPPERS[wrapper](pipeline.model)
    assert type(unwrapped(model)) is type(pipeline.model)
    sampler = AncestralSampler(2)
    samples = sampler.sample(
        model, pipeline.corruption.unconditional(), hidden_rows(model, 2, 6), generator=generator
    )
    assert samples.tokens.shape == (2, 6)


@pytest.fixture(scope="module", autouse=True)
def process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A group of this process alone, which wrappers for several processes ask for."""
    file = tmp_path_factory.mktemp("group") / "store"
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


CONFIG = EvaluationConfig(blocks=2, draws=1)
PAIRS = [MinimalPair("The list", "list The", "order", "syntax")]
USES: dict[str, Callable[[RunFolder, nn.Module, PackedBlocks], Any]] = {
    "bound": lambda run, model, blocks: evaluate_bound(model, blocks, run.corruption, CONFIG).nats_per_token,
    "T-step bound": lambda run, model, blocks: (
        evaluate_t_step(model, blocks, run.corruption, CONFIG, num_steps=2).nats_per_token
    ),
    "bound of a sampler": lambda run, model, blocks: (
        evaluate_sampler(model, blocks, run.corruption, CONFIG, sampler=AncestralSampler(2))[0].nats_per_token
    ),
    "samples": lambda run, model, blocks: draw_samples(
        model, run.corruption, sampler=AncestralSampler(2), num_samples=2, length=6, seed=0
    )[0].tokens.tolist(),
    "score": lambda run, model, blocks: (
        AncestralSampler(2)
        .score(model, run.corruption, blocks.batch([0]), generator=torch.Generator().manual_seed(0))
        .nats.tolist()
    ),
    "minimal pairs": lambda run, model, blocks: score_pairs(
        model, run.corruption, run.tokenizer, PAIRS, draws=2
    ),
    "continuations": lambda run, model, blocks: (
        ContinuationScorer(model, run.corruption, draws=2)([Continuation((0, 5, 6, 7, 0), 2, 4)])[0].nats
    ),
    "infilling": lambda run, model, blocks: (
        infill(
            model,
            run.corruption,
            run.tokenizer,
            AncestralSampler(1),
            "The [2] is",
            generator=torch.Generator().manual_seed(0),
        ).texts
    ),
    "keywords": lambda run, model, blocks: (
        with_keywords(
            model,
            run.corruption,
            run.tokenizer,
            AncestralSampler(1),
            Keywords.of(["list"], 6, run.tokenizer),
            tries=2,
            generator=torch.Generator().manual_seed(0),
        ).texts
    ),
    "diagnosis": lambda run, model, blocks: (
        subject_of_run(replace(run, model=model))
        .model.log_probs(blocks.batch([0]).input_ids, blocks.batch([0]).token_mask)
        .tolist()
    ),
    "pairs of a run": lambda run, model, blocks: evaluate_minimal_pairs(replace(run, model=model), PAIRS),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_evaluation_takes_wrapped_models(wrapper: str, use: str, folder: Path) -> None:
    run = load_model(folder)
    tokens = np.array(run.tokenizer.encode("The list is sorted. The old list is returned. " * 9)[0], np.int32)
    blocks = PackedBlocks(tokens, np.zeros(len(tokens), np.float32), {}, {}, 16, run.tokenizer.vocab_size, 0)
    expected = USES[use](run, run.model, blocks)
    assert USES[use](run, WRAPPERS[wrapper](run.model), blocks) == expected


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


STATES: dict[str, Callable[[], Any]] = {
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "deterministic": deterministic,
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "meta device by default": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("state", STATES)
def test_states_of_torch_that_others_set_do_not_matter(state: str, folder: Path) -> None:
    pipeline = TextDiffusionPipeline.from_pretrained(folder)
    expected = texts(pipeline, length=6)
    with STATES[state]():
        found = texts(pipeline, length=6)
        loaded = texts(TextDiffusionPipeline.from_pretrained(folder), length=6)
    if state != "autocast":  # its numbers are others
        assert found == loaded == expected


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_of_another_precision_make_texts(dtype: torch.dtype, folder: Path) -> None:
    pipeline = TextDiffusionPipeline.from_pretrained(folder)
    pipeline.model.to(dtype)
    assert len(texts(pipeline, length=6)) == 2
    assert len(texts(pipeline, infill="the [2]")) == 2
