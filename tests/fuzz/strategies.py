"""Strategies: near-valid inputs of each format, and mutations of valid ones, for Hypothesis."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st
from readers import READERS

_HOSTILE = (
    b"\0", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\x85",
    b"\x1c",
    b"9" * 5000, b"-1", b"1e999", b"NaN", b"A" * 3000, b"[" * 2000, b"{" * 2000, b"(" * 2000, b" " * 2000,
    b"\xcc\x81" * 50, b"\xe2\x80\xae", b"<script>", b"%s%n", b"../../etc/passwd", b"\t" * 20,
    b"\xf0\x9f\x92\xa9",
)  # fmt: skip

_WORDS = st.sampled_from(
    ["a", "The", "dog", "''", "``", "(", ")", "-LRB-", "-NONE-", "*", "\ud800", "é", " ", ""]
)
_NUMBERS = st.one_of(
    st.integers(-3, 5), st.integers(), st.floats(), st.sampled_from([10**9, 10**12, 10**400, 2**63, -(2**64)])
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, st.text(max_size=8), _WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


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


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def _lines(line: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    end = st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n", b"\r"])
    return st.lists(st.tuples(line, end).map(b"".join), max_size=8).map(b"".join)


def _txt() -> st.SearchStrategy[bytes]:
    return _lines(
        st.one_of(st.text(max_size=20).map(_encoded), st.just(b"<|endoftext|>"), st.binary(max_size=5))
    )


def _jsonl() -> st.SearchStrategy[bytes]:
    row = st.one_of(st.fixed_dictionaries({"text": _JSON}), _JSON).map(_dumped)
    return _lines(st.one_of(row, st.binary(max_size=5)))


def _json_array() -> st.SearchStrategy[bytes]:
    row = st.one_of(st.fixed_dictionaries({"text": _JSON}), _JSON)
    return st.one_of(st.lists(row, max_size=4), row).map(_dumped)


def _csv() -> st.SearchStrategy[bytes]:
    cell = st.one_of(
        st.text(max_size=6).map(_encoded), st.sampled_from([b'"', b'""', b'"a\nb"', b"text", b""])
    )
    row = st.lists(cell, max_size=4).map(b",".join)
    return st.tuples(st.sampled_from([b"text,n\n", b"n\n", b"text\n", b""]), _lines(row)).map(b"".join)


def _brackets() -> st.SearchStrategy[bytes]:
    label = st.sampled_from(["S", "NP-SBJ-1", "", "TOP", "ROOT", "VP|x", "-LRB-", "-NONE-", "\ufeff", "="])
    leaf = st.tuples(label, st.one_of(_WORDS, st.sampled_from(["-U0020-", "-UD800-", "-U110000-", "\\/"])))
    tree = st.recursive(
        leaf.map(lambda pair: f"({pair[0]} {pair[1]})"),
        lambda inner: st.tuples(label, st.lists(inner, max_size=4)).map(
            lambda pair: f"({pair[0]} {' '.join(pair[1])})"
        ),
        max_leaves=8,
    )
    return st.lists(tree.map(_encoded), max_size=4).map(b"\n".join)


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
            _WORDS,
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
    return st.lists(st.tuples(comment, one, st.just("\n\n")).map("".join).map(_encoded), max_size=3).map(
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
        _JSON.map(json.dumps),
        st.dictionaries(key, scalar, max_size=3).map(
            lambda items: "{" + ", ".join(f"{name}: {text}" for name, text in items.items()) + "}"
        ),
    )
    entries = st.lists(st.tuples(key, value).map(": ".join), max_size=4).map("\n".join)
    override = st.tuples(st.sampled_from([*keys, "", ".", "a..b", "data.path", "train.x"]), value).map(
        "=".join
    )
    rest = st.lists(override, max_size=2).map(lambda lines: "\n###\n" + "\n".join(lines) if lines else "")
    return st.tuples(st.sampled_from(list(tail)), entries, rest).map("".join).map(_encoded)


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


def _object(**valid: object) -> st.SearchStrategy[bytes]:
    """A valid object with some of its values exchanged or left out."""

    def change(changes: dict[str, object]) -> bytes:
        return _dumped({key: value for key, value in {**valid, **changes}.items() if value != "-"})

    keys = st.sampled_from([*valid, "x"])
    return st.dictionaries(keys, st.one_of(_JSON, st.just("-")), max_size=2).map(change)


def _changed(name: str) -> st.SearchStrategy[bytes]:
    """The JSON object of a reader's first seed with a value anywhere in it exchanged."""
    prefix = {"shared model": 1}.get(name, 0)
    seed = READERS[name].seeds()[0]
    whole = json.loads(seed[prefix:])
    places = list(_places(whole))

    def change(changes: list[tuple[tuple[object, ...], object]]) -> bytes:
        value = json.loads(seed[prefix:])
        for place, new in changes:
            _put(value, place, new)
        return seed[:prefix] + _dumped(value)

    return st.lists(st.tuples(st.sampled_from(places), _JSON), min_size=1, max_size=3).map(change)


