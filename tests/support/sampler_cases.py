"""Denoisers that several tests of samplers fill with."""

from __future__ import annotations

import torch

from hdiff.corruption import SpanMasking
from hdiff.heads import Head
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.models.planner import Planner

VOCAB, LENGTH, WIDTH = 3, 4, 16


SPANS = SpanMasking(segmentation="random", lengths={1: 1.0, 2: 1.0, 3: 1.0}, mask_id=VOCAB)


def denoiser_of(head: type[Head], *, seed: int = 0, vocab: int = VOCAB) -> Denoiser:
    """A network with strong opinions, nothing trained."""
    torch.manual_seed(seed)
    planner = Planner(WIDTH, num_labels=3)
    model = Denoiser(Trunk(WIDTH, depth=1, num_heads=2), head(vocab, WIDTH), planner=planner)
    with torch.no_grad():
        for parameter in planner.parameters():
            parameter.normal_(std=0.5)
        model.head.output_bias.normal_()
    return model.eval()
