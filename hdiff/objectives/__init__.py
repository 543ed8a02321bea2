"""Objectives: bounds on -log p(x_0), for training and evaluation."""

from hdiff.objectives.nelbo import Loss, nelbo
from hdiff.objectives.planning import planner_loss
from hdiff.objectives.t_step import t_step_corrupted

__all__ = ["Loss", "nelbo", "planner_loss", "t_step_corrupted"]