def _places(value: object, before: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: list[tuple[object, ...]] = []
    for key, inner in items:
        found += [(*before, key), *_places(inner, (*before, key))]
    return found


def _put(value: object, place: Sequence[object], new: object) -> None:
    for key in place[:-1]:
        try:
            value = value[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return  # an earlier change has taken it away
    if isinstance(value, dict):
        value[place[-1]] = new


def _tensors() -> st.SearchStrategy[bytes]:
    entry = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(
                ["F32", "F16", "BF16", "I64", "BOOL", "C64", "F8_E4M3", "F4", "U16", "x", None]
            ),
            "shape": st.lists(
                st.one_of(st.integers(-1, 4), st.sampled_from([2**32, 2**62, 2**64, None])), max_size=3
            ),
            "data_offsets": st.lists(st.integers(-1, 64), min_size=1, max_size=3),
        }
    )
    header = st.dictionaries(
        st.sampled_from(["w", "", "__metadata__", "é"]), st.one_of(entry, _JSON), max_size=3
    )

    def build(parts: tuple[object, int, bytes]) -> bytes:
        text = _dumped(parts[0])
        return max(0, len(text) + parts[1]).to_bytes(8, "little") + text + parts[2]

    shift = st.sampled_from([0, 0, 0, 0, -1, 1, 2**40])
    return st.tuples(header, shift, st.sampled_from([b"", bytes(8), bytes(64)])).map(build)


def _checkpoint() -> st.SearchStrategy[bytes]:
    state = _object(step=1, tokens_seen=5).map(lambda data: b"\1" + data)
    names = st.dictionaries(
        st.sampled_from(["state.json", "..", "", "/etc/passwd", "\0", "m.safetensors"]), _JSON
    )
    manifest = st.tuples(_JSON, st.one_of(names, _JSON)).map(
        lambda pair: b"\2" + json.dumps({"step": pair[0], "sha256": pair[1]}, indent=1).encode()
    )
    return st.one_of(_tensors().map(lambda data: b"\0" + data), state, manifest)


def _shared_model() -> st.SearchStrategy[bytes]:
    return st.one_of(
        _changed("shared model"), _changed("shared model"), _tensors().map(lambda data: b"\1" + data)
    )


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


def _parquet() -> st.SearchStrategy[bytes]:
    import io

    import pyarrow
    from pyarrow import parquet

    def build(parts: tuple[list[object], str, str]) -> bytes:
        values, column, compression = parts
        sink = io.BytesIO()
        try:
            table = pyarrow.table({column: values})
            parquet.write_table(table, sink, compression=compression)
        except (pyarrow.ArrowException, UnicodeError, OverflowError, TypeError):
            return b"PAR1"
        return sink.getvalue()

    kinds = st.one_of(
        st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=4),
        st.lists(st.binary(max_size=5), max_size=4),
        st.lists(st.datetimes(), max_size=3),
        st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=3),
        st.lists(st.dictionaries(st.just("a"), st.integers(0, 9)), max_size=3),
    )
    return st.tuples(
        kinds, st.sampled_from(["text", "other", ""]), st.sampled_from(["NONE", "SNAPPY", "ZSTD"])
    ).map(build)


_GRAMMARS = {
    "txt": _txt,
    "json": _json_array,
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
    "brackets": _brackets,
    "conllu": _conllu,
    "recipe": _recipe,
    "ablation": _ablation,
    "ablation folder": lambda: _changed("ablation folder"),
    "checkpoint": _checkpoint,
    "metrics log": lambda: _lines(st.one_of(_object(step=1, loss=2.0), _JSON.map(_dumped))),
    "data set": lambda: _changed("data set"),
    "shared model": _shared_model,
    "infill pattern": _pattern,
    "skeleton": _skeleton,
}
