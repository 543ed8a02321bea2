"""Targets of supervision: each token's column says what the stored parse says, for every kind of tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hdiff.data.control_trees import with_control_trees
from hdiff.data.packing import PackedBlocks
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.sources.arrow import ArrowRows
from hdiff.data.stored_spans import StoredSpans
from hdiff.data.token_targets import INSIDE_WORD, TARGETS, TargetSpec, TokenTargets
from hdiff.errors import DataError
from hdiff.parsers import SpacyParser
from hdiff.structure import LEVELS, level_rank

ALL = tuple(TARGETS)
CONTROLS = ("random", "shuffled", "balanced", "right_branching")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    out = tmp_path_factory.mktemp("prepared") / "pydoc"
    levels = ["sentence", "clause", "phrase"]
    prepare("builtin:pydoc", out, limit=14, validation_fraction=0.3, tokenizer="train:512", levels=levels)
    return PreparedData.load(out)


def columns(data: PreparedData, spec: TargetSpec, split: str = "validation") -> dict[str, np.ndarray]:
    blocks = PackedBlocks.build(data, split, sequence_length=32, separator=False, targets=spec)
    return dict(blocks.targets)


def documents(data: PreparedData, split: str = "validation") -> list[dict]:
    return list(data.split(split))


def test_columns_say_what_a_walk_over_the_spans_says(data: PreparedData) -> None:
    names = data.manifest["labels"]
    found = columns(data, TargetSpec(ALL, num_labels=1000))
    numbers = {"pos": {}, "phrase": {}, "parent": {}}
    begin = 0
    for row in documents(data):
        length = len(row["input_ids"])
        spans = list(
            zip(row["span_start"], row["span_end"], row["span_level"], row["span_label"], strict=True)
        )
        for token in range(length):
            around = [span for span in spans if span[0] <= token < span[1]]
            above = [span for span in around if span[2] < level_rank("word")]
            words = [span for span in around if span[2] == level_rank("word")]
            place = begin + token
            expected = {
                "pos": names[words[-1][3]] if words else None,
                "phrase": names[above[-1][3]] if above else None,
                "parent": names[above[-2][3]] if len(above) > 1 else None,
            }
            for name, label in expected.items():  # numbers stand for labels, one for one
                number = int(found[name][place])
                assert (number == 0) == (label is None)
                assert numbers[name].setdefault(number, label) == label
            opens = sum(span[0] == token for span in above)
            closes = sum(span[1] == token + 1 for span in above)
            assert found["opens"][place] == min(3, opens)
            assert found["closes"][place] == min(3, closes)
            both = [span for span in spans if span[0] < token < span[1]]
            is_inside = any(span[2] == level_rank("word") for span in both)
            depth = INSIDE_WORD if is_inside else sum(span[2] < level_rank("word") for span in both)
            assert found["gaps"][place] == depth
        begin += length


def test_tags_and_relations_are_those_of_the_parser(data: PreparedData) -> None:
    parser = SpacyParser()
    assert data.manifest["told"] == ["tag", "relation"]
    found = columns(data, TargetSpec(("tag", "relation"), num_labels=1000))
    numbers: dict[str, dict[int, str]] = {"tag": {}, "relation": {}}
    begin = 0
    for row in documents(data):
        ids, offsets = data.tokenizer.encode(row["text"])
        assert ids == row["input_ids"]
        (tree,) = parser.parse([row["text"]])
        words = zip(tree.words, tree.tags, tree.relations, strict=True)
        told_of = {place: told for word, *told in words for place in range(word.start, word.end)}
        for token, (start, end) in enumerate(offsets):
            anchor = next((place for place in range(start, end) if not row["text"][place].isspace()), None)
            if anchor is None:
                continue
            for name, label in zip(numbers, told_of.get(anchor, (None, None)), strict=True):
                number = int(found[name][begin + token])
                assert (number == 0) == (label is None)
                assert numbers[name].setdefault(number, label) == label
        begin += len(ids)
    assert {"NN", "VBZ", "DT"} <= set(numbers["tag"].values())
    assert {"nsubj", "ROOT", "det"} <= set(numbers["relation"].values())


@pytest.mark.parametrize("control", CONTROLS)
def test_control_trees_leave_tags_and_relations_alone(control: str, data: PreparedData) -> None:
    spec = TargetSpec(("tag", "relation"), num_labels=9)
    parsed, other = columns(data, spec), columns(data, replace(spec, trees=control))
    for name in spec.names:
        assert np.array_equal(parsed[name], other[name])
        assert 1 < parsed[name].max() <= 8


def test_source_tells_tags_and_relations_of_its_words(tmp_path: Path) -> None:
    text = "def f(a):\n    return a + g(a, 1)\n"
    (tmp_path / "source").mkdir()
    for number in range(8):
        (tmp_path / "source" / f"{number}.py").write_text(text + f"x{number} = f(1)\n")
    options = {"parser": "python", "tokenizer": "train:257", "validation_fraction": 0.4}
    prepare(f"python:{tmp_path / 'source'}", tmp_path / "out", **options)
    data = PreparedData.load(tmp_path / "out")
    names, row = data.manifest["labels"], next(iter(data.split("train")))
    for column, wanted in (
        ("word_tag", ["def", "DEFINITION", "(", "PARAMETER", ")", ":", "return", "NAME", "+", "NAME", "("]),
        ("word_relation", ["body", "body", "body", "args", "body", "body", "body", "left", "value", "func"]),
    ):
        assert [names[label] for label in row[column]][: len(wanted)] == wanted


def test_data_without_tags_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n\n".join(f"A dog {n} ran ." for n in range(9)))
    options = {"parser": "plain", "tokenizer": "words", "levels": ["sentence"], "validation_fraction": 0.4}
    prepare(str(tmp_path / "text.txt"), tmp_path / "out", **options)
    data = PreparedData.load(tmp_path / "out")
    for name in ("tag", "relation"):
        with pytest.raises(DataError, match=f"needs the {name} of each word, .* has none .* --parser spacy"):
            TokenTargets(data, TargetSpec((name,)))


def test_frequent_labels_have_small_numbers_and_rare_ones_share_the_last(data: PreparedData) -> None:
    for name in ("pos", "phrase"):
        few = columns(data, TargetSpec((name,), num_labels=4), "train")[name]
        many = columns(data, TargetSpec((name,), num_labels=1000), "train")[name]
        assert few.max() == 3
        assert np.array_equal(few, many.clip(max=3))
        counts = np.bincount(many)
        assert counts[1] > 0.8 * counts[1:].max()  # counted by spans, not by tokens


@pytest.mark.parametrize("control", ["balanced", "right_branching"])
def test_control_trees_are_those_of_the_control_parsers(control: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"The dog{' and a cat' * n} saw a hill . It ran ." for n in range(9)))
    for name, parser in (("parsed", "spacy"), ("control", f"{control}:spacy")):
        options = {"validation_fraction": 0.4, "tokenizer": "words", "levels": ["sentence", "phrase"]}
        prepare(str(text), tmp_path / name, parser=parser, **options)
    names = ("pos", "opens", "closes", "gaps")
    parsed = columns(PreparedData.load(tmp_path / "control"), TargetSpec(names))
    drawn = columns(PreparedData.load(tmp_path / "parsed"), TargetSpec(names, trees=control))
    for name in names:
        assert np.array_equal(parsed[name], drawn[name]), name


@pytest.mark.parametrize("control", CONTROLS)
def test_control_trees_keep_words_and_sentences_and_nest(control: str, data: PreparedData) -> None:
    rows = data.split("validation")
    lengths = [len(row["input_ids"]) for row in rows]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    spans = StoredSpans.of_rows(rows, starts)
    drawn = with_control_trees(spans, starts, control)
    for level in ("sentence", "word"):
        rank = level_rank(level)
        one, other = spans.of(spans.level == rank), drawn.of(drawn.level == rank)
        assert np.array_equal(one.first, other.first)
        assert np.array_equal(one.end, other.end)
    assert set(drawn.level.tolist()) <= set(range(len(LEVELS)))
    stack: list[int] = []
    for first, end in zip(drawn.first.tolist(), drawn.end.tolist(), strict=True):
        while stack and stack[-1] <= first:
            stack.pop()
        assert not stack or end <= stack[-1]
        stack.append(end)
    same = np.array_equal(spans.above_words.first, drawn.above_words.first)
    assert not same
    again = with_control_trees(spans, starts, control)
    assert np.array_equal(drawn.first, again.first)
    if control == "shuffled":  # the same shapes
        words = np.sort(spans.above_words.label), np.sort(drawn.above_words.label)
        assert np.array_equal(*words)


@pytest.mark.parametrize("control", CONTROLS)
def test_without_sentences_the_outermost_spans_are_kept(control: str, prepared_folder: Path) -> None:
    rows = PreparedData.load(prepared_folder).split("validation")
    starts = np.concatenate([[0], rows.lengths("input_ids").cumsum()])
    spans = StoredSpans.of_rows(rows, starts)
    assert level_rank("sentence") not in spans.level
    drawn = with_control_trees(spans, starts, control)
    before, after = spans.above_words.by_depth(), drawn.above_words.by_depth()
    assert np.array_equal(before[0].first, after[0].first)
    assert np.array_equal(before[0].end, after[0].end)
    assert not np.array_equal(before[1].first, after[1].first)


def test_a_documents_trees_do_not_depend_on_its_neighbours(data: PreparedData) -> None:
    spec = TargetSpec(("gaps",), trees="random")
    together = columns(data, spec, "train")["gaps"]
    rows = data.split("train")
    last = rows[len(rows) - 1]
    length = len(last["input_ids"])
    values = {name: [np.array(value) if isinstance(value, list) else value] for name, value in last.items()}
    alone = TokenTargets(data, spec).of_rows(
        ArrowRows.of_columns(values), np.array([0, length]), data.manifest["labels"]
    )
    assert np.array_equal(together[-length:], alone["gaps"])


def test_batches_hold_targets_of_their_tokens_and_none_at_padding(data: PreparedData) -> None:
    blocks = PackedBlocks.build(data, "validation", sequence_length=32, targets=TargetSpec(("pos", "gaps")))
    batch = blocks.batch([0, len(blocks) - 1])
    flat = batch.targets["pos"][batch.token_mask].numpy()
    last = len(blocks.tokens) % 32 or 32
    assert np.array_equal(flat[:32], blocks.targets["pos"][:32])
    assert np.array_equal(flat[32:], blocks.targets["pos"][-last:])
    assert not batch.targets["gaps"][~batch.token_mask].any()
    assert PackedBlocks.build(data, "validation", sequence_length=32).batch([0]).targets == {}


LACKS = {
    "phrase": ("--levels sentence --parser spacy", TargetSpec(("phrase",)), "needs level 'phrase'"),
    "opens": ("--levels sentence --parser spacy", TargetSpec(("pos", "opens")), "needs level 'phrase'"),
    "closes": ("--levels clause --parser spacy", TargetSpec(("closes",)), "needs level 'phrase'"),
    "parent": ("--levels clause --parser spacy", TargetSpec(("parent",)), "needs level 'phrase'"),
    "gaps": ("--levels clause --parser spacy", TargetSpec(("gaps",)), "needs level 'phrase'"),
    "pos": ("--levels sentence --parser plain", TargetSpec(("pos",)), "needs parts of speech"),
    "plain": ("--levels sentence --parser plain", TargetSpec(("pos", "phrase")), "needs level 'phrase'"),
    "balanced": ("--levels phrase --parser balanced:plain", TargetSpec(("pos", "phrase")), "parts of speech"),
}


@pytest.mark.parametrize("case", list(LACKS))
def test_a_data_set_without_the_labels_is_refused_with_a_remedy_that_works(case: str, tmp_path: Path) -> None:
    options, spec, message = LACKS[case]
    _, levels, _, parser = options.split()
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"The old dog of number {i} saw a cat. It ran away." for i in range(8)))

    def prepared(levels: str, parser: str, out: Path) -> PreparedData:
        prepare(
            str(text),
            out,
            validation_fraction=0.3,
            tokenizer="words",
            levels=levels.split(","),
            parser=parser,
        )
        return PreparedData.load(out)

    with pytest.raises(DataError, match=message) as error:
        columns(prepared(levels, parser, tmp_path / "old"), spec)
    (remedy,) = error.value.remedies
    words = remedy.split()
    given = dict(zip(words[::2], words[1::2], strict=True))
    fixed = prepared(given.get("--levels", levels), given["--parser"], tmp_path / "new")
    assert set(columns(fixed, spec)) == set(spec.names)
