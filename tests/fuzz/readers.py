"""Readers: every function that reads what a user or a stranger made, as one call on bytes.

A call returns if the input is accepted, raises `UserError` if it is refused as documented; anything else is
a finding. Files lie in a folder in memory where the machine has one, and nothing is synced.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reading import (
    read_ablation,
    read_ablation_folder,
    read_brackets,
    read_checkpoint,
    read_conllu,
    read_manifest,
    read_metrics,
    read_model,
    read_pattern,
    read_recipe,
    read_skeleton,
    read_text_file,
)
from seeds import (
    ABLATION,
    ABLATION_FOLDER,
    CONFIG,
    CONLLU,
    HOSTILE_JSON,
    JSON,
    KEYS,
    RECIPE,
    ROWS,
    SCHEMA,
    TENSORS,
    TREE,
    YAML,
    manifest,
    model_seeds,
    parquet,
)


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        modules: Modules whose edges the coverage-guided fuzzer watches.
        seeds: Valid inputs that mutations start from.
        read: Reads an input with a folder to put files into.
        tokens: Pieces of the format, for mutations.
    """

    modules: tuple[str, ...]
    seeds: Callable[[], tuple[bytes, ...]]
    read: Callable[[bytes, Path], None]
    tokens: tuple[bytes, ...]


READERS: dict[str, Reader] = {
    "txt": Reader(
        ("hdiff.data.sources.text_files",),
        lambda: (b"One.\n\nTwo.\n", b"a\n<|endoftext|>\nb\n", b"\xef\xbb\xbfa\r\nb\r\n"),
        read_text_file(".txt"),
        (b"<|endoftext|>", b"\r\n", b"\xef\xbb\xbf"),
    ),
    "jsonl": Reader(
        ("hdiff.data.sources.text_files", "json.decoder", "json.scanner"),
        lambda: (b'{"text": "One."}\n{"text": "Two."}\n', HOSTILE_JSON),
        read_text_file(".jsonl"),
        (*JSON, b'"text"'),
    ),
    "csv": Reader(
        ("hdiff.data.sources.text_files", "csv"),
        lambda: (b'text,n\none,1\n"two ""x""\nmore",2\n',),
        read_text_file(".csv"),
        (b'"', b",", b"text", b"\r", b"\n", b'""'),
    ),
    "json": Reader(
        ("hdiff.data.sources.text_files", "json.decoder", "json.scanner"),
        lambda: (b'[{"text": "One."}, "Two."]\n', HOSTILE_JSON),
        read_text_file(".json"),
        (*JSON, b'"text"', b"["),
    ),
    "parquet": Reader(
        ("hdiff.data.sources.text_files", "hdiff.data.sources.arrow"),
        parquet,
        read_text_file(".parquet"),
        (b"PAR1", b"text"),
    ),
    "brackets": Reader(
        ("hdiff.parsers.brackets", "hdiff.parsers.treebank", "hdiff.structure"),
        lambda: (
            b"( (S (NP-SBJ-1 (DT The) (NN dog)) (VP (VBD slept) (-NONE- *)) (. .)))\n",
            b"(-LRB- -LRB-)",
        ),
        read_brackets,
        TREE,
    ),
    "conllu": Reader(
        (
            "hdiff.parsers.conllu",
            "hdiff.parsers.treebank",
            "hdiff.parsers.dependency",
            "hdiff.parsers.constituents",
            "hdiff.parsers.universal",
            "hdiff.structure",
        ),
        lambda: (CONLLU,),
        read_conllu,
        ROWS,
    ),
    "recipe": Reader(
        (
            "hdiff.recipe",
            "hdiff.components",
            "yaml.scanner",
            "yaml.parser",
            "yaml.composer",
            "yaml.constructor",
        ),
        lambda: (RECIPE, RECIPE + b"train: {steps: 5, learning_rate: 3e-4}\n###\nseed=1\nhead.kind=crf"),
        read_recipe,
        (*YAML, *KEYS),
    ),
    "ablation": Reader(
        ("hdiff.ablation.specification", "hdiff.recipe", "yaml.representer", "yaml.constructor"),
        lambda: (ABLATION, ABLATION + b"\n###\nseeds=[1]\nmodel.depth=1"),
        read_ablation,
        (*YAML, b"variants", b"set", b"seeds", b"baseline", b"control_of", b"judge", b"train.steps"),
    ),
    "ablation folder": Reader(
        ("hdiff.ablation.folder", "json.decoder", "json.scanner"),
        lambda: (ABLATION_FOLDER,),
        read_ablation_folder,
        (*JSON, b'"../x"', b'"variants"', b'"seeds"'),
    ),
    "checkpoint": Reader(
        ("hdiff.runs.checkpoint", "safetensors.torch", "json.decoder", "json.scanner"),
        lambda: (b"\0" + TENSORS, b'\1{"step": 1}', b'\2{\n "step": 1,\n "sha256": {}\n}'),
        read_checkpoint,
        (*JSON, *SCHEMA, b'"../state.json"', b'"step"'),
    ),
    "metrics log": Reader(
        ("hdiff.training.metrics", "json.decoder", "json.scanner"),
        lambda: (b'{"step": 1, "loss": 2.5}\n{"step": 2}\n{"st',),
        read_metrics,
        (*JSON, b'"step"'),
    ),
    "data set": Reader(
        ("hdiff.data.prepare.output_folder", "hdiff.data.prepared", "json.decoder", "json.scanner"),
        manifest,
        read_manifest,
        (*JSON, b'"sha256"', b'"../../etc/passwd"', b'"tokenizer"', b'"levels"', b'"format_version"'),
    ),
    "shared model": Reader(
        (
            "hdiff.sharing.folder",
            "hdiff.sharing.description",
            "hdiff.sharing.pretrained",
            "hdiff.components",
            "hdiff.factory",
            "json.decoder",
            "json.scanner",
        ),
        model_seeds,
        read_model,
        (*JSON, *SCHEMA, *CONFIG),
    ),
    "infill pattern": Reader(
        ("hdiff.control.pattern", "hdiff.control.literal", "re"),
        lambda: (b"the dog [2-3] in [1] .", b"[[ [4]"),
        read_pattern,
        (b"[", b"]", b"[[", b"-", b"[2-1]", b"[0]", b"[99999999999999999999]", b"<eos>", b"\xd9\xa3"),
    ),
    "skeleton": Reader(
        ("hdiff.control.skeleton",),
        lambda: (b"NP:2 VP *:5 PP:3", b"a:b:3"),
        read_skeleton,
        (b":", b" ", b"*", b":0", b":-1", b":99999999999999999999", b"\xc2\xb2", b"\xd9\xa3"),
    ),
}


def memory_folder() -> str | None:
    """A folder that lies in memory, None where there is none: inputs are written and read back at once."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
