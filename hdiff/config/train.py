"""TrainConfig: the section `train` of a recipe, and its defaults. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hdiff.config.section import Section
from hdiff.value_types import Count, Flag, Fraction, Number, Positive, Text, Whole


class LoraConfig(Section):
    """Low-rank adapters on a frozen trunk, as in peft.

    Attributes:
        rank: Rank of the update of each matrix.
        alpha: The update is scaled by alpha / rank.
        dropout: Share of an adapter's inputs that training drops.
        targets: Last names of the matrices that get one, such as `q_proj`; None: all in the layers.
    """

    rank: Annotated[Count, Field(le=4096)] = 8
    alpha: Positive = 16.0
    dropout: Fraction = 0.0
    targets: tuple[Text, ...] | None = None


class TrainConfig(Section):
    """Optimisation.

    Attributes:
        steps: Updates of the weights.
        batch_size: Rows per update and process, before accumulation.
        gradient_accumulation: Batches per update.
        optimizer: `adamw`, or `muon`: Muon on matrices, with updates as long as those of AdamW, and AdamW on
            the token table and the rest.
        learning_rate: Peak rate.
        schedule: `cosine` to a tenth of the peak, or `constant`; both after the warmup.
        decay_steps: Last updates of a constant rate, at most all, over which it falls linearly towards zero.
        warmup_steps: Updates of linear warmup.
        weight_decay: Weight decay, on matrices only.
        betas: Decay of the two averages that AdamW keeps.
        clip_norm: Largest gradient norm; a larger gradient is scaled down to it.
        ema_decay: Decay of the averaged weights, which are the ones evaluated; 0 turns averaging off.
        compile: Whether torch.compile compiles the trunk; slower on CPUs at small sizes.
        mixed_precision: Precision of the products, as in Accelerate; on CPUs only where `hdiff doctor` finds
            bf16 fast.
        log_every: Updates between lines of metrics.jsonl.
        evaluate_every: Updates between validation bounds; 0 only at the end.
        validation_blocks: Held-out rows of a validation, evenly spread over the split.
        validation_draws: Random states per row of a validation, the same ones every time.
        keep_best: Whether the weights with the lowest validation bound are kept, and used by whatever loads
            the run.
        patience: Validations without a gain beyond noise after which a run is finished; 0 for all updates.
        checkpoint_every: Updates between checkpoints.
        keep_checkpoints: Newest checkpoints kept.
        trackers: Trackers of Accelerate that get the numbers of metrics.jsonl; each must be installed.
        process_timeout: Seconds that a process waits for another before it gives up; saving must be faster.
        trainable: `all` weights; or, of a model that starts from a checkpoint, the `head` alone on a frozen
            trunk, or `lora`: the head and low-rank adapters in the trunk.
        lora: The adapters; section `lora`.
        trains_table: Whether `head` and `lora` also train the output table, apart from the input's.
        kept_states: With `head`: states of each row that are drawn and read by the trunk once, and kept in
            the run folder while it is trained; 0 draws new ones in every update.
        gradient_checkpointing: Whether the backward pass computes the trunk's layers again, to save memory.
    """

    steps: Count = 1000
    batch_size: Count = 32
    gradient_accumulation: Count = 1
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: Positive = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    decay_steps: Whole = 0
    warmup_steps: Whole = 100
    weight_decay: Annotated[Number, Field(ge=0)] = 0.01
    betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    clip_norm: Positive = 1.0
    ema_decay: Fraction = 0.999
    compile: Flag = False
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    log_every: Count = 20
    evaluate_every: Whole = 0
    validation_blocks: Count = 128
    validation_draws: Count = 2
    keep_best: Flag = False
    patience: Whole = 0
    checkpoint_every: Count = 200
    keep_checkpoints: Count = 2
    trackers: tuple[Text, ...] = ("tensorboard",)
    process_timeout: Annotated[Count, Field(le=10**6)] = 600
    trainable: Literal["all", "head", "lora"] = "all"
    lora: LoraConfig = LoraConfig()
    trains_table: Flag = False
    kept_states: Whole = 0
    gradient_checkpointing: Flag = False

    @model_validator(mode="after")
    def _trains_parts(self) -> TrainConfig:
        if self.trainable != "lora" and self.lora != LoraConfig():
            raise ValueError(
                f"lora describes adapters, and trainable is {self.trainable}; use train.trainable=lora"
            )
        if self.kept_states and self.trainable != "head":
            raise ValueError(
                f"kept_states keeps what a frozen trunk computes, and trainable is {self.trainable}; leave "
                "it out, or use train.trainable=head"
            )
        if self.trains_table and self.trainable == "all":
            raise ValueError(
                "trains_table is for a frozen trunk, all trains both tables anyway; leave it out, or use "
                "train.trainable=head"
            )
        return self

    @model_validator(mode="after")
    def _decays(self) -> TrainConfig:
        if self.decay_steps and self.schedule != "constant":
            raise ValueError(
                f"decay_steps is the end of a constant rate, and the schedule is {self.schedule}; write "
                f"train.schedule=constant, or leave decay_steps out"
            )
        return self

    @model_validator(mode="after")
    def _validates(self) -> TrainConfig:
        if (self.keep_best or self.patience) and not self.evaluate_every:
            raise ValueError(
                "keep_best and patience need validation bounds; say how many updates lie between them: "
                "train.evaluate_every=200"
            )
        return self
