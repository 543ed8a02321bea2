"""unwrapped: the network inside what torch.compile, data parallelism, averaging or peft wrap around it."""

from __future__ import annotations

from typing import Any

from torch import nn

_INSIDE = ("_orig_mod", "module", "_fsdp_wrapped_module")
"""Where torch keeps it: torch.compile, (Distributed)DataParallel and AveragedModel, FSDP of version 1."""


def unwrapped(model: Any) -> Any:
    """The network itself; parts are told apart by their classes, which wrappers hide.

    It shares its weights with the wrapper, and is not compiled: `model.compile()` compiles in place.

    Args:
        model: A network, wrapped any number of times or not.

    Returns:
        The network.
    """
    while isinstance(model, nn.Module):
        adapted: Any = getattr(model, "get_base_model", None)  # of peft, which changes the network in place
        if adapted is not None:
            inner = adapted()
        else:
            inner = next((model._modules[name] for name in _INSIDE if name in model._modules), None)
        if not isinstance(inner, nn.Module):
            break
        model = inner
    return model
