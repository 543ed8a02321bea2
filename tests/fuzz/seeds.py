"""Valid inputs of each reader, and pieces of its format."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path


@functools.cache
def small_tokenizer():  # type: ignore[no-untyped-def]
    from hdiff.data.tokenizer import Tokenizer

    return Tokenizer.train(["the dog sleeps in the sun [ ] 1 2 3 -"], "words")


@functools.cache
def tokenizer_json() -> bytes:
    """A small tokenizer."""
    return str(small_tokenizer().backend.to_str()).encode()


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
    tokenizer = small_tokenizer()
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
def parquet() -> tuple[bytes, ...]:
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


def manifest() -> tuple[bytes, ...]:
    from hdiff.data.tokenizer import Tokenizer

    digest = Tokenizer.of(small_tokenizer().backend).sha256
    manifest = {
        "format_version": 2,
        "tokenizer": {"sha256": digest, "vocab_size": 12},
        "levels": ["phrase", "word"],
        "labels": ["", "NP"],
        "counts": {"train": {"documents": 1}},
        "sha256": {"tokenizer.json": hashlib.sha256(tokenizer_json()).hexdigest()},
    }
    return (json.dumps(manifest).encode(),)


def model_seeds() -> tuple[bytes, ...]:
    files = model_files()
    return tuple(
        bytes([kind]) + files[name]
        for kind, name in enumerate(("config.json", "model.safetensors", "tokenizer.json"))
    )


RECIPE = b"name: a\noutput: o\ndata: {path: d}\n"
TENSORS = (
    (72).to_bytes(8, "little")
    + b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(72)
    + bytes(8)
)
CONLLU = (
    b"# newdoc id = one\n1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_\n2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\t_\n"
    b"2\tca\tcan\tAUX\tMD\t_\t0\troot\t_\t_\n3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_\n"
    b"3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_\n4\train\train\tNOUN\tNN\t_\t2\tobl\t_\tSpaceAfter=No\n\n"
    b"1\tGo\tgo\tVERB\tVB\t_\t0\troot\t_\t_\n\n"
)
ABLATION = (
    b"name: c\nbase: base.yaml\noutput: o\nseeds: [0]\nset: {train.steps: 4}\njudge: {recipe: judge.yaml}\n"
    b"baseline: a\nvariants: {a: {}, b: {model.width: 8}}\ncontrol_of: {b: a}\n"
)
ABLATION_FOLDER = (
    b'{"name": "c", "seeds": [0], "baseline": "a", "variants": {"a": {}, "b": {}}, '
    b'"differences": [{"variant": "b", "reference": "a"}]}'
)
YAML = (
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!python/object:os.system ",
    b"!!int ",
    b"!!float ",
    b"!!timestamp ",
    b"? ",
)
YAML += (b"!!bool ", b"!!binary ", b"!!set ", b"2020-01-01", b".inf", b".nan", b"1e400", b"0x", b"1:1:1")
YAML += (
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


KEYS = (
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
JSON = (
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
TREE = (
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
ROWS = (
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
SCHEMA = (
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
CONFIG = (b'"kind": "os:system"', b'"trunk_config"', b"1000000000", b'"num_layers"', b'"planner"', b'"crf"')
CONFIG += (b'"mixture"', b'"tree_cascade"', b'"soft_masking"', b'"gaussian"', b'"schedule"', b"-1", b"0.5")


HOSTILE_JSON = b'{"text": "\\ud800", "n": ' + b"9" * 50 + b"}\n"
