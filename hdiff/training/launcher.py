"""Settings of launchers, of `accelerate config` and of ACCELERATE_* variables: known, or refused by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hdiff.config.train import TrainConfig
from hdiff.errors import RecipeError

OFF = ("", "no", "none", "false", "0", "off")
"""How launchers say that something is not asked for."""

UNSUPPORTED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor or context parallelism",
    "ACCELERATE_DYNAMO_BACKEND": "compilation by TorchDynamo",
    "ACCELERATE_DOWNCAST_BF16": "bfloat16 in place of float32",
    "ACCELERATE_FP8_BACKEND": "fp8",
}
"""Variables that would change how a run trains, of which recipe and checkpoint would know nothing."""

NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")

PREFIXES = ("ACCELERATE_", "FSDP_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_")


def check_launcher(config: TrainConfig) -> None:
    """Refuses settings of a launcher that this package does not know or that contradict the recipe."""
    for name, what in UNSUPPORTED.items():
        value = os.environ.get(name, "")
        if value.lower() not in OFF:
            raise RecipeError(
                f"{name} is '{value}' ({what}), not supported by hdiff train; unset it, or answer no in:",
                "accelerate config",
            )
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "")
    if precision.lower() not in (*OFF, config.mixed_precision):
        raise RecipeError(
            f"ACCELERATE_MIXED_PRECISION is '{precision}', train.mixed_precision {config.mixed_precision}; "
            "the recipe decides: leave --mixed_precision out of the launcher and set",
            f"train.mixed_precision={precision if precision in ('bf16', 'fp16') else 'no'}",
        )
    accumulation = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "")
    if accumulation not in ("", str(config.gradient_accumulation)):
        raise RecipeError(
            f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS is '{accumulation}' and train.gradient_accumulation "
            f"{config.gradient_accumulation}; the recipe decides: unset it and set",
            "train.gradient_accumulation=N",
        )
    for name in NUMBERS:
        value = os.environ.get(name, "0")
        if not (value.isascii() and value.isdigit()):
            raise RecipeError(
                f"{name} is '{value}', which launchers set to a whole number; unset it, or start with:",
                "accelerate launch -m hdiff train RECIPE.yaml",
            )


@contextmanager
def launch_errors() -> Iterator[None]:
    """Says what Accelerate and torch make of the environment that a launcher has set."""
    try:
        yield
    except (ValueError, RuntimeError, ImportError, TypeError) as error:
        given = {name: os.environ[name] for name in sorted(os.environ) if name.startswith(PREFIXES)}
        settings = ", ".join(f"{name}={value}" for name, value in given.items()) or "no variables"
        raise RecipeError(
            f"the processes cannot start ({' '.join(str(error).split())[:200]}) from what the launcher set "
            f"({settings}); start with:",
            "accelerate launch -m hdiff train RECIPE.yaml",
        ) from error
