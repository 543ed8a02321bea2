"""A small vocabulary and untrained models over it: what is given must hold for any model."""

from __future__ import annotations

import pytest
import torch

from hdiff.corruption import SpanMasking
from hdiff.data.tokenizer import Tokenizer
from hdiff.heads import AutoregressiveHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser

TEXTS = ["the old dog sleeps in the park .", "a cat [ grey ] sees the young dog ."]


@pytest.fixture(scope="package")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, "words")


@pytest.fixture(scope="package")
def spans(tokenizer: Tokenizer) -> SpanMasking:
    return SpanMasking(segmentation="random", lengths={1: 1.0, 2: 1.0}, mask_id=tokenizer.vocab_size)


@pytest.fixture(scope="package")
def denoiser(tokenizer: Tokenizer) -> Denoiser:
    """Untrained, and in love with the end of the text: whoever does not ban it draws it."""
    torch.manual_seed(0)
    model = Denoiser(Trunk(16, depth=1, num_heads=2), AutoregressiveHead(tokenizer.vocab_size, 16))
    with torch.no_grad():
        model.head.output_bias.normal_()
        model.head.output_bias[tokenizer.eos_id] = 20.0
    return model.eval()
