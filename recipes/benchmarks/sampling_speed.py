"""Sampling as it was before keys were kept and less was read, and now: the same tokens, in turns.

`python recipes/benchmarks/sampling_speed.py` prints processor time of one thread, median of turns. "Before"
is commit bd83c6f, with the same network: the head reads the prefix of a span again for every token, the trunk
reads every row whole, and all noise is drawn at once. Models are untrained: that is the same to the time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hdiff.corruption import SpanMasking, TokenMasking
from hdiff.heads import AutoregressiveHead, ProductHead
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.packed_spans import PackedSpans
from hdiff.samplers import AncestralSampler, hidden_rows


def draw_at_once(sampling: Sampling, logits: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """`Sampling.draw` as it was."""
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform.clamp(min=torch.finfo(torch.float64).tiny)))
    return (sampling.restrict(logits) + gumbel).argmax(-1)


def sample_anew(
    head: AutoregressiveHead,
    hidden: Tensor,
    spans: PackedSpans,
    *,
    generator: torch.Generator | None = None,
    sampling: Sampling = AS_IT_IS,
    support: Tensor | None = None,
) -> Tensor:
    """`AutoregressiveHead.sample` as it was."""
    tokens = torch.zeros_like(spans.token_index)
    for offset in range(int(spans.length.max())):
        prefix, kept = spans.prefixes(offset + 1)
        states = head._states(hidden[kept], tokens[kept].roll(1), prefix)
        last = prefix.offset == offset
        drawn = head.draw_tokens(states[last], sampling, generator=generator)
        tokens[kept.nonzero().squeeze(1)[last]] = drawn
    return tokens


@contextmanager
def as_it_was() -> Iterator[None]:
    """Puts the ways of bd83c6f in place."""
    now = Sampling.draw, AutoregressiveHead.sample, Denoiser.reads_parts
    Sampling.draw, AutoregressiveHead.sample = draw_at_once, sample_anew  # type: ignore[method-assign]
    Denoiser.reads_parts = False
    try:
        yield
    finally:
        Sampling.draw, AutoregressiveHead.sample, Denoiser.reads_parts = now  # type: ignore[method-assign]


def seconds_of(
    model: Denoiser, corruption: SpanMasking | TokenMasking, steps: int, case: argparse.Namespace, seed: int
) -> tuple[float, Tensor]:
    """Processor seconds of a batch of samples, and the samples."""
    began = time.process_time()
    drawn = AncestralSampler(steps).sample(
        model,
        corruption,
        hidden_rows(model, case.samples, case.length),
        generator=torch.Generator().manual_seed(seed),
    )
    return time.process_time() - began, drawn.tokens


def main() -> None:
    """Parses the command line and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 192, 384])
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--span", type=int, default=16, help="tokens of a span")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--all-steps", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--turns", type=int, default=5)
    case = parser.parse_args()
    torch.set_num_threads(1)
    print("| width | units | T | before, s | now, s | ratio (lowest to highest) | equal tokens |")
    print("|---|---|---|---|---|---|---|")
    for width in case.widths:
        torch.manual_seed(0)
        spans = SpanMasking(segmentation="random", lengths={case.span: 1.0}, mask_id=case.vocab)
        systems = {
            f"spans of {case.span}": (AutoregressiveHead(case.vocab, width), spans),
            "tokens": (ProductHead(case.vocab, width), TokenMasking(mask_id=case.vocab)),
        }
        for name, (head, corruption) in systems.items():
            model = Denoiser(Trunk(width, depth=case.depth, num_heads=4), head).eval()
            for steps in case.all_steps:
                before, now, equal = [], [], True
                for turn in range(case.turns + 1):  # the first one warms up
                    with as_it_was():
                        seconds, tokens = seconds_of(model, corruption, steps, case, turn)
                    before.append(seconds)
                    seconds, kept = seconds_of(model, corruption, steps, case, turn)
                    now.append(seconds)
                    equal &= torch.equal(tokens, kept)
                ratios = [one / other for one, other in zip(before[1:], now[1:], strict=True)]
                figures = [f"{statistics.median(values[1:]):.2f}" for values in (before, now)]
                figures.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
                cells = [str(width), name, str(steps), *figures, "all" if equal else "not all"]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
