"""Damage: truncated files and flipped bits in checkpoints and data sets, and whether they are noticed."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def damage_checkpoints(folder: Path, number: int, generator: random.Random) -> tuple[Counter[str], list[str]]:
    """Damages the newer of two checkpoints, once per trial, and loads.

    Args:
        folder: Folder of at least two checkpoints; it is left as it was.
        number: Trials.
        generator: Draws file, place and kind of damage.

    Returns:
        Damages noticed, by kind, and descriptions of those that were not.
    """
    from hdiff.runs.checkpoint import load_checkpoint

    noticed: Counter[str] = Counter()
    missed = []
    *_, before, newest = sorted(folder.glob("step-*"))
    for _ in range(number):
        file = generator.choice(sorted(newest.iterdir()))
        with damaged(file, generator) as kind, warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            loaded = load_checkpoint(folder)
        is_noticed = f"step-{loaded.step:08d}" == before.name and f"{before.name} is used" in str(
            said[-1].message if said else ""
        )
        if is_noticed:
            noticed[f"{kind} in a checkpoint"] += 1
        else:
            missed.append(f"{kind} of {file}")
    return noticed, missed


def damage_data(data: Path, number: int, generator: random.Random) -> tuple[Counter[str], list[str]]:
    """Damages a data file, once per trial, and opens the data set as training does.

    Args:
        data: Prepared data set; it is left as it was.
        number: Trials.
        generator: Draws file, place and kind of damage.

    Returns:
        Damages noticed, by kind, and descriptions of those that were not.
    """
    from hdiff.data.prepared import PreparedData
    from hdiff.errors import DataError

    noticed: Counter[str] = Counter()
    missed = []
    names = sorted(PreparedData.load(data).manifest["sha256"])
    files = [data / name for name in names if (data / name).stat().st_size]
    for _ in range(number):
        file = generator.choice(files)
        with damaged(file, generator) as kind:
            try:
                PreparedData.load(data).verify()
                missed.append(f"{kind} of {file}")
            except DataError:
                noticed[f"{kind} in a data set"] += 1
    return noticed, missed


@contextmanager
def damaged(file: Path, generator: random.Random) -> Iterator[str]:
    """Cuts a file off or flips one of its bits, says which, and puts the file back."""
    content = file.read_bytes()
    if generator.random() < 0.5:
        kind, broken = "truncation", content[: generator.randrange(len(content))]
    else:
        bit = generator.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        kind, broken = "flipped bit", bytes(flipped)
    file.write_bytes(broken)
    try:
        yield kind
    finally:
        file.write_bytes(content)
