"""Files made to exhaust memory, time or the stack, or to confuse a reader, get a sentence, and soon."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hdiff.ablation.folder import find_ablation
from hdiff.ablation.specification import load_ablation
from hdiff.components import build, component_class
from hdiff.control.pattern import Pattern
from hdiff.control.skeleton import Skeleton
from hdiff.corruption import CORRUPTIONS
from hdiff.data.manifest import read_manifest
from hdiff.data.prepare.documents import Documents, read_shard
from hdiff.data.prepared import PreparedData
from hdiff.data.sources.rejected import Row
from hdiff.data.sources.text_files import read_file
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import CheckpointError, DataError, ParserError, RecipeError, UserError
from hdiff.parsers.bracket_words import unescape
from hdiff.parsers.brackets import from_brackets, parse_brackets
from hdiff.parsers.conllu import read_conllu
from hdiff.parsers.treebank import TreebankParser, gold_sentences
from hdiff.recipe import load_recipe
from hdiff.runs.checkpoint import load_checkpoint
from hdiff.runs.metrics_file import read_metrics
from hdiff.schedules import SCHEDULES
from hdiff.strict_yaml import LARGEST_FILE, parse_yaml

MOST_SECONDS = 20.0
MOST_KILOBYTES = 500_000
DEEP = 100_000
MINIMAL = "name: mine\noutput: runs/mine\ndata: {path: data/mine}\n"
ROW = "1\tGo\tgo\tVERB\tVB\t_\t0\troot\t_\t_"


@contextmanager
def soon_and_small() -> Iterator[None]:
    """What is inside takes bounded time and memory; both bounds are far above what is needed."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - began < MOST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content", ["(NP " * DEEP, "(NP " * DEEP + "(NN a)" + ")" * DEEP, "(" * DEEP, ")" * DEEP]
)
def test_brackets_nested_without_end_are_refused(content: str, tmp_path: Path) -> None:
    with (
        soon_and_small(),
        pytest.raises(ParserError, match=r"more than 50,000 brackets are open|without '\('"),
    ):
        list(gold_sentences(written(tmp_path / "deep.ptb", content)))


LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, r"aliases stand for more than 100,000 values"),
        (MINIMAL + "head: &h {kind: *h}\n", r"the alias '\*h' \(line 4\) holds itself"),
        (MINIMAL + "head: {kind: " + "[" * DEEP, "nested deeper than 60 levels"),
        (MINIMAL + "head:\n  " + "- " * DEEP + "a\n", "nested deeper than 60 levels"),
        (MINIMAL + "seed: " + "9" * 5000, "a number of 5,000 digits"),
        (MINIMAL + "seed: 1" + ":59" * DEEP, "seed is '1:59:59"),
        (MINIMAL + "seed: 0x_\n", "seed is '0x_'"),
        (MINIMAL + "seed: !!int one\n", "the tag 'tag:yaml.org,2002:int'"),
        (MINIMAL + "head: !!python/object/apply:os.system ['true']\n", "makes an object"),
        (MINIMAL + "? [a, b]\n: 1\n", "a key is a list or a section"),
        (MINIMAL + 'head: {kind: "\\ud800"}\n', "half a surrogate pair"),
        (MINIMAL + 'head: {kind: "\\U00110000"}\n', "not valid YAML"),
        (MINIMAL + "seed: 1\0\n", "not valid YAML"),
        (MINIMAL + "#" + " " * LARGEST_FILE, "at most 1,048,576 are read"),
        (MINIMAL + "seed: " + "x" * DEEP, "seed is 'xxx"),
    ],
)
def test_yaml_that_explodes_or_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = written(tmp_path / "recipe.yaml", text)
    with soon_and_small(), pytest.raises(RecipeError, match=message) as refused:
        load_recipe(file)
    assert len(str(refused.value)) < 2000, "an error is to be read"
    with soon_and_small(), pytest.raises(RecipeError):
        load_ablation(file)


def test_aliases_that_stand_for_little_are_read() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: [*x, *x]", where="here")["c"] == [[1, 2], [1, 2]]


