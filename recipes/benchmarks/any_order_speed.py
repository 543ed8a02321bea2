"""Sampling with any-order attention, with and without kept keys, and with bidirectional attention, in turns.

`python recipes/benchmarks/any_order_speed.py` prints processor time of one thread, medians of turns. Models
are untrained: that is the same to the time. Kept or not, an any-order trunk draws the same tokens.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from hdiff.corruption import SpanMasking, TokenMasking
from hdiff.heads import AutoregressiveHead, ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.samplers import AncestralSampler, FillsMasks, hidden_rows


class Anew:
    """An any-order network whose rows are read whole at every step."""

    reads_in_order = True

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.head, self.mask_id = denoiser, denoiser.head, denoiser.mask_id

    def hidden(self, x_t: Tensor, token_mask: Tensor | None = None, **options: Tensor) -> Tensor:
        """See `Denoiser.hidden`."""
        return self.denoiser.hidden(x_t, token_mask, **options)


def models_of(units: str, case: argparse.Namespace) -> dict[str, FillsMasks]:
    """Bidirectional, any-order read anew, any-order kept: of one width, with the same weights."""
    made = {}
    for in_order in (False, True):
        torch.manual_seed(0)
        trunk = Trunk(case.width, depth=case.depth, num_heads=6, in_order=in_order)
        head = (AutoregressiveHead if units == "spans" else ProductHead)(case.vocab, case.width)
        made[in_order] = Denoiser(trunk, head).eval()
    return {"bidirectional": made[False], "anew": Anew(made[True]), "kept": made[True]}


def main() -> None:
    """Parses the command line and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--units", nargs="+", choices=("tokens", "spans"), default=["tokens", "spans"])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--span", type=int, default=16, help="tokens of a span")
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--all-steps", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--turns", type=int, default=5)
    case = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| units | T | bidirectional, s | anew, s | kept, s | bidirectional / kept | anew / kept | tokens |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for units in case.units:
        models = models_of(units, case)
        corruption = (
            TokenMasking(mask_id=case.vocab)
            if units == "tokens"
            else SpanMasking(segmentation="random", lengths={case.span: 1.0}, mask_id=case.vocab)
        )
        for steps in case.all_steps:
            seconds: dict[str, list[float]] = {name: [] for name in models}
            equal = 0.0
            for turn in range(case.turns):
                tokens = {}
                for name, model in models.items():
                    began = time.process_time()
                    drawn = AncestralSampler(steps).sample(
                        model,
                        corruption,
                        hidden_rows(model, case.samples, case.length),
                        generator=torch.Generator().manual_seed(turn),
                    )
                    seconds[name].append(time.process_time() - began)
                    tokens[name] = drawn.tokens
                equal += float((tokens["anew"] == tokens["kept"]).double().mean()) / case.turns
            figures = [f"{statistics.median(values):.2f}" for values in seconds.values()]
            for name in ("bidirectional", "anew"):
                ratios = [one / other for one, other in zip(seconds[name], seconds["kept"], strict=True)]
                figures.append(f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
            print(f"| {units} | {steps} | {' | '.join(figures)} | {100 * equal:.1f} % equal |", flush=True)


if __name__ == "__main__":
    main()
