"""What a joint head on a frozen trunk costs per token: all weights, the head alone, the head on kept states.

Processor seconds of one thread, updates of the three in turns, medians; a random trunk of any shape beside a
checkpoint: `python recipes/benchmarks/kept_states.py checkpoints/minilm data/gutenberg [KEY=VALUE ...]`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from hdiff.recipe import load_recipe
from hdiff.training.build import Training, build_training
from hdiff.training.keeping import keep_states
from hdiff.training.update import Updates

RECIPE = Path(__file__).parents[1] / "adapt_joint_head.yaml"
SYSTEMS = {
    "all": ["train.trainable=all"],
    "head": ["train.trainable=head"],
    "kept": ["train.trainable=head", "train.kept_states=1"],
}


def built(name: str, folder: Path, arguments: argparse.Namespace) -> Training:
    """A training of a system that is about to do its first update."""
    changes = [
        *SYSTEMS[name],
        f"model.pretrained={arguments.checkpoint}",
        f"data.path={arguments.data}",
        f"output={folder / name}",
        "train.trackers=[]",
        *arguments.changes,
    ]
    training = build_training(load_recipe(RECIPE, changes))
    training.path.mkdir()
    return training


def main() -> None:
    """Builds the systems, does updates in turns and prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("changes", nargs="*", help="key=value of the recipe")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--out", type=Path, help="file of the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        trainings = {name: built(name, Path(folder), arguments) for name in SYSTEMS}
        began = time.process_time()
        kept = keep_states(trainings["kept"], None)
        assert kept is not None
        filled = time.process_time() - began
        updates = {name: Updates(training) for name, training in trainings.items()}
        seconds: dict[str, list[float]] = {name: [] for name in SYSTEMS}
        for turn in range(arguments.turns + 1):
            for name, update in updates.items():
                began = time.process_time()
                update(turn + 1)
                if turn:  # the first one warms up
                    seconds[name].append(time.process_time() - began)
        tokens = trainings["all"].tokens_per_update
        model = trainings["all"].model
        found = {name: {"ms_per_token": 1e3 * median(times) / tokens} for name, times in seconds.items()}
        for one in found.values():
            one["of_all"] = one["ms_per_token"] / found["all"]["ms_per_token"]
        computed = kept.num_kept * kept.num_rows * trainings["all"].recipe.data.sequence_length
        found["fill"] = {"ms_per_token": 1e3 * filled / computed}
        found["trunk_parameters"] = sum(p.numel() for p in model.trunk.parameters())
        found["vocab_size"] = model.vocab_size
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
