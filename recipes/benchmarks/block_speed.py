"""Block diffusion with and without kept keys and values: processor seconds of the same samples, in turns.

`python recipes/benchmarks/block_speed.py`; the model is untrained, which makes no difference to the time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from hdiff.corruption import BlockMasking
from hdiff.heads import ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.block_denoiser import BlockDenoiser
from hdiff.samplers import BlockSampler, FillsMasks, hidden_rows

VOCAB = 4096


class Uncached:
    """The same network, of which a sampler sees no cache: it reads whole rows at every step."""

    def __init__(self, denoiser: BlockDenoiser) -> None:
        self.denoiser = denoiser
        self.head, self.mask_id, self.block_size = denoiser.head, denoiser.mask_id, denoiser.block_size

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None) -> Tensor:
        """See `FillsMasks.hidden`."""
        return self.denoiser.hidden(x_t, token_mask)


def main() -> None:
    """Parses the command line and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--block-size", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--steps", type=int, nargs="*", default=[16, 32, 128])
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    trunk = Trunk(arguments.width, depth=arguments.depth, num_heads=4)
    kept = BlockDenoiser(trunk, ProductHead(VOCAB, arguments.width), block_size=arguments.block_size).eval()
    models: Mapping[str, FillsMasks] = {"anew": Uncached(kept), "kept": kept}
    corruption = BlockMasking(block_size=arguments.block_size, mask_id=VOCAB)
    print("| T | anew, s | kept, s | ratio | equal tokens |\n|---|---|---|---|---|")
    for num_steps in arguments.steps:
        seconds: dict[str, list[float]] = {name: [] for name in models}
        tokens = {}
        for _ in range(arguments.turns):
            for name, model in models.items():
                began = time.process_time()
                drawn = BlockSampler(num_steps).sample(
                    model,
                    corruption,
                    hidden_rows(model, arguments.samples, arguments.length),
                    generator=torch.Generator().manual_seed(1),
                )
                seconds[name].append(time.process_time() - began)
                tokens[name] = drawn.tokens
        anew, fast = (statistics.median(seconds[name]) for name in models)
        equal = float((tokens["anew"] == tokens["kept"]).float().mean())
        print(f"| {num_steps} | {anew:.2f} | {fast:.2f} | {anew / fast:.1f} | {100 * equal:.0f} % |")


if __name__ == "__main__":
    main()
