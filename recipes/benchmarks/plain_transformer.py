"""The autoregressive baseline against a transformer language model of torch.nn alone, with the same budget.

The plain model shares nothing with the package but the rows it reads: `nn.TransformerEncoder` (pre-norm),
learned positions, a tied output, a loop of its own. Finished models are kept. From the checkout, the data set
prepared as the recipe says: `python recipes/benchmarks/plain_transformer.py --data data/wikitext2_words`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from compare import add_options, run, spread
from compare import train as train_run
from torch import Tensor, nn

from hdiff.config import Recipe
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.recipe import load_recipe

RECIPE = Path(__file__).with_name("word_level.yaml")


class PlainTransformer(nn.Module):
    """A causal language model made of torch.nn modules; the last token id stands for the beginning."""

    def __init__(self, vocab_size: int, recipe: Recipe) -> None:
        super().__init__()
        model, length = recipe.model, recipe.data.sequence_length
        self.tokens = nn.Embedding(vocab_size + 1, model.width)
        self.positions = nn.Embedding(length, model.width)
        layer = nn.TransformerEncoderLayer(
            model.width,
            model.num_heads,
            4 * model.width,
            dropout=model.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        norm = nn.LayerNorm(model.width)
        self.layers = nn.TransformerEncoder(layer, model.depth, norm=norm, enable_nested_tensor=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length), persistent=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """-log p of every token given those before it, in nats: long (B, L) -> float (B, L)."""
        before = F.pad(ids[:, :-1], (1, 0), value=self.tokens.num_embeddings - 1)
        hidden = self.tokens(before) + self.positions.weight[: ids.shape[1]]
        hidden = self.layers(hidden, mask=self.mask[: ids.shape[1], : ids.shape[1]], is_causal=True)
        logits = (hidden @ self.tokens.weight[:-1].T).float()
        return F.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none").view_as(ids)


def train_plain(seed: int, recipe: Recipe, arguments: argparse.Namespace) -> None:
    """Trains and scores the plain model, unless it is scored."""
    file: Path = arguments.out / f"plain-{seed}.json"
    if file.exists():
        return
    prepared = PreparedData.load(arguments.data)
    train, held_out = (
        PackedBlocks.build(prepared, split, sequence_length=recipe.data.sequence_length)
        for split in ("train", "validation")
    )
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    config = recipe.train
    model = PlainTransformer(train.vocab_size, recipe)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, config.steps, config.warmup_steps / config.steps
    )
    bf16 = config.mixed_precision == "bf16"
    order: list[int] = []
    started, loss_sum = time.monotonic(), 0.0
    for step in range(1, config.steps + 1):
        if len(order) < config.batch_size:
            order = torch.randperm(len(train)).tolist()
        rows, order = order[: config.batch_size], order[config.batch_size :]
        batch = train.batch(rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            nll = model(batch.input_ids)
        loss = nll[batch.token_mask].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        rate.step()
        loss_sum += loss.item()
        if step % 100 == 0:
            print(f"plain-{seed}: {step}/{config.steps} loss {loss_sum / 100:.3f}", flush=True)
            loss_sum = 0.0
    seconds = time.monotonic() - started
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for first in range(0, len(held_out), 16):
            batch = held_out.batch(list(range(first, min(first + 16, len(held_out)))))
            total += float(model(batch.input_ids)[batch.token_mask].double().sum())
            count += int(batch.token_mask.sum())
    figures = {
        "nats_per_token": total / count,
        "tokens": count,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "train_seconds": seconds,
    }
    file.write_text(json.dumps(figures))


def train_package(seed: int, arguments: argparse.Namespace) -> None:
    """Trains and scores the package's baseline, unless it is scored."""
    out = arguments.out / f"autoregressive-{seed}"
    if not (out / "eval.json").exists():
        out, log = train_run(out.name, arguments.recipe, arguments, data=arguments.data)
        run(["eval", str(out)], log)


def table(out: Path) -> str:
    """Markdown: exact NLL, perplexity, parameters, seconds of finished models; mean and sd over seeds."""
    results: dict[str, list[dict[str, Any]]] = {"autoregressive": [], "plain": []}
    for file in sorted(out.glob("autoregressive-*/eval.json")):
        record = json.loads((file.parent / "run.json").read_text())
        bound = json.loads(file.read_text())["bound"]
        results["autoregressive"].append(
            {
                "nats_per_token": bound["nats_per_token"],
                "parameters": record["parameters"]["total"],
                "train_seconds": record["train_seconds"],
            }
        )
    results["plain"] = [json.loads(file.read_text()) for file in sorted(out.glob("plain-*.json"))]
    lines = [
        "| model | nats/token | perplexity | parameters | seconds | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in results.items():
        if not rows:
            continue
        nats = [row["nats_per_token"] for row in rows]
        cells = [
            spread(nats),
            spread([math.exp(value) for value in nats], digits=1),
            f"{rows[0]['parameters']:,}",
            spread([row["train_seconds"] for row in rows], digits=0),
            str(len(rows)),
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parses the command line and runs everything, one model at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, recipe=RECIPE, out=Path("runs/word_level"), systems=["autoregressive", "plain"])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    recipe = load_recipe(arguments.recipe, list(arguments.set))
    for seed in arguments.seeds:
        if "autoregressive" in arguments.systems:
            train_package(seed, arguments)
        if "plain" in arguments.systems:
            train_plain(seed, recipe, arguments)
    print(table(arguments.out))


if __name__ == "__main__":
    main()
