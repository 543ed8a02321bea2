"""Why answers to E2E prompts miss slots and lengths: what a trained run knows, part by part.

`python recipes/benchmarks/e2e_causes.py runs/e2e_prompts/joint-length_head-0 --texts DIR`: how often a slot's
value is found where it belongs, with the rest of the text visible or not; and how near lengths come by other
rules, and by length heads that are trained longer or read more of the prompt.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from e2e_prompts import LITERAL, held_out
from torch import Tensor, nn

from hdiff.control.answers import Answering
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.heads.sampling import GREEDY
from hdiff.models.length_head import one_mask
from hdiff.packed_spans import PackedSpans
from hdiff.runs.folder import RunFolder

Meanings = list[tuple[dict[str, str], list[str]]]
READS = ("mask", "mean", "attention")
"""What a length head reads of the trunk: the mask's state; also the mean of all; also four weighted means."""


@torch.no_grad()
def slots_found(run: RunFolder, meanings: Meanings, share: float) -> dict[str, float]:
    """Percent of slots that are filled right where they, and a share of the rest of the text, are hidden."""
    model: Any = run.model
    answering, found = Answering.of_run(run), dict[str, list[bool]]()
    generator = torch.Generator().manual_seed(0)
    assert answering.prompts is not None, "the data set has prompts"
    for meaning, texts in meanings:
        tokens, characters = run.tokenizer.encode(texts[0])
        prompt = answering.encode(answering.prompts.prompt_of({"mr": meaning}))
        row = torch.tensor([run.tokenizer.eos_id, *prompt, *tokens, run.tokenizer.eos_id])
        for slot in (slot for slot in LITERAL if slot in meaning):
            first = texts[0].lower().find(meaning[slot].lower())
            last = first + len(meaning[slot])
            inside = [1 + len(prompt) + n for n, (a, b) in enumerate(characters) if a < last and b > first]
            if first < 0 or not inside:
                continue
            is_slot, is_hidden = torch.zeros(2, len(row), dtype=torch.bool)
            is_slot[inside] = True
            is_hidden[1 + len(prompt) : -1] = torch.rand(len(tokens), generator=generator) < share
            x_t = row.masked_fill(is_slot | is_hidden, model.mask_id)[None]
            spans = PackedSpans.from_units(torch.zeros_like(x_t), is_slot[None])
            made = model.head.sample(model.hidden(x_t)[0][is_slot], spans, sampling=GREEDY)
            found.setdefault(slot, []).append(bool((made == row[is_slot]).all()))
    every = [value for values in found.values() for value in values]
    return {name: 100 * sum(values) / len(values) for name, values in {**found, "all slots": every}.items()}


class Reader(nn.Module):
    """A length head of its own on states that do not change."""

    def __init__(self, reads: str, width: int, longest: int) -> None:
        super().__init__()
        self.reads = reads
        inside = width if reads == "mask" else 2 * width
        self.weigh, self.value = nn.Linear(width, 4, bias=False), nn.Linear(width, width)
        last = nn.Linear(width, longest)
        nn.init.zeros_(last.weight)
        self.scores = nn.Sequential(nn.LayerNorm(inside), nn.Linear(inside, width), nn.GELU(), last)

    def forward(self, hidden: Tensor, token_mask: Tensor, place: Tensor, most: Tensor) -> Tensor:
        """log p(n), float (B, M)."""
        read = hidden[torch.arange(len(hidden)), place]
        if self.reads == "mean":
            mean = (hidden * token_mask[..., None]).sum(1) / token_mask.sum(1, keepdim=True)
            read = torch.cat([read, mean], 1)
        elif self.reads == "attention":
            weight = (
                self.weigh(hidden).masked_fill(~token_mask[..., None], -torch.inf).softmax(1)
            )  # (B, L, 4)
            value = self.value(hidden).unflatten(-1, (4, -1))
            read = torch.cat([read, torch.einsum("blh,blhd->bhd", weight, value).flatten(1)], 1)
        scores = self.scores(read)
        numbers = torch.arange(1, scores.shape[1] + 1)
        return scores.masked_fill(numbers > most[:, None], -torch.inf).log_softmax(-1)


