"""KeptStates: what a frozen trunk makes of a few corruptions of every row, computed once.

Dimensions: B batch, N rows, K states of a row, P hidden tokens, D width.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hdiff.config import Recipe
from hdiff.corruption import Corruption, corrupt_free
from hdiff.corruption.corrupted import Corrupted
from hdiff.corruption.row_noise import RowNoise, rand
from hdiff.corruption.unit_masking import UnitMasking
from hdiff.data.batch import Batch
from hdiff.data.rows.training_rows import TrainingRows
from hdiff.errors import RecipeError
from hdiff.files import disk_errors, write_atomically
from hdiff.models.denoiser import Denoiser
from hdiff.seeds import derive_seed

if TYPE_CHECKING:
    from accelerate import Accelerator

    from hdiff.progress import Progress

BYTES = 2
"""Of a number in bfloat16."""

_SAVES = 50  # times that a fill writes down how far it is


@final
class KeptStates:
    """K states of each row, with noise levels 1/K apart, and the trunk's output at their hidden tokens.

    A state is drawn by the seed, the row and its number alone. So an update that asks for a row at time t
    gets, of the K states of the row, the one whose level is nearest: each is as likely, and the levels of an
    update stay spread over (0, 1].

    Args:
        corruption: Draws the states.
        num_kept: States of a row K.
        seed: Seed of the run.
        num_rows: Rows N.
        batch_size: Rows whose states are computed together.
        path: Folder of the states.
    """

    def __init__(
        self, corruption: Corruption, *, num_kept: int, seed: int, num_rows: int, batch_size: int, path: Path
    ) -> None:
        self.corruption = corruption
        self.num_kept, self.num_rows, self.seed = num_kept, num_rows, seed
        self.batch_size = batch_size
        self.path = path
        self._ends: NDArray[np.int64] | None = None  # (N * K,): one past the last hidden token of each state
        self._outputs: NDArray[np.int16] | None = None  # (P, D), the bits of bfloat16

    def corrupted(self, batch: Batch, t: Tensor) -> tuple[Corrupted, Tensor]:
        """The kept states of some rows that are nearest to given times.

        Args:
            batch: The rows.
            t: Times in (0, 1], float (B,).

        Returns:
            The states, and which ones they are, long (B,).
        """
        assert batch.sample_ids is not None
        shift = 1 - self._uniform(batch.sample_ids)  # (0, 1]
        number = (t.double() * self.num_kept - shift).round().long() % self.num_kept
        return self._state(batch, number, shift), number * self.num_rows + batch.sample_ids

    def __call__(self, batch: Batch, t: Tensor) -> tuple[Corrupted, Tensor]:
        """Kept states of some rows, and the trunk's output at their hidden tokens.

        Args:
            batch: The rows.
            t: Times in (0, 1], float (B,).

        Returns:
            The states, and the output in their order, float (P, D).
        """
        assert self._ends is not None, "the states are counted"
        assert self._outputs is not None, "the states are computed"
        corrupted, entries = self.corrupted(batch, t)
        places = [slice(self._ends[e - 1] if e else 0, self._ends[e]) for e in entries.tolist()]
        bits = np.concatenate([self._outputs[place] for place in places])
        output = torch.from_numpy(bits).view(torch.bfloat16).to(batch.input_ids.device)
        return corrupted, output.float()

    def count(self, rows: TrainingRows, device: torch.device) -> int:
        """Counts the hidden tokens of all states, which says where each begins.

        Args:
            rows: The rows.
            device: Where states are drawn.

        Returns:
            Hidden tokens.
        """
        counts = [state.is_masked.sum(1).cpu() for state in self._states(rows, device)]
        self._ends = torch.cat(counts).cumsum(0).numpy()
        return int(self._ends[-1])

    def fill(
        self,
        rows: TrainingRows,
        denoiser: Denoiser,
        accelerator: Accelerator,
        *,
        key: str,
        progress: Progress | None = None,
    ) -> None:
        """Computes what is not in the folder yet, and opens it.

        Args:
            rows: The rows.
            denoiser: The model with the frozen trunk.
            accelerator: Says where and how precisely it computes.
            key: Digest of all that the states depend on; those of another key are computed anew.
            progress: Shows how far it is.
        """
        width = denoiser.head.width
        self.path.mkdir(parents=True, exist_ok=True)
        outputs, record = self.path / "outputs.bin", self.path / "states.json"
        known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        done, tokens = (known["batches"], known["tokens"]) if known.get("key") == key else (0, 0)
        if not outputs.is_file() or outputs.stat().st_size < tokens * width * BYTES:
            done = tokens = 0
        size = self.num_kept * len(self._begins)
        denoiser.eval()
        with disk_errors(self.path), outputs.open("ab") as file:
            file.truncate(tokens * width * BYTES)
            for number, state in enumerate(self._states(rows, accelerator.device, done), start=done + 1):
                with torch.no_grad(), accelerator.autocast():
                    output = denoiser.read_spans(state)[1].to(torch.bfloat16).cpu()
                file.write(output.contiguous().view(torch.int16).numpy().tobytes())
                tokens += len(output)
                if number % max(1, size // _SAVES) == 0 or number == size:
                    file.flush()
                    os.fsync(file.fileno())
                    write_atomically(record, json.dumps({"key": key, "batches": number, "tokens": tokens}))
                    if progress is not None:
                        progress.update(number, size, "trunk states")
        self._outputs = np.memmap(outputs, dtype=np.int16, mode="r").reshape(-1, width)

    def remove(self) -> None:
        """Deletes the folder."""
        self._outputs = None
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _begins(self) -> range:
        return range(0, self.num_rows, self.batch_size)

    def _states(self, rows: TrainingRows, device: torch.device, skip: int = 0) -> Iterator[Corrupted]:
        """All states, number after number, in batches that are the same at every start."""
        begins = self._begins
        for index in range(skip, self.num_kept * len(begins)):
            number, place = divmod(index, len(begins))
            first = begins[place]
            batch = rows.samples(range(first, min(first + self.batch_size, self.num_rows))).to(device)
            assert batch.sample_ids is not None
            numbers = torch.full_like(batch.sample_ids, number)
            yield self._state(batch, numbers, 1 - self._uniform(batch.sample_ids))

    def _state(self, batch: Batch, number: Tensor, shift: Tensor) -> Corrupted:
        assert batch.sample_ids is not None
        t = ((number + shift) / self.num_kept).float().clamp(max=1.0)
        ids = batch.sample_ids * self.num_kept + number
        noise = RowNoise(derive_seed(self.seed, "kept states"), ids)
        return corrupt_free(
            batch, lambda free: self.corruption.corrupt(free, t, generator=noise), self.corruption.type_sizes
        )

    def _uniform(self, sample_ids: Tensor) -> Tensor:
        noise = RowNoise(derive_seed(self.seed, "kept levels"), sample_ids)
        shape = (len(sample_ids), 1)
        return rand(shape, generator=noise, device=sample_ids.device, dtype=torch.float64)[:, 0]


def check_kept_states(
    recipe: Recipe, model: object, corruption: Corruption, rows: TrainingRows, accelerator: Accelerator
) -> None:
    """Refuses recipes whose trunk states cannot be kept, or would not be read.

    Args:
        recipe: The recipe.
        model: Its model.
        corruption: Its corruption.
        rows: Its training rows.
        accelerator: Of all processes.

    Raises:
        RecipeError: If a recipe asks for kept states.
    """
    kept = recipe.train.kept_states
    if not kept:
        return
    kind, processes = recipe.corruption["kind"], accelerator.num_processes
    reads = "reads the trunk's output elsewhere too"
    reasons = {
        "rows of a stream are read once": rows.num_samples is None,
        f"corruption '{kind}' does not hide whole units alone": not isinstance(corruption, UnitMasking)
        or not isinstance(model, Denoiser),
        "corruption.final_parsed_fraction changes what is hidden": corruption.at(1.0) is not corruption,
        "the trunk reads flags, which corruption.flagged trains": bool(corruption.flag_levels),
        f"the planner {reads}": recipe.planner is not None,
        f"supervision {reads}": recipe.supervision is not None,
        f"the length head {reads}": recipe.length_head is not None,
        f"the head with sees_row {reads}": bool(recipe.head.get("sees_row")),
        f"{processes} processes train, and one can keep them": processes > 1 or accelerator.is_fsdp2,
    }
    for reason, holds in reasons.items():
        if holds:
            raise RecipeError(f"train.kept_states is {kept}, but {reason}; use", "train.kept_states=0")
    read = recipe.train.steps * recipe.train.batch_size * recipe.train.gradient_accumulation
    if rows.num_samples is not None and kept * rows.num_samples > read:
        raise RecipeError(
            f"train.kept_states is {kept}: {kept} x {rows.num_samples:,} states would be computed, and "
            f"{read:,} are read; use",
            f"train.kept_states={read // rows.num_samples}",
        )
