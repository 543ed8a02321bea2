"""Readers: every function that reads what a user or a stranger made, as one call on bytes.

A call returns if the input is accepted, raises `UserError` if it is refused as documented; anything else is
a finding. Files lie in a folder in memory where the machine has one, and nothing is synced.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


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


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _read_text_file(suffix: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        from hdiff.data.sources.text_files import read_file

        for row in read_file(_file(folder, f"input{suffix}", data), text_column="text"):
            assert isinstance(row.text, str)
            assert row.reason is None or ";" in row.reason

    return read


def _read_brackets(data: bytes, folder: Path) -> None:
    from hdiff.parsers.brackets import from_brackets, to_brackets
    from hdiff.parsers.treebank import gold_sentences

    for tree in gold_sentences(_file(folder, "input.ptb", data)):
        again = from_brackets(to_brackets(tree), tree.text)
        assert len(again.spans) == len(tree.spans), "a tree that was read is not written as it is"


def _read_conllu(data: bytes, folder: Path) -> None:
    from hdiff.parsers.treebank import TreebankParser, dependency_sentences

    path = _file(folder, "input.conllu", data)
    list(TreebankParser(str(path)).texts())
    list(dependency_sentences(path))


def _read_recipe(data: bytes, folder: Path) -> None:
    """The part after a line `###` holds overrides, one a line."""
    from hdiff.recipe import load_recipe, to_yaml

    body, _, rest = data.partition(b"\n###\n")
    overrides = rest.decode("utf-8", "surrogateescape").split("\n") if rest else []
    recipe = load_recipe(_file(folder, "input.yaml", body), overrides)
    assert load_recipe(_file(folder, "again.yaml", to_yaml(recipe).encode())) is not None


def _read_ablation(data: bytes, folder: Path) -> None:
    from hdiff.ablation.specification import load_ablation

    body, _, rest = data.partition(b"\n###\n")
    overrides = rest.decode("utf-8", "surrogateescape").split("\n") if rest else []
    if not (folder / "base.yaml").exists():
        _file(folder, "base.yaml", _RECIPE)
        _file(folder, "judge.yaml", _RECIPE + b"model: {kind: autoregressive}\n")
    ablation = load_ablation(_file(folder, "input.yaml", body), overrides)
    for variant in ablation.variants:
        json.dumps(ablation.changes(variant))


def _read_ablation_folder(data: bytes, folder: Path) -> None:
    from hdiff.ablation.folder import find_ablation

    here = folder / "runs"
    if not here.exists():
        (here / "recipes").mkdir(parents=True)
        for name in ("a-0", "b-0"):
            _file(here / "recipes", f"{name}.yaml", _RECIPE)
    _file(here, "ablation.json", data)
    _ = find_ablation(here).all_runs


def _read_checkpoint(data: bytes, folder: Path) -> None:
    """The first byte says which file the rest is; the manifest agrees with it as an attacker would see to."""
    from hdiff.runs.checkpoint import load_checkpoint

    here = folder / "checkpoints" / "step-00000001"
    here.mkdir(parents=True, exist_ok=True)
    kind, rest = (data[0] % 3 if data else 0), data[1:]
    files = {"model.safetensors": _TENSORS, "state.json": b'{"step": 1}'}
    if kind < 2:
        files[("model.safetensors", "state.json")[kind]] = rest
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = json.dumps({"step": 1, "sha256": hashes}, indent=1).encode()
    files["manifest.json"] = rest if kind == 2 else manifest
    for name, content in files.items():
        _file(here, name, content)
    load_checkpoint(folder / "checkpoints")


def _read_metrics(data: bytes, folder: Path) -> None:
    from hdiff.runs.metrics_file import read_metrics

    for line in read_metrics(_file(folder, "metrics.jsonl", data)):
        assert line["step"] <= 10**18 or line["step"] > 10**18


def _read_manifest(data: bytes, folder: Path) -> None:
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


def _read_model(data: bytes, folder: Path) -> None:
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


def _read_pattern(data: bytes, folder: Path) -> None:
    from hdiff.control.pattern import Pattern

    pattern = Pattern.parse(data.decode("utf-8", "surrogateescape"), _tokenizer())
    assert pattern.fewest_hidden >= 1
    assert pattern.longest >= pattern.fewest_hidden
    if pattern.longest < 1000:
        for lengths in pattern.lengths():
            pattern.row(lengths, mask_id=64, eos_id=0)


def _read_skeleton(data: bytes, folder: Path) -> None:
    from hdiff.control.skeleton import Skeleton

    text = data.decode("utf-8", "surrogateescape")
    assert len(Skeleton.parse(text)) >= 1


@functools.cache
def _remember_plugins() -> None:
    """Looks only once which packages are installed: that takes far longer than the rest."""
    import hdiff.plugins

    hdiff.plugins.entry_points = functools.cache(hdiff.plugins.entry_points)


@functools.cache
def _tokenizer():  # type: ignore[no-untyped-def]
    from hdiff.data.tokenizer import Tokenizer

    return Tokenizer.train(["the dog sleeps in the sun [ ] 1 2 3 -"], "words")


@functools.cache
def tokenizer_json() -> bytes:
    """A small tokenizer."""
    return str(_tokenizer().backend.to_str()).encode()


@functools.cache
def model_files() -> dict[str, bytes]:
    """A small shared model."""
    import tempfile

    from hdiff.factory import build_corruption, build_model
    from hdiff.recipe import resolve
    from hdiff.sharing import PretrainedModel
    from hdiff.sharing.description import ModelDescription

    recipe = resolve(
        {
            "name": "m",
            "output": "o",
            "data": {"path": "d"},
            "model": {"width": 8, "depth": 1, "num_heads": 1},
        },
        where="seed",
    )
    tokenizer = _tokenizer()
    corruption = build_corruption(
        recipe.corruption, mask_id=tokenizer.vocab_size, unit_lengths=lambda _: [1.0]
    )
    description = ModelDescription(
        name="m",
        vocab_size=tokenizer.vocab_size,
        sequence_length=16,
        model=recipe.model,
        head=recipe.head,
        corruption=recipe.corruption,
        unit_lengths={"phrase": [0.5, 0.5]},
        labels={"word": {"NOUN": 1}},
    )
    model = build_model(recipe, tokenizer.vocab_size, corruption)
    with tempfile.TemporaryDirectory() as name:
        folder = PretrainedModel(description, tokenizer, model, corruption).save_pretrained(Path(name) / "m")
        return {
            file: (folder / file).read_bytes()
            for file in ("config.json", "model.safetensors", "tokenizer.json")
        }


@functools.cache
def _parquet() -> tuple[bytes, ...]:
    import io

    import pyarrow
    from pyarrow import parquet

    files = []
    for values, compression in (
        (["one", "two", None], "NONE"),
        (["a" * 50, "b"], "SNAPPY"),
        ([1, 2], "NONE"),
    ):
        sink = io.BytesIO()
        table = pyarrow.table({"text": values, "other": list(range(len(values)))})
        parquet.write_table(table, sink, compression=compression)
        files.append(sink.getvalue())
    return tuple(files)


def _manifest() -> tuple[bytes, ...]:
    from hdiff.data.tokenizer import Tokenizer

    digest = Tokenizer.of(_tokenizer().backend).sha256
    manifest = {
        "format_version": 2,
        "tokenizer": {"sha256": digest, "vocab_size": 12},
        "levels": ["phrase", "word"],
        "labels": ["", "NP"],
        "counts": {"train": {"documents": 1}},
        "sha256": {"tokenizer.json": hashlib.sha256(tokenizer_json()).hexdigest()},
    }
    return (json.dumps(manifest).encode(),)


def _model_seeds() -> tuple[bytes, ...]:
    files = model_files()
    return tuple(
        bytes([kind]) + files[name]
        for kind, name in enumerate(("config.json", "model.safetensors", "tokenizer.json"))
    )


_RECIPE = b"name: a\noutput: o\ndata: {path: d}\n"
_TENSORS = (
    (72).to_bytes(8, "little")
    + b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(72)
    + bytes(8)
)
_CONLLU = (
    b"# newdoc id = one\n1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_\n2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\t_\n"
    b"2\tca\tcan\tAUX\tMD\t_\t0\troot\t_\t_\n3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_\n"
    b"3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_\n4\train\train\tNOUN\tNN\t_\t2\tobl\t_\tSpaceAfter=No\n\n"
    b"1\tGo\tgo\tVERB\tVB\t_\t0\troot\t_\t_\n\n"
)
_ABLATION = (
    b"name: c\nbase: base.yaml\noutput: o\nseeds: [0]\nset: {train.steps: 4}\njudge: {recipe: judge.yaml}\n"
    b"baseline: a\nvariants: {a: {}, b: {model.width: 8}}\ncontrol_of: {b: a}\n"
)
_ABLATION_FOLDER = (
    b'{"name": "c", "seeds": [0], "baseline": "a", "variants": {"a": {}, "b": {}}, '
    b'"differences": [{"variant": "b", "reference": "a"}]}'
)
_YAML = (
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!python/object:os.system ",
    b"!!int ",
    b"!!float ",
    b"!!timestamp ",
    b"? ",
)
_YAML += (b"!!bool ", b"!!binary ", b"!!set ", b"2020-01-01", b".inf", b".nan", b"1e400", b"0x", b"1:1:1")
_YAML += (
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"- ",
    b"|\n",
    b'"\\ud800"',
    b'"\\U00110000"',
    b"\n###\n",
    b"=1",
    b"~",
)
_KEYS = (
    b"name",
    b"data",
    b"train",
    b"model",
    b"head",
    b"kind",
    b"corruption",
    b"seed",
    b"evaluation",
    b"steps",
)
_JSON = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b'"\\ud800"',
    b"true",
)
_TREE = (
    b"(",
    b")",
    b"(NP ",
    b"-NONE-",
    b"-LRB-",
    b"-U0020-",
    b"-UD800-",
    b"-U110000-",
    b"|phrase",
    b"''",
    b"\\/",
)
_ROWS = (
    b"\t",
    b"\n",
    b"\n\n",
    b"1-2",
    b"3-2",
    b"0",
    b"1.1",
    b"_",
    b"SpaceAfter=No",
    b"# newdoc",
    b"root",
    b"\xc2\xb2",
)
_SCHEMA = (
    b"F64",
    b"I8",
    b"BOOL",
    b"C64",
    b"F8_E4M3",
    b"__metadata__",
    b"[0,0]",
    b"[4611686018427387904]",
    b"shape",
)
_CONFIG = (b'"kind": "os:system"', b'"trunk_config"', b"1000000000", b'"num_layers"', b'"planner"', b'"crf"')
_CONFIG += (b'"mixture"', b'"tree_cascade"', b'"soft_masking"', b'"gaussian"', b'"schedule"', b"-1", b"0.5")
_HOSTILE_JSON = b'{"text": "\\ud800", "n": ' + b"9" * 50 + b"}\n"

READERS: dict[str, Reader] = {
    "txt": Reader(
        ("hdiff.data.sources.text_files",),
        lambda: (b"One.\n\nTwo.\n", b"a\n<|endoftext|>\nb\n", b"\xef\xbb\xbfa\r\nb\r\n"),
        _read_text_file(".txt"),
        (b"<|endoftext|>", b"\r\n", b"\xef\xbb\xbf"),
    ),
    "jsonl": Reader(
        ("hdiff.data.sources.text_files", "json.decoder", "json.scanner"),
        lambda: (b'{"text": "One."}\n{"text": "Two."}\n', _HOSTILE_JSON),
        _read_text_file(".jsonl"),
        (*_JSON, b'"text"'),
    ),
    "csv": Reader(
        ("hdiff.data.sources.text_files", "csv"),
        lambda: (b'text,n\none,1\n"two ""x""\nmore",2\n',),
        _read_text_file(".csv"),
        (b'"', b",", b"text", b"\r", b"\n", b'""'),
    ),
    "json": Reader(
        ("hdiff.data.sources.text_files", "json.decoder", "json.scanner"),
        lambda: (b'[{"text": "One."}, "Two."]\n', _HOSTILE_JSON),
        _read_text_file(".json"),
        (*_JSON, b'"text"', b"["),
    ),
    "parquet": Reader(
        ("hdiff.data.sources.text_files", "hdiff.data.sources.arrow"),
        _parquet,
        _read_text_file(".parquet"),
        (b"PAR1", b"text"),
    ),
    "brackets": Reader(
        ("hdiff.parsers.brackets", "hdiff.parsers.treebank", "hdiff.structure"),
        lambda: (
            b"( (S (NP-SBJ-1 (DT The) (NN dog)) (VP (VBD slept) (-NONE- *)) (. .)))\n",
            b"(-LRB- -LRB-)",
        ),
        _read_brackets,
        _TREE,
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
        lambda: (_CONLLU,),
        _read_conllu,
        _ROWS,
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
        lambda: (_RECIPE, _RECIPE + b"train: {steps: 5, learning_rate: 3e-4}\n###\nseed=1\nhead.kind=crf"),
        _read_recipe,
        (*_YAML, *_KEYS),
    ),
    "ablation": Reader(
        ("hdiff.ablation.specification", "hdiff.recipe", "yaml.representer", "yaml.constructor"),
        lambda: (_ABLATION, _ABLATION + b"\n###\nseeds=[1]\nmodel.depth=1"),
        _read_ablation,
        (*_YAML, b"variants", b"set", b"seeds", b"baseline", b"control_of", b"judge", b"train.steps"),
    ),
    "ablation folder": Reader(
        ("hdiff.ablation.folder", "json.decoder", "json.scanner"),
        lambda: (_ABLATION_FOLDER,),
        _read_ablation_folder,
        (*_JSON, b'"../x"', b'"variants"', b'"seeds"'),
    ),
    "checkpoint": Reader(
        ("hdiff.runs.checkpoint", "safetensors.torch", "json.decoder", "json.scanner"),
        lambda: (b"\0" + _TENSORS, b'\1{"step": 1}', b'\2{\n "step": 1,\n "sha256": {}\n}'),
        _read_checkpoint,
        (*_JSON, *_SCHEMA, b'"../state.json"', b'"step"'),
    ),
    "metrics log": Reader(
        ("hdiff.training.metrics", "json.decoder", "json.scanner"),
        lambda: (b'{"step": 1, "loss": 2.5}\n{"step": 2}\n{"st',),
        _read_metrics,
        (*_JSON, b'"step"'),
    ),
    "data set": Reader(
        ("hdiff.data.prepare.output_folder", "hdiff.data.prepared", "json.decoder", "json.scanner"),
        _manifest,
        _read_manifest,
        (*_JSON, b'"sha256"', b'"../../etc/passwd"', b'"tokenizer"', b'"levels"', b'"format_version"'),
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
        _model_seeds,
        _read_model,
        (*_JSON, *_SCHEMA, *_CONFIG),
    ),
    "infill pattern": Reader(
        ("hdiff.control.pattern", "hdiff.control.literal", "re"),
        lambda: (b"the dog [2-3] in [1] .", b"[[ [4]"),
        _read_pattern,
        (b"[", b"]", b"[[", b"-", b"[2-1]", b"[0]", b"[99999999999999999999]", b"<eos>", b"\xd9\xa3"),
    ),
    "skeleton": Reader(
        ("hdiff.control.skeleton",),
        lambda: (b"NP:2 VP *:5 PP:3", b"a:b:3"),
        _read_skeleton,
        (b":", b" ", b"*", b":0", b":-1", b":99999999999999999999", b"\xc2\xb2", b"\xd9\xa3"),
    ),
}


def memory_folder() -> str | None:
    """A folder that lies in memory, None where there is none: inputs are written and read back at once."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
