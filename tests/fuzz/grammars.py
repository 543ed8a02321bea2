"""Near-valid values, objects of JSON, and files of bytes, for Hypothesis."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st
from readers import READERS

WORDS = st.sampled_from(
    ["a", "The", "dog", "''", "``", "(", ")", "-LRB-", "-NONE-", "*", "\ud800", "é", " ", ""]
)
_NUMBERS = st.one_of(
    st.integers(-3, 5), st.integers(), st.floats(), st.sampled_from([10**9, 10**12, 10**400, 2**63, -(2**64)])
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, st.text(max_size=8), WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def lines(line: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    end = st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n", b"\r"])
    return st.lists(st.tuples(line, end).map(b"".join), max_size=8).map(b"".join)


def object(**valid: object) -> st.SearchStrategy[bytes]:
    """A valid object with some of its values exchanged or left out."""

    def change(changes: dict[str, object]) -> bytes:
        return dumped({key: value for key, value in {**valid, **changes}.items() if value != "-"})

    keys = st.sampled_from([*valid, "x"])
    return st.dictionaries(keys, st.one_of(JSON, st.just("-")), max_size=2).map(change)


def changed(name: str) -> st.SearchStrategy[bytes]:
    """The JSON object of a reader's first seed with a value anywhere in it exchanged."""
    prefix = {"shared model": 1}.get(name, 0)
    seed = READERS[name].seeds()[0]
    whole = json.loads(seed[prefix:])
    places = list(_places(whole))

    def change(changes: list[tuple[tuple[object, ...], object]]) -> bytes:
        value = json.loads(seed[prefix:])
        for place, new in changes:
            _put(value, place, new)
        return seed[:prefix] + dumped(value)

    return st.lists(st.tuples(st.sampled_from(places), JSON), min_size=1, max_size=3).map(change)


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


def tensors() -> st.SearchStrategy[bytes]:
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
        st.sampled_from(["w", "", "__metadata__", "é"]), st.one_of(entry, JSON), max_size=3
    )

    def build(parts: tuple[object, int, bytes]) -> bytes:
        text = dumped(parts[0])
        return max(0, len(text) + parts[1]).to_bytes(8, "little") + text + parts[2]

    shift = st.sampled_from([0, 0, 0, 0, -1, 1, 2**40])
    return st.tuples(header, shift, st.sampled_from([b"", bytes(8), bytes(64)])).map(build)


def checkpoint() -> st.SearchStrategy[bytes]:
    state = object(step=1, tokens_seen=5).map(lambda data: b"\1" + data)
    names = st.dictionaries(
        st.sampled_from(["state.json", "..", "", "/etc/passwd", "\0", "m.safetensors"]), JSON
    )
    manifest = st.tuples(JSON, st.one_of(names, JSON)).map(
        lambda pair: b"\2" + json.dumps({"step": pair[0], "sha256": pair[1]}, indent=1).encode()
    )
    return st.one_of(tensors().map(lambda data: b"\0" + data), state, manifest)


def shared_model() -> st.SearchStrategy[bytes]:
    return st.one_of(
        changed("shared model"), changed("shared model"), tensors().map(lambda data: b"\1" + data)
    )


def parquet() -> st.SearchStrategy[bytes]:
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
