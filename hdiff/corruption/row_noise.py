"""RowNoise: random numbers of a row that depend on (seed, step, sample id) alone.

So a row is corrupted alike whatever batch, process or device it is in. Dimensions: B rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# SplitMix64: a counter times an odd constant, then a bijective mixer. Source: Steele, Lea and Flood, "Fast
# splittable pseudorandom number generators", OOPSLA 2014; constants are those of its variant 13 mixer.
_STEP = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number
_FIRST = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_SECOND = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB


class RowNoise(torch.Generator):
    """A generator with a stream of its own for each row of a batch.

    Corruptions of this package draw through the functions of this file, which give each row the numbers of
    its own stream. To all other code it is a plain generator: there noise depends on the batch too.

    Args:
        seed: Seed of the run and the step, in [0, 2^63).
        sample_ids: Which sample each row is, long (B,).
    """

    def __new__(cls, seed: int, sample_ids: Tensor) -> RowNoise:
        return super().__new__(cls, sample_ids.device)  # type: ignore[call-arg]

    def __init__(self, seed: int, sample_ids: Tensor) -> None:
        self.manual_seed(seed)
        self._rows = _mix(_mix(sample_ids + 1) + seed)  # (B,)
        self._calls = 0

    def bits(self, shape: Sequence[int]) -> Tensor:
        """The next 64 random bits of each place, long (B, ...), which depend on its row and not on B."""
        if len(shape) == 0 or shape[0] != len(self._rows):
            raise ValueError(f"shape {tuple(shape)}: noise of {len(self._rows)} rows has shape (B, ...)")
        self._calls += 1
        streams = _mix(self._rows + torch.full_like(self._rows, self._calls) * _STEP)  # (B,); wraps around
        places = torch.arange(1, 1 + _size(shape[1:]), device=streams.device)
        return _mix(streams[:, None] + places * _STEP).reshape(*shape)


def rand(
    shape: Sequence[int],
    *,
    generator: torch.Generator | None,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """`torch.rand`, `dtype` (B, ...), row by row if the generator is a `RowNoise`."""
    if not isinstance(generator, RowNoise):
        return torch.rand(tuple(shape), generator=generator, device=device, dtype=dtype)
    digits = 53 if dtype == torch.float64 else 24
    return _shift(generator.bits(shape), 64 - digits).to(dtype) * 2.0**-digits


def randn(shape: Sequence[int], *, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """`torch.randn`, float (B, ...), row by row if the generator is a `RowNoise`."""
    if not isinstance(generator, RowNoise):
        return torch.randn(tuple(shape), generator=generator, device=device)
    u = _shift(generator.bits(shape), 11).double().add_(0.5).mul_(2.0**-53)  # (0, 1): never an end
    normal: Tensor = torch.special.ndtri(u)
    return normal.to(torch.get_default_dtype())


def randint(
    high: int, shape: Sequence[int], *, generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """`torch.randint` on 0 .. high - 1, long (B, ...), row by row if the generator is a `RowNoise`."""
    if not isinstance(generator, RowNoise):
        return torch.randint(high, tuple(shape), generator=generator, device=device)
    return (rand(shape, generator=generator, device=device, dtype=torch.float64) * high).long()


def categorical(
    probabilities: Tensor, shape: tuple[int, int], *, generator: torch.Generator | None
) -> Tensor:
    """Draws, long (B, N), from probabilities (K,), row by row if the generator is a `RowNoise`."""
    if not isinstance(generator, RowNoise):
        return torch.multinomial(
            probabilities.expand(shape[0], -1), shape[1], replacement=True, generator=generator
        )
    u = rand(shape, generator=generator, device=probabilities.device, dtype=torch.float64)
    ends = probabilities.double().cumsum(0)
    # Scaled to the sum: rounding must not leave a gap at the end, where a class of probability 0 may be.
    return torch.searchsorted(ends, u * ends[-1], right=True).clamp(max=len(ends) - 1)


def _mix(z: Tensor) -> Tensor:
    """A bijection of 64-bit numbers whose outputs look random; products wrap around."""
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """`z >> bits` with zeros, not the sign, coming in."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _size(shape: Sequence[int]) -> int:
    size = 1
    for number in shape:
        size *= number
    return size
