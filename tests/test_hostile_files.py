"""Files made to exhaust memory, time or the stack, or to confuse a reader, get a sentence, and soon."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_files import DEEP, MINIMAL, soon_and_small, written

from hdiff.ablation.specification import load_ablation
from hdiff.control.pattern import Pattern
from hdiff.data.sources.rejected import Row
from hdiff.data.sources.text_files import read_file
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError, ParserError, RecipeError
from hdiff.parsers.bracket_words import unescape
from hdiff.parsers.conllu import read_conllu
from hdiff.parsers.treebank import TreebankParser, gold_sentences
from hdiff.recipe import load_recipe
from hdiff.strict_yaml import LARGEST_FILE, parse_yaml

ROW = "1\tGo\tgo\tVERB\tVB\t_\t0\troot\t_\t_"


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
