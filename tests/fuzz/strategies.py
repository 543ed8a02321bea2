"""Strategies: near-valid inputs of each format, and mutations of valid ones, for Hypothesis."""

from __future__ import annotations

import json
from collections.abc import Sequence

from grammars import JSON, WORDS, changed, checkpoint, dumped, encoded, lines, object, parquet, shared_model
from hypothesis import strategies as st
from readers import READERS

_HOSTILE = (
    b"\0", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\x85",
    b"\x1c",
    b"9" * 5000, b"-1", b"1e999", b"NaN", b"A" * 3000, b"[" * 2000, b"{" * 2000, b"(" * 2000, b" " * 2000,
    b"\xcc\x81" * 50, b"\xe2\x80\xae", b"<script>", b"%s%n", b"../../etc/passwd", b"\t" * 20,
    b"\xf0\x9f\x92\xa9",
)  # fmt: skip


def inputs(name: str) -> st.SearchStrategy[bytes]:
    """Inputs for a reader: half follow its grammar, half are mutated seeds.

    Args:
        name: A name in `READERS`.

    Returns:
        The strategy.
    """
    reader = READERS[name]
    return st.one_of(_GRAMMARS[name](), mutated(reader.seeds(), (*reader.tokens, *_HOSTILE)))


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """A seed with up to four changes: pieces removed, repeated, put in, overwritten, cut off.

    Args:
        seeds: Valid inputs.
        tokens: Pieces to put in.

    Returns:
        The changed input.
    """
    data = draw(st.sampled_from(list(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(["put", "put", "replace", "remove", "repeat", "cut", "byte"]))
        if kind == "put":
            data = data[:start] + draw(st.sampled_from(list(tokens))) + data[start:]
        elif kind == "replace":
            data = data[:start] + draw(st.sampled_from(list(tokens))) + data[end:]
        elif kind == "remove":
            data = data[:start] + data[end:]
        elif kind == "repeat":
            data = data[:start] + data[start:end] * draw(st.integers(2, 30)) + data[end:]
        elif kind == "cut":
            data = data[:start]
        else:
            data = data[:start] + draw(st.binary(min_size=1, max_size=4)) + data[end:]
    return data


def _txt() -> st.SearchStrategy[bytes]:
    return lines(
        st.one_of(st.text(max_size=20).map(encoded), st.just(b"<|endoftext|>"), st.binary(max_size=5))
    )


def _jsonl() -> st.SearchStrategy[bytes]:
    row = st.one_of(st.fixed_dictionaries({"text": JSON}), JSON).map(dumped)
    return lines(st.one_of(row, st.binary(max_size=5)))


def _json_array() -> st.SearchStrategy[bytes]:
    row = st.one_of(st.fixed_dictionaries({"text": JSON}), JSON)
    return st.one_of(st.lists(row, max_size=4), row).map(dumped)


def _csv() -> st.SearchStrategy[bytes]:
    cell = st.one_of(
        st.text(max_size=6).map(encoded), st.sampled_from([b'"', b'""', b'"a\nb"', b"text", b""])
    )
    row = st.lists(cell, max_size=4).map(b",".join)
    return st.tuples(st.sampled_from([b"text,n\n", b"n\n", b"text\n", b""]), lines(row)).map(b"".join)


def _brackets() -> st.SearchStrategy[bytes]:
    label = st.sampled_from(["S", "NP-SBJ-1", "", "TOP", "ROOT", "VP|x", "-LRB-", "-NONE-", "\ufeff", "="])
    leaf = st.tuples(label, st.one_of(WORDS, st.sampled_from(["-U0020-", "-UD800-", "-U110000-", "\\/"])))
    tree = st.recursive(
        leaf.map(lambda pair: f"({pair[0]} {pair[1]})"),
        lambda inner: st.tuples(label, st.lists(inner, max_size=4)).map(
            lambda pair: f"({pair[0]} {' '.join(pair[1])})"
        ),
        max_leaves=8,
    )
    return st.lists(tree.map(encoded), max_size=4).map(b"\n".join)


def _conllu() -> st.SearchStrategy[bytes]:
    ids = [
        "1",
        "2",
        "3",
        "4",
        "1-2",
        "2-3",
        "3-2",
        "0",
        "0-0",
        "-1",
        "1.1",
        "²",
        "9" * 30,
        "",
        "2-9999999999",
    ]
    heads = ["0", "1", "2", "3", "4", "_", "-1", "9" * 30, "²"]
    relations = ["root", "nsubj", "obj", "case", "conj", "aux", "punct", "x:y", "", "nmod", "advcl", "cop"]
    tags = ["NOUN", "VERB", "ADP", "AUX", "PUNCT", "X", "", "?", "DET"]
    misc = ["_", "SpaceAfter=No", "", "|||"]

    def rows(number: int) -> st.SearchStrategy[str]:
        columns = [
            st.one_of(st.just(str(number)), st.just(str(number)), st.sampled_from(ids)),
            WORDS,
            st.just("_"),
            st.sampled_from(tags),
            st.just("_"),
            st.just("_"),
            st.sampled_from(heads),
            st.sampled_from(relations),
            st.just("_"),
            st.sampled_from(misc),
        ]
        return st.tuples(*columns).map("\t".join)

    def sentence(length: int) -> st.SearchStrategy[str]:
        return st.tuples(*(rows(number) for number in range(1, length + 1))).map("\n".join)

    one = st.integers(1, 5).flatmap(sentence)
    comment = st.sampled_from(["", "", "# newdoc id = x\n", "# newdoc\n", "#\n", "\ufeff"])
    return st.lists(st.tuples(comment, one, st.just("\n\n")).map("".join).map(encoded), max_size=3).map(
        b"".join
    )


def _yaml_of(keys: Sequence[str], tail: Sequence[str]) -> st.SearchStrategy[bytes]:
    key = st.one_of(
        st.sampled_from(list(keys)), st.text(max_size=4).map(json.dumps), st.sampled_from(["<<", "? x", "1"])
    )
    scalar = st.sampled_from(
        ["1", "a", "~", "3e-4", ".inf", ".nan", "2020-01-01", "2020-13-45",
         "0x_", "1:99", "*a", "&a [1]",
         "!!int x", "!!float y", "!!timestamp z", "!!bool no?", "!!binary é", '"\\ud800"', '"\\U00110000"',
         "0b2",
         "!!python/object/apply:os.system [ls]", "&a {x: *a}", "[[[[[[]]]]]]", "{? [a]: b}", "=",
         "!!set {a, b}",
         "''", "-", "9" * 5000]
    )  # fmt: skip
    value = st.one_of(
        scalar,
        JSON.map(json.dumps),
        st.dictionaries(key, scalar, max_size=3).map(
            lambda items: "{" + ", ".join(f"{name}: {text}" for name, text in items.items()) + "}"
        ),
    )
    entries = st.lists(st.tuples(key, value).map(": ".join), max_size=4).map("\n".join)
    override = st.tuples(st.sampled_from([*keys, "", ".", "a..b", "data.path", "train.x"]), value).map(
        "=".join
    )
    rest = st.lists(override, max_size=2).map(lambda lines: "\n###\n" + "\n".join(lines) if lines else "")
    return st.tuples(st.sampled_from(list(tail)), entries, rest).map("".join).map(encoded)


def _recipe() -> st.SearchStrategy[bytes]:
    keys = [
        "name",
        "output",
        "seed",
        "resume",
        "data",
        "model",
        "head",
        "planner",
        "corruption",
        "train",
        "evaluation",
    ]
    return _yaml_of(keys, ["name: a\noutput: o\ndata: {path: d}\n", "name: a\n", ""])


def _ablation() -> st.SearchStrategy[bytes]:
    keys = [
        "name",
        "base",
        "output",
        "seeds",
        "set",
        "judge",
        "baseline",
        "variants",
        "control_of",
        "train.steps",
    ]
    whole = "name: c\nbase: base.yaml\noutput: o\nseeds: [0]\nbaseline: a\n"
    whole += "variants: {a: {}, b: {model.width: 8}}\n"
    return _yaml_of(keys, [whole, whole.replace("seeds: [0]\n", ""), whole.replace("variants", "x"), ""])


def _pattern() -> st.SearchStrategy[bytes]:
    pieces = [
        "[",
        "]",
        "[[",
        "[1]",
        "[2-3]",
        "[3-2]",
        "[0]",
        "-",
        " ",
        "the",
        "dog",
        "<eos>",
        "\ud800",
        "٣",
        "[٣]",
        "²",
    ]
    return st.lists(
        st.sampled_from([*pieces, "[1-99999999]", "\n", "9" * 5000, "[" + "9" * 5000 + "]"]), max_size=9
    ).map(lambda found: "".join(found).encode("utf-8", "surrogatepass"))


def _skeleton() -> st.SearchStrategy[bytes]:
    pieces = [
        "NP",
        ":",
        "2",
        "0",
        "-1",
        "*",
        " ",
        "²",
        "٣",
        "\u2028",
        "VP:3",
        "9" * 5000,
        "\ud800",
        "::",
        "a:1",
    ]
    return st.lists(st.sampled_from(pieces), max_size=9).map(
        lambda found: "".join(found).encode("utf-8", "surrogatepass")
    )


_GRAMMARS = {
    "txt": _txt,
    "json": _json_array,
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": parquet,
    "brackets": _brackets,
    "conllu": _conllu,
    "recipe": _recipe,
    "ablation": _ablation,
    "ablation folder": lambda: changed("ablation folder"),
    "checkpoint": checkpoint,
    "metrics log": lambda: lines(st.one_of(object(step=1, loss=2.0), JSON.map(dumped))),
    "data set": lambda: changed("data set"),
    "shared model": shared_model,
    "infill pattern": _pattern,
    "skeleton": _skeleton,
}