def test_a_date_stays_the_text_it_is() -> None:
    assert parse_yaml("2020-01-01", where="here") == "2020-01-01"


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf" + MINIMAL.encode(), MINIMAL.replace("\n", "\r\n").encode()]
)
def test_marks_and_line_ends_of_windows_change_nothing(content: bytes, tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path / "recipe.yaml", content)).name == "mine"
    tree = written(tmp_path / "tree.ptb", b"\xef\xbb\xbf(S (NN a)\r\n (NN b))\r\n")
    assert [each.text for each in gold_sentences(tree)] == ["a b"]
    sentences = written(tmp_path / "sentences.conllu", "\ufeff" + ROW + "\r\n\r\n")
    assert [each.tree.text for each in read_conllu(sentences)] == ["Go"]
    text = written(tmp_path / "text.jsonl", b'\xef\xbb\xbf{"text": "a"}\r\n')
    assert list(read_file(text, text_column="text")) == [Row("a", "line 1")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW.replace("1\t", "0\t")], "'0' is no word id"),
        ([ROW.replace("1\t", "²\t")], "'²' is no word id"),
        (["2-1\ta" + "\t_" * 8, ROW], "'2-1' is no word id"),
        (["1-3\ta" + "\t_" * 8, ROW], "no 1 words hold the range '1-3'"),
        (["1-1000000000\ta" + "\t_" * 8, ROW], "no 1 words hold the range '1-1000000000'"),
        ([ROW.replace("Go\tgo", " \tgo")], "too few characters for its words"),
        ([ROW.replace("Go\tgo", "\tgo")], "too few characters for its words"),
        (["1-2\ta" + "\t_" * 8, ROW, ROW.replace("1\t", "2\t")], "too few characters for its words"),
        ([ROW.replace("1\t", f"{number}\t", 1) for number in range(1, 3_002)], "more than 3,000 lines"),
        ([ROW.replace("\t0\t", f"\t{'9' * 5000}\t")], "sentence at line 1"),
    ],
)
def test_conllu_that_does_not_add_up_is_refused(rows: list[str], message: str, tmp_path: Path) -> None:
    file = written(tmp_path / "sentences.conllu", "\n".join(rows) + "\n\n")
    with soon_and_small(), pytest.raises(ParserError, match=message):
        TreebankParser(str(file))


def test_the_longest_sentence_that_is_read_takes_seconds(tmp_path: Path) -> None:
    """Every word is the head of the next: as many nested phrases as words."""
    number = 3_000
    rows = [
        f"{n}\tw\tw\tNOUN\t_\t_\t{n - 1}\t{'obj' if n > 1 else 'root'}\t_\t_" for n in range(1, number + 1)
    ]
    file = written(tmp_path / "sentences.conllu", "\n".join(rows) + "\n\n")
    with soon_and_small():
        (text,) = TreebankParser(str(file)).texts()
    assert len(text) == 2 * number - 1


def test_codes_of_no_character_are_the_word_itself() -> None:
    assert [unescape(word) for word in ("-U110000-", "-UD800-", "-U0020-")] == ["-U110000-", "-UD800-", " "]


@pytest.mark.parametrize(
    ("line", "message"), [("(S (X|none (A a)))", "no level"), ("(A a) (B b)", "2 trees"), ("", "0")]
)
def test_a_written_tree_that_was_changed_is_refused(line: str, message: str) -> None:
    with pytest.raises(ParserError, match=message):
        from_brackets(line, "a")


@pytest.mark.parametrize(
    "content", ["[" * DEEP, '{"text": ' * DEEP, '{"text": ' + "9" * 5000 + "}", '{"text": 1e999}']
)
def test_jsonl_that_is_deep_or_holds_no_text_is_refused(content: str, tmp_path: Path) -> None:
    with soon_and_small():
        (row,) = read_file(written(tmp_path / "deep.jsonl", content), text_column="text")
    assert row.reason
    assert row.place == "line 1"


def test_text_that_is_a_long_line_is_read(tmp_path: Path) -> None:
    line = "a" * 10_000_000
    with soon_and_small():
        assert [
            len(row.text) for row in read_file(written(tmp_path / "long.txt", line), text_column="text")
        ] == [len(line)]


