"""Ablations: variants of a recipe x seeds, run, compared in pairs, shown. No torch until runs are made."""

from hdiff.ablation.specification import Ablation, Run, load_ablation

__all__ = ["Ablation", "Run", "load_ablation"]
