"""Checks of any-order trunks: their bound, what they read, and that what is kept of them is exact."""

from __future__ import annotations

import torch

from hdiff.audit.checks import Check, Subject
from hdiff.audit.network import HeadSpec, bound_above_entropy, head_name, network_leak, small_denoiser
from hdiff.models.reveal_memory import RevealMemory

ROUNDING = 1e-9


def any_order(subject: Subject, head: HeadSpec) -> list[Check]:
    """A network with such a trunk in place of a bidirectional one.

    Args:
        subject: What is audited.
        head: Head of the network.

    Returns:
        `any_order_bound` and `any_order_leak`, as `bound_above_entropy` and `network_leak`, and
        `any_order_cache`; none where states have no order of reveal.
    """
    if not subject.corruption.draws_order:
        return []
    checks = bound_above_entropy(subject, head, in_order=True) + network_leak(subject, head, in_order=True)
    return [*checks, _kept(subject, head)]


@torch.no_grad()
def _kept(subject: Subject, head: HeadSpec) -> Check:
    """Largest difference between outputs against kept keys and outputs of whole rows, in double precision.

    All strings are revealed unit by unit in a random order; hidden and visible tokens count.
    """
    denoiser = small_denoiser(subject, head, in_order=True).double().eval()
    batch = subject.language.every()
    t = torch.ones(len(batch.input_ids), dtype=torch.float64)
    order = subject.corruption.corrupt(batch, t, generator=torch.Generator().manual_seed(8)).order
    assert order is not None, "corruptions that draw an order give it"
    memory, worst = RevealMemory(denoiser), 0.0
    for number in range(int(order.min()), int(order.max()) + 1):
        is_hidden = order >= number
        x_t = batch.input_ids.masked_fill(is_hidden, denoiser.mask_id)
        difference = memory.read(x_t, order, is_hidden) - denoiser.hidden(x_t, order=order)
        worst = max(worst, float(difference[is_hidden.any(1)].abs().max()))
    return subject.check("any_order_cache", worst, 0.0, ROUNDING, worst <= ROUNDING, head=head_name(head))
