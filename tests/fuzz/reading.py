"""One call on bytes for each function that reads what a user or a stranger made."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from seeds import RECIPE, TENSORS, model_files, small_tokenizer, tokenizer_json


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read_text_file(suffix: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        from hdiff.data.sources.text_files import read_file

        for row in read_file(_file(folder, f"input{suffix}", data), text_column="text"):
            assert isinstance(row.text, str)
            assert row.reason is None or ";" in row.reason

    return read


def read_brackets(data: bytes, folder: Path) -> None:
    from hdiff.parsers.treebank import gold_sentences

    for tree in gold_sentences(_file(folder, "input.ptb", data)):
        assert tree.words, "a sentence without words"


def read_conllu(data: bytes, folder: Path) -> None:
    from hdiff.parsers.treebank import TreebankParser, dependency_sentences

    path = _file(folder, "input.conllu", data)
    list(TreebankParser(str(path)).texts())
    list(dependency_sentences(path))


def read_recipe(data: bytes, folder: Path) -> None:
    """The part after a line `###` holds overrides, one a line."""
    from hdiff.recipe import load_recipe, to_yaml

    body, _, rest = data.partition(b"\n###\n")
    overrides = rest.decode("utf-8", "surrogateescape").split("\n") if rest else []
    recipe = load_recipe(_file(folder, "input.yaml", body), overrides)
    assert load_recipe(_file(folder, "again.yaml", to_yaml(recipe).encode())) is not None


def read_ablation(data: bytes, folder: Path) -> None:
    from hdiff.ablation.specification import load_ablation

    body, _, rest = data.partition(b"\n###\n")
    overrides = rest.decode("utf-8", "surrogateescape").split("\n") if rest else []
    if not (folder / "base.yaml").exists():
        _file(folder, "base.yaml", RECIPE)
        _file(folder, "judge.yaml", RECIPE + b"model: {kind: autoregressive}\n")
    ablation = load_ablation(_file(folder, "input.yaml", body), overrides)
    for variant in ablation.variants:
        json.dumps(ablation.changes(variant))


def read_ablation_folder(data: bytes, folder: Path) -> None:
    from hdiff.ablation.folder import find_ablation

    here = folder / "runs"
    if not here.exists():
        (here / "recipes").mkdir(parents=True)
        for name in ("a-0", "b-0"):
            _file(here / "recipes", f"{name}.yaml", RECIPE)
    _file(here, "ablation.json", data)
    _ = find_ablation(here).all_runs


def read_checkpoint(data: bytes, folder: Path) -> None:
    """The first byte says which file the rest is; the manifest agrees with it as an attacker would see to."""
    from hdiff.runs.checkpoint import load_checkpoint

    here = folder / "checkpoints" / "step-00000001"
    here.mkdir(parents=True, exist_ok=True)
    kind, rest = (data[0] % 3 if data else 0), data[1:]
    files = {"model.safetensors": TENSORS, "state.json": b'{"step": 1}'}
    if kind < 2:
        files[("model.safetensors", "state.json")[kind]] = rest
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = json.dumps({"step": 1, "sha256": hashes}, indent=1).encode()
    files["manifest.json"] = rest if kind == 2 else manifest
    for name, content in files.items():
        _file(here, name, content)
    load_checkpoint(folder / "checkpoints")


def read_metrics(data: bytes, folder: Path) -> None:
    from hdiff.runs.metrics_file import read_metrics

    for line in read_metrics(_file(folder, "metrics.jsonl", data)):
        assert line["step"] <= 10**18 or line["step"] > 10**18


def read_manifest(data: bytes, folder: Path) -> None:
    from hdiff.data.prepare.output_folder import OutputFolder
    from hdiff.data.prepared import PreparedData

    (folder / "data").mkdir(exist_ok=True)
    _file(folder / "data", "manifest.json", data)
    if not (folder / "data" / "tokenizer.json").exists():
        _file(folder / "data", "tokenizer.json", tokenizer_json())
    OutputFolder(folder / "data").manifest()
    prepared = PreparedData.load(folder / "data")
    _ = prepared.fingerprint
    prepared.verify()


def read_model(data: bytes, folder: Path) -> None:
    """The first byte says which file of the model the rest is; hashes agree with it."""
    from hdiff.sharing import PretrainedModel

    _remember_plugins()
    here = folder / "model"
    kind, rest = (data[0] % 3 if data else 0), data[1:]
    whole = model_files()
    files = {**whole, ("config.json", "model.safetensors", "tokenizer.json")[kind]: rest}
    if kind:
        config = json.loads(whole["config.json"])
        config["sha256"] = {
            name: hashlib.sha256(files[name]).hexdigest() for name in ("model.safetensors", "tokenizer.json")
        }
        files["config.json"] = json.dumps(config).encode()
    here.mkdir(exist_ok=True)
    for name, content in files.items():
        _file(here, name, content)
    PretrainedModel.from_pretrained(here)


def read_pattern(data: bytes, folder: Path) -> None:
    from hdiff.control.pattern import Pattern

    pattern = Pattern.parse(data.decode("utf-8", "surrogateescape"), small_tokenizer())
    assert pattern.fewest_hidden >= 1
    assert pattern.longest >= pattern.fewest_hidden
    if pattern.longest < 1000:
        for lengths in pattern.lengths():
            pattern.row(lengths, mask_id=64, eos_id=0)


def read_skeleton(data: bytes, folder: Path) -> None:
    from hdiff.control.skeleton import Skeleton

    text = data.decode("utf-8", "surrogateescape")
    assert len(Skeleton.parse(text)) >= 1


@functools.cache
def _remember_plugins() -> None:
    """Looks only once which packages are installed: that takes far longer than the rest."""
    import hdiff.plugins

    hdiff.plugins.entry_points = functools.cache(hdiff.plugins.entry_points)
