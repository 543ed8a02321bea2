"""MuonWithAdamW: torch's Muon on matrices and AdamW on everything else, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch


@final
class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers of torch with one list of groups and one state, so that rates and checkpoints see one.

    Muon makes the singular values of an update alike. Its rate is scaled so that an update has the root mean
    square of AdamW's (`adjust_lr_fn="match_rms_adamw"`, arXiv:2502.16982), so one learning rate serves both.

    Args:
        matrices: What Muon updates, all of two dimensions.
        others: Groups of AdamW.
        lr: Learning rate of both.
        betas: Decay of the averages; Muon takes 0.95, as its paper does.
        weight_decay: Decay of the matrices.
        fused: See `torch.optim.AdamW`.
    """

    def __init__(
        self,
        matrices: list[torch.nn.Parameter],
        others: list[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        fused: bool | None,
    ) -> None:
        muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        adamw = torch.optim.AdamW(others, lr=lr, betas=betas, weight_decay=0.0, fused=fused)
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self.muon, self.adamw = muon, adamw

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates all parameters that have a gradient."""
        assert closure is None, "the trainer gives none"
        # Whoever loads a state puts new objects in place of the old ones.
        self.muon.param_groups, self.adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        self.muon.state = self.adamw.state = self.state
        self.muon.step()  # type: ignore[no-untyped-call]
        self.adamw.step()