def test_parquet_of_bytes_that_are_no_text_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    column = pyarrow.array([b"\xff\xfe"]).cast(pyarrow.binary())
    broken = pyarrow.StringArray.from_buffers(1, *column.buffers()[1:])
    parquet.write_table(pyarrow.table({"text": broken}), tmp_path / "broken.parquet")
    (row,) = read_file(tmp_path / "broken.parquet", text_column="text")
    assert row == Row("", "row 1", "damaged (UnicodeDecodeError); write the file again")


@pytest.mark.parametrize(
    "text", ["the [" + "9" * 5000 + "]", "[1-999999999]", "[1000001]", "[9-1]", "[²]", "[" * DEEP]
)
def test_patterns_with_absurd_gaps_are_refused(text: str) -> None:
    tokenizer = Tokenizer.train(["the dog"], "words")
    with soon_and_small(), pytest.raises(DataError):
        Pattern.parse(text, tokenizer)


def test_patterns_of_bytes_are_refused() -> None:
    with pytest.raises(DataError, match="no UTF-8"):
        Pattern.parse("the \udcff [2]", Tokenizer.train(["the dog"], "words"))


def test_combinations_of_many_gaps_are_counted_not_listed() -> None:
    pattern = Pattern.parse("[1-1000000] " * 300, Tokenizer.train(["the dog"], "words"))
    with soon_and_small(), pytest.raises(DataError, match="at most 64 are tried"):
        pattern.lengths()


def test_skeletons_with_absurd_numbers_are_refused() -> None:
    with pytest.raises(DataError, match=r"'NP:9+' has more than 1,000,000 tokens"):
        Skeleton.parse("NP:" + "9" * 5000)
    assert len(Skeleton.parse("NP:0002 VP")) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer": None},
        {"levels": "phrase"},
        {"sha256": {"a": 1}},
        {"counts": []},
        {"sha256": {"../../a": "0"}},
    ],
)
def test_a_manifest_without_its_facts_is_damaged(changes: dict[str, object], tmp_path: Path) -> None:
    whole = {"format_version": 2, "tokenizer": {"sha256": "0"}, "levels": [], "sha256": {}, "counts": {}}
    written(tmp_path / "manifest.json", json.dumps(whole))
    assert read_manifest(tmp_path) == whole
    written(tmp_path / "manifest.json", json.dumps({**whole, **changes}))
    with pytest.raises(DataError, match=r"manifest.json is damaged: .*; delete the folder"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), lambda path: path.write_text("[" * DEEP)])
