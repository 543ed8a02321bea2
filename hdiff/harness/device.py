"""The device that the harness asks for."""

from __future__ import annotations

import logging

import torch

from hdiff.errors import DataError

logger = logging.getLogger(__name__)


def device_of(name: str | None) -> torch.device:
    """The device asked for; the harness asks for a GPU if it is asked for nothing."""
    remedy = "give cpu, cuda, cuda:0 or another device of PyTorch"
    try:
        device = torch.device("cpu" if name is None else name)
    except RuntimeError:
        raise DataError(f"--model hdiff: device is {name!r:.80}; {remedy}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        logger.warning("no %s here, the model runs on the CPU", name)
        return torch.device("cpu")
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # each kind of device has errors of its own
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"--model hdiff: device is {name!r:.80}, which is not here ({reason:.200}); {remedy}"
        ) from error
    return device
