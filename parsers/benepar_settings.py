"""TrainingSettings: sizes and schedule of a benepar training. No torch, no benepar."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from hdiff.errors import ParserError


@dataclass(frozen=True)
class TrainingSettings:
    """Sizes and schedule. The defaults suit a few ten thousand sentences on one CPU core.

    Attributes:
        encoder: Folder of a pretrained encoder in transformers' format; None learns words from characters.
        epochs: Passes over the trees.
        batch_size: Sentences per update.
        learning_rate: Peak rate of what starts untrained.
        encoder_learning_rate: Peak rate of a pretrained encoder.
        warmup_steps: Updates until the peak, at most a tenth of all; then linearly down to 0.
        weight_decay: Of AdamW.
        max_norm: Gradients are clipped to this norm.
        max_words: Longer sentences are left out of training.
        subbatch_tokens: Tokens that go through the network together; bounds memory.
        d_model: Width.
        num_layers: Self-attention layers above the words.
        num_heads: Heads of each.
        d_kv: Width of a head.
        d_ff: Width of the feed-forward part.
        d_label_hidden: Hidden width of the span classifier.
        d_char: Width of a character.
        dropout: Everywhere in these layers.
        max_length: Longest sentence the model takes, in words.
        bf16: Whether layers compute in bfloat16: about twice as fast where the processor has matrix units for
            it, far slower elsewhere.
        seed: Of weights, order and dropout.
    """

    encoder: str | None = None
    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 8e-4
    encoder_learning_rate: float = 1.5e-4
    warmup_steps: int = 160
    weight_decay: float = 0.01
    max_norm: float = 5.0
    max_words: int = 120
    subbatch_tokens: int = 1500
    d_model: int = 512
    num_layers: int = 2
    num_heads: int = 8
    d_kv: int = 64
    d_ff: int = 1024
    d_label_hidden: int = 128
    d_char: int = 64
    dropout: float = 0.2
    max_length: int = 512
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("encoder", "bf16", "seed"):
                continue
            if not math.isfinite(value) or value < 0 or (value == 0 and isinstance(value, int)):
                raise ParserError(f"{field.name} is {value}; it must be positive")
        if not 0 <= self.dropout < 1:
            raise ParserError(f"dropout is {self.dropout}; it must lie in [0, 1)")
        if self.encoder is not None and not Path(self.encoder, "config.json").is_file():
            raise ParserError(
                f"{self.encoder} has no config.json; give the folder of a pretrained encoder as "
                "transformers saves it, with its tokenizer"
            )