def test_a_manifest_that_is_a_pipe_or_deep_is_damaged(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "manifest.json")
    with soon_and_small(), pytest.raises(DataError, match="is damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["n" * 5_000, "a\0b", "../outside", "/etc/hostname", "loop"])
def test_a_manifest_that_names_no_file_of_the_data_set_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    data = PreparedData(tmp_path, {"sha256": {name: "0"}}, Tokenizer.train(["a b"], "words"))
    with soon_and_small(), pytest.raises(DataError, match=r"is missing; prepare .* again"):
        data.verify()


@pytest.mark.parametrize("name", ["n" * 5_000, "a\0b", "../outside", "/etc/hostname", "loop"])
def test_a_checkpoint_that_names_no_file_of_its_own_is_damaged(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "step-00000001"
    folder.mkdir()
    (folder / "loop").symlink_to("loop")
    written(folder / "manifest.json", json.dumps({"step": 1, "sha256": {name: "0"}}, indent=1))
    with soon_and_small(), pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_of_pipes_is_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "step-00000001"
    folder.mkdir()
    written(folder / "manifest.json", json.dumps({"step": 1, "sha256": {"state.json": "0"}}, indent=1))
    os.mkfifo(folder / "state.json")
    with soon_and_small(), pytest.raises(CheckpointError, match=r"state\.json is missing or no file"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("line", ["[1]", "1", '{"loss": 1}', '{"step": "1"}', "{" * DEEP, "\0"])
def test_a_damaged_line_of_the_log_is_named(line: str, tmp_path: Path) -> None:
    whole = '{"step": 1}'
    file = written(tmp_path / "metrics.jsonl", f"{whole}\n{line}\n{whole}\n")
    with pytest.raises(CheckpointError, match=r"metrics.jsonl line 2 is damaged .*; remove that line"):
        read_metrics(file)
    assert read_metrics(written(file, f"{whole}\n{line}")) == [{"step": 1}], "a kill cuts off the last line"


@pytest.mark.parametrize(
    "shards",
    [
        [{}],
        [None],
        [{"path": "../x", "split": "train", "sha256": "", "num_documents": 1, "num_characters": 1}],
    ],
)
def test_a_damaged_list_of_shards_is_refused(shards: list[object], tmp_path: Path) -> None:
    data = {"digests": {}, "num_documents": {}, "num_characters": 0, "shards": shards}
    with pytest.raises(DataError, match="prepare again"):
        Documents.from_dict(data, tmp_path)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train.jsonl is damaged"):
        list(read_shard(written(tmp_path / "train.jsonl", '"a"\n"b')))


@pytest.mark.parametrize(
    "changes",
    [{"seeds": 3}, {"seeds": []}, {"differences": [{}]}, {"name": None, "baseline": None, "variants": 7},
     {"variants": {"../../x": {}}}],
)  # fmt: skip
def test_a_damaged_folder_of_an_ablation_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    written(tmp_path / "recipes" / "a-0.yaml", MINIMAL)
    whole = {"name": "c", "seeds": [0], "baseline": "a", "variants": {"a": {}}, "differences": []}
    written(tmp_path / "ablation.json", json.dumps(whole))
    assert find_ablation(tmp_path).seeds == (0,)
    written(tmp_path / "ablation.json", json.dumps({**whole, **changes}))
    with pytest.raises(UserError):
        find_ablation(tmp_path)


@pytest.mark.parametrize(
    "kind", [["a"], 7, None, ":", ":x", ".a:b", "os:system", "os:path", "json:JSONDecoder", "x:y"]
)
def test_kinds_that_are_no_component_are_refused(kind: object) -> None:
    with pytest.raises(RecipeError, match=r"kind|no schedule"):
        component_class(kind, SCHEDULES, section="schedule")  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", ["linear", {"kind": "polynomial"}, {"kind": "polynomial", "power": "x"}])
def test_components_that_cannot_be_built_say_why(spec: object) -> None:
    with pytest.raises(RecipeError, match="schedule"):
        build(spec, {**SCHEDULES, "polynomial": _NeedsPower}, section="schedule")  # type: ignore[arg-type,dict-item]


class _NeedsPower:
    def __init__(self, power: int) -> None:
        self.power = power


def test_every_corruption_refuses_a_number_that_is_none() -> None:
    for kind in CORRUPTIONS:
        with pytest.raises(RecipeError):
            build({"kind": kind, "schedule": "\ud800"}, CORRUPTIONS, section="corruption", mask_id="\0")


@pytest.mark.parametrize(
    ("read", "line"),
    [
        (lambda line: list(parse_brackets([line], where="here")), "\\" * DEEP),
        (lambda line: unescape(line), "-U" * DEEP),
        (lambda line: unescape(line), "-L" * DEEP + "\\"),
        (lambda line: Pattern.parse(line, Tokenizer.train(["a"], "words")), "[1" * DEEP),
        (lambda line: Pattern.parse(line, Tokenizer.train(["a"], "words")), "[" + "1" * DEEP + "-"),
        (lambda line: parse_yaml(line, where="here"), "1_" * DEEP + "x"),
        (lambda line: parse_yaml(line, where="here"), "1" * DEEP + ":"),
        (lambda line: parse_yaml(line, where="here"), "a " * DEEP + ":"),
        (lambda line: parse_yaml(line, where="here"), "0." + "0" * DEEP + "e"),
        (lambda line: parse_yaml(line, where="here"), "{a: '" + "''" * DEEP),
    ],
)
def test_no_line_makes_a_pattern_of_a_reader_go_back_and_forth(
    read: Callable[[str], object], line: str
) -> None:
    """Regular expressions that match in more than one way take time that doubles with every character."""
    with soon_and_small(), suppress(UserError):
        read(line)
