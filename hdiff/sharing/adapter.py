"""Adapter: what a shared model is whose trunk is not in its folder. No torch."""

from __future__ import annotations

from typing import Literal

from hdiff.config.section import Section
from hdiff.config.train import LoraConfig, TrainConfig


class Adapter(Section):
    """What a folder holds that has no trunk in it: a head, and perhaps low-rank changes of a frozen trunk.

    Attributes:
        trainable: `head` or `lora`, as in a recipe's section `train`.
        lora: The low-rank changes.
        trains_table: Whether the output table is in the folder.
        trunk_sha256: Digest of the trunk it belongs to.
    """

    trainable: Literal["head", "lora"]
    lora: LoraConfig = LoraConfig()
    trains_table: bool = False
    trunk_sha256: str

    @property
    def training(self) -> TrainConfig:
        """The section `train` of a recipe that builds the same model."""
        return TrainConfig(trainable=self.trainable, lora=self.lora, trains_table=self.trains_table)
