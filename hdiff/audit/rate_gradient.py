"""rate_gradient: the drawn gradient of learned speeds against the enumerated bound.

Dimensions: V vocabulary, G groups of rows.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hdiff.audit.best_bound import enumerated_bound
from hdiff.audit.checks import Check, Subject, draw
from hdiff.audit.exact import ExactDenoiser
from hdiff.audit.network import small_denoiser
from hdiff.models.denoiser import Denoiser

GROUPS = 40
ROWS_PER_GROUP = 500
NUM_TIMES = 32
STEP = 0.05
"""Half the distance of the two speeds whose bounds are compared, in theta."""


def rate_gradient(subject: Subject) -> list[Check]:
    """The gradient that training uses is the derivative of the bound, for an untrained network.

    The value is the largest difference in standard errors over the entries of the vocabulary. States are
    drawn from a law that depends on the speeds; a gradient without that part is wrong although every number
    printed is a bound.

    Args:
        subject: What is audited.

    Returns:
        The check; none for corruptions that learn no speeds.
    """
    if getattr(subject.corruption, "rates", None) is None:
        return []
    denoiser = small_denoiser(subject, "product")
    subject = replace(subject, corruption=subject.corruption.of_model(denoiser))
    mean, error = drawn_gradient(subject, denoiser)
    farthest = float(((mean - enumerated_gradient(subject, denoiser)).abs() / error).max())
    return [subject.check("rate_gradient", farthest, 0.0, 4.0, farthest <= 4.0)]


def drawn_gradient(subject: Subject, denoiser: Denoiser) -> tuple[Tensor, Tensor]:
    """Mean and standard error of the gradient by theta, nats per string, float64 (V,) each."""
    assert denoiser.token_rates is not None
    generator = torch.Generator().manual_seed(9)
    of_draws = []
    for _ in range(GROUPS):
        drawn = draw(subject, ROWS_PER_GROUP, generator)
        nats = drawn.nats(denoiser(drawn.corrupted)).mean()
        of_draws.append(torch.autograd.grad(nats, denoiser.token_rates.theta)[0].double())
    gradients = torch.stack(of_draws)  # (G, V)
    return gradients.mean(0), gradients.std(0) / GROUPS**0.5


@torch.no_grad()
def enumerated_gradient(subject: Subject, denoiser: Denoiser) -> Tensor:
    """Central differences of the bound over all strings and states, float64 (V,)."""
    assert denoiser.token_rates is not None
    theta = denoiser.token_rates.theta
    gradients = []
    for token in range(len(theta)):
        values = []
        for step in (STEP, -2 * STEP):
            theta[token] += step
            exact = ExactDenoiser(subject.language, subject.corruption)
            values.append(
                enumerated_bound(exact, lambda corrupted, t: denoiser(corrupted), num_times=NUM_TIMES)
            )
        theta[token] += STEP
        gradients.append((values[0] - values[1]) / (2 * STEP))
    return torch.tensor(gradients, dtype=torch.float64)
