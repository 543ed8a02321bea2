"""The training data of a recipe: opened, checked once per machine, and where each process is in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hdiff.config import Recipe
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepared import PreparedData
from hdiff.data.rows.mixture import MixedRows
from hdiff.data.rows.streaming import StreamedRows
from hdiff.data.rows.training_rows import PreparedRows, RowTerms, TrainingRows
from hdiff.data.token_stream import label_order
from hdiff.data.token_targets import TargetSpec
from hdiff.errors import CheckpointError, DataError

if TYPE_CHECKING:
    from accelerate import Accelerator

_STATE = "rows"


def verify_once(recipe: Recipe, accelerator: Accelerator) -> None:
    """Compares prepared data with its hashes, in one process of each machine; training reads it all anyway.

    Args:
        recipe: The recipe.
        accelerator: Of all processes; the others wait.

    Raises:
        DataError: On every process, if a file is missing or differs.
    """
    problem: DataError | None = None
    if accelerator.is_local_main_process:
        try:
            for folder in recipe.data.folders():
                PreparedData.load(folder).verify()
        except DataError as error:
            problem = error
    is_damaged = torch.tensor([problem is not None], dtype=torch.long, device=accelerator.device)
    if int(accelerator.gather(is_damaged).max()):
        raise problem or DataError("the data is damaged, as another process says; prepare it again")


def open_rows(
    recipe: Recipe,
    prepared: PreparedData,
    blocks: PackedBlocks,
    *,
    levels: Sequence[str],
    accelerator: Accelerator,
    targets: TargetSpec | None = None,
) -> TrainingRows:
    """The rows that a recipe trains on; of a stream those of this process alone."""
    data, seed = recipe.data, recipe.seed
    terms = RowTerms(
        data,
        prepared,
        blocks,
        levels,
        uses_salience=data.salience_buckets is not None or recipe.planner is not None,
        targets=targets,
        process=(accelerator.process_index, accelerator.num_processes),
        rejected=Path(recipe.output) / "rejected.jsonl",
    )
    rows: TrainingRows
    if data.stream is not None:
        rows = StreamedRows.open(data.stream, terms, seed=seed)
    elif data.mixture:
        rows = MixedRows.open(terms, seed=seed)
    else:
        rows = PreparedRows(prepared, blocks, seed=seed)
    rows.check(recipe.train.batch_size * accelerator.num_processes)
    return rows


def rows_state(rows: TrainingRows, accelerator: Accelerator) -> dict[str, Any]:
    """What a checkpoint keeps of the rows of all processes, JSON-able; all processes must ask."""
    state = rows.state()
    if state is None:
        return {}
    from accelerate.utils import gather_object

    return {_STATE: gather_object([state])}


def restore_rows(rows: TrainingRows, state: dict[str, Any], accelerator: Accelerator) -> None:
    """Goes on where a checkpoint was saved."""
    saved = state.get(_STATE)
    if saved is None:
        return
    if len(saved) != accelerator.num_processes:
        raise CheckpointError(
            f"the stream was read by {len(saved)} processes, now there are {accelerator.num_processes}; "
            f"resume with {len(saved)}, or make a new run:",
            "output=DIR",
        )
    rows.restore(saved[accelerator.process_index])


def data_facts(prepared: PreparedData, blocks: PackedBlocks, rows: TrainingRows) -> dict[str, Any]:
    """What `run.json` says of the text.

    Args:
        prepared: The data set.
        blocks: Its packed training split.
        rows: The rows of the run.

    Returns:
        Source, parser, levels, tokens, hash, borders of the salience buckets, and for each level the labels
        its units have with their numbers, most frequent first; JSON-able.
    """
    manifest = prepared.manifest
    labels: dict[str, dict[str, int]] = {}
    if blocks.labels:
        names = dict(zip(label_order(prepared).tolist(), manifest["labels"], strict=False))
        labels = {
            level: {names[number]: number for number in sorted(set(numbers.tolist()) - {0})}
            for level, numbers in blocks.labels.items()
        }
    return {
        "source": manifest["source"],
        "parser": manifest["parser"],
        "levels": manifest["levels"],
        "train_tokens": rows.num_tokens,
        "sha256": prepared.fingerprint,
        "salience_borders": None if blocks.buckets is None else list(blocks.buckets.edges),
        "labels": labels,
        "prompts": manifest.get("prompts"),
        **rows.facts(),
    }
