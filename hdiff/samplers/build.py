"""build_sampler: the sampler of a recipe or command line, with its steps."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from hdiff.components import build, component_class
from hdiff.corruption import Corruption
from hdiff.errors import DataError, at_key
from hdiff.heads.sampling import AS_IT_IS, Sampling
from hdiff.samplers import SAMPLERS, Sampler


def steps_parameter(spec: Mapping[str, Any], *, section: str = "sampler") -> inspect.Parameter | None:
    """The parameter of a sampler's class that takes the steps T; None if it finds its number itself."""
    cls = component_class(str(spec.get("kind", "")), SAMPLERS, section=section)
    return inspect.signature(cls).parameters.get("num_steps")


def build_sampler(
    spec: Mapping[str, Any], *, num_steps: int | None = None, section: str = "sampler"
) -> Sampler:
    """The sampler of `{kind: name, ...}`; `num_steps` is for those that take steps and name none."""
    with at_key(f"{section}.kind"):
        takes_steps = steps_parameter(spec, section=section) is not None
    if takes_steps and num_steps is not None:
        spec = {"num_steps": num_steps, **spec}
    sampler: Sampler = build(spec, SAMPLERS, section=section)
    return sampler


def text_sampler(
    spec: Mapping[str, Any] | None,
    corruption: Corruption,
    *,
    num_steps: int | None,
    default: int,
    sampling: Sampling = AS_IT_IS,
) -> Sampler:
    """The sampler that writes a text, with its steps: one rule for commands, pipelines and served models.

    Args:
        spec: `{kind: name, ...}` that was asked for; None: the plain one of the corruption.
        corruption: That of the model.
        num_steps: Steps T that were asked for; the plain sampler of some families has no use for them.
        default: Steps T where a sampler needs them and none were asked for.
        sampling: Temperature and truncation.

    Returns:
        The sampler.

    Raises:
        DataError: If steps are asked of a sampler that finds their number itself.
        RecipeError: If the kind or a key is unknown.
    """
    chosen = spec or corruption.plain_sampler(default if num_steps is None else num_steps)
    parameter = steps_parameter(chosen)
    if spec is not None and num_steps is not None and (parameter is None or "num_steps" in spec):
        reason = "finds its number of steps itself" if parameter is None else "is given num_steps"
        raise DataError(f"sampler '{spec['kind']}' {reason}; leave --steps (num_inference_steps) out")
    if num_steps is None and parameter is not None and parameter.default is parameter.empty:
        num_steps = default
    return build_sampler(chosen, num_steps=num_steps).with_sampling(sampling)