@torch.no_grad()
def states(run: RunFolder, count: int, meanings: Meanings) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What length heads read of so many training rows, and of the prompts of the meanings."""
    model: Any = run.model
    blocks = PackedBlocks.build(
        PreparedData.load(run.recipe.data.path), "train", **run.recipe.packing("train")
    )
    width = run.recipe.data.sequence_length
    parts: list[dict[str, Tensor]] = []
    for ids in torch.linspace(0, len(blocks) - 1, count).long().split(200):
        batch = blocks.batch(ids.tolist())
        assert batch.answer_lengths is not None, "the rows have prompts"
        place = batch.free_mask.long().argmax(1)
        rows = one_mask(batch, place, place + batch.answer_lengths, model.mask_id)
        parts.append(
            {**_read(model, rows.input_ids, rows.token_mask, place, width), "n": batch.answer_lengths}
        )
    answering, eos_id, asked = Answering.of_run(run), run.tokenizer.eos_id, []
    assert answering.prompts is not None, "the data set has prompts"
    for meaning, _ in meanings:
        prompt = answering.encode(answering.prompts.prompt_of({"mr": meaning}))
        row = torch.tensor([[eos_id, *prompt, model.mask_id, eos_id]])
        place = torch.tensor([len(prompt) + 1])
        asked.append(_read(model, row, torch.ones_like(row, dtype=torch.bool), place, width))
    return tuple({name: torch.cat([p[name] for p in own]) for name in own[0]} for own in (parts, asked))  # type: ignore[return-value]


def _read(model: Any, tokens: Tensor, token_mask: Tensor, place: Tensor, width: int) -> dict[str, Tensor]:
    more = width - tokens.shape[1]
    hidden = F.pad(model.hidden(tokens, token_mask), (0, 0, 0, more))
    return {"hidden": hidden, "mask": F.pad(token_mask, (0, more)), "place": place, "most": width - place - 1}


def trained(reads: str, seen: dict[str, Tensor], longest: int, steps: int) -> Reader:
    """A length head after so many updates on the states alone."""
    torch.manual_seed(0)
    reader = Reader(reads, seen["hidden"].shape[-1], longest)
    optimizer = torch.optim.AdamW(reader.parameters(), 2e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        chosen = torch.randint(len(seen["n"]), (128,))
        batch = {name: values[chosen] for name, values in seen.items()}
        log_probs = reader(batch["hidden"], batch["mask"], batch["place"], batch["most"])
        optimizer.zero_grad()
        (-log_probs.gather(1, batch["n"][:, None] - 1).mean()).backward()
        optimizer.step()
        rate.step()
    return reader


def rules(log_probs: Tensor) -> dict[str, Tensor]:
    """Ways to choose a length."""
    p = log_probs.exp()
    numbers = torch.arange(1, p.shape[1] + 1)
    return {
        "likeliest": p.argmax(1) + 1,
        "median": (p.cumsum(1) < 0.5).sum(1) + 1,
        "mean": (p * numbers).sum(1).round().long(),
        "most within 1": F.pad(p, (1, 1)).unfold(1, 3, 1).sum(-1).argmax(1) + 1,
    }


def main() -> None:
    """Prints the figures of a run as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--texts", type=Path, required=True, help="folder of the E2E texts")
    parser.add_argument("--prompts", type=int, default=10_000, help="held-out meanings")
    parser.add_argument("--rows", type=int, default=12_000, help="training rows of further length heads")
    parser.add_argument("--steps", type=int, default=1500, help="their updates")
    arguments = parser.parse_args()
    run = RunFolder.load(arguments.run)
    run.model.eval()
    meanings = held_out(arguments.texts, arguments.prompts)
    sizes = [[len(run.tokenizer.encode(text)[0]) for text in texts] for _, texts in meanings]
    found: dict[str, Any] = {
        f"slots found, {share:.0%} of the rest hidden": slots_found(run, meanings[::4], share)
        for share in (0.0, 0.5, 1.0)
    }
    model: Any = run.model
    if model.length_head is not None:
        seen, asked = states(run, arguments.rows, meanings)
        at = {name: asked[name] for name in ("place", "most")}
        hidden = asked["hidden"][torch.arange(len(sizes)), at["place"]]
        given = {"as trained": model.length_head(hidden, at["most"])}
        for reads in READS:
            reader = trained(reads, seen, model.length_head.longest, arguments.steps)
            given[reads] = reader(asked["hidden"], asked["mask"], at["place"], at["most"])
        for name, log_probs in given.items():
            for rule, lengths in rules(log_probs.detach()).items():
                near = [
                    min(abs(n - size) for size in own) <= 1
                    for n, own in zip(lengths.tolist(), sizes, strict=True)
                ]
                found.setdefault("length within 1", {})[f"{name}, {rule}"] = 100 * sum(near) / len(near)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
