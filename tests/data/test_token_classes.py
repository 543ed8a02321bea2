"""Classes of token ids: nested, without empty ones, and by what their kind says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from hdiff.data.packing import PackedBlocks
from hdiff.data.prepare.run import prepare
from hdiff.data.prepared import PreparedData
from hdiff.data.token_classes import CLASSES, Both, Clusters, PartsOfSpeech, RandomClasses, Syntax
from hdiff.data.token_classes.clustering import nested
from hdiff.errors import DataError
from hdiff.heads.class_factors import check_tables

KINDS = {
    "syntax": Syntax(sizes=[8]),
    "syntax nested": Syntax(sizes=[6, 24]),
    "syntax, clusters inside": Syntax(sizes=[6, 24], fine="clusters"),
    "syntax, three levels": Syntax(sizes=[4, 12, 40]),
    "syntax of shuffled trees": Syntax(sizes=[8], trees="shuffled"),
    "syntax of right branching trees": Syntax(sizes=[8], trees="right_branching"),
    "clusters": Clusters(sizes=[16]),
    "clusters nested": Clusters(sizes=[6, 24]),
    "both": Both(sizes=[12]),
    "both nested": Both(sizes=[6, 24]),
    "parts of speech": PartsOfSpeech(),
    "parts of speech, clusters inside": PartsOfSpeech(sizes=[60]),
    "random": RandomClasses(sizes=[16]),
    "random nested": RandomClasses(sizes=[6, 24]),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    out = tmp_path_factory.mktemp("prepared") / "pydoc"
    levels = ["sentence", "clause", "phrase"]
    prepare("builtin:pydoc", out, limit=14, validation_fraction=0.3, tokenizer="train:512", levels=levels)
    return PreparedData.load(out)


def blocks_of(data: PreparedData, kind) -> PackedBlocks:
    return PackedBlocks.build(data, "train", sequence_length=32, targets=kind.spec)


@pytest.mark.parametrize("case", list(KINDS))
def test_tables_are_nested_classes_of_the_vocabulary(case: str, data: PreparedData) -> None:
    kind = KINDS[case]
    tables = kind.tables(blocks_of(data, kind), seed=1)
    check_tables(tables, 512)  # of the vocabulary, no empty class, nested
    wanted = kind.sizes if not isinstance(kind, PartsOfSpeech) else (len(set(tables[0])), *kind.sizes)
    assert len(tables) == len(wanted)
    for table, size in zip(tables, wanted, strict=True):
        assert 0.6 * size <= len(set(table)) <= 1.4 * size
    assert tables == kind.tables(blocks_of(data, kind), seed=1)


def test_random_classes_have_the_sizes_of_clusters_and_mean_nothing(data: PreparedData) -> None:
    clusters = KINDS["clusters nested"].tables(blocks_of(data, KINDS["clusters nested"]))
    random = KINDS["random nested"].tables(blocks_of(data, KINDS["random nested"]))
    for one, other in zip(clusters, random, strict=True):
        assert sorted(Counter(one).values()) == sorted(Counter(other).values())
        assert one != other


def test_syntactic_classes_follow_the_parser_and_not_its_control(data: PreparedData) -> None:
    parts = KINDS["parts of speech"]
    (gold,) = parts.tables(blocks_of(data, parts))

    def purity(table: list[int]) -> float:
        """Share of token ids that have the most frequent part of speech of their class."""
        pairs = Counter(zip(table, gold, strict=True))
        best = {cls: max(n for (c, _), n in pairs.items() if c == cls) for cls in set(table)}
        return sum(best.values()) / len(table)

    syntax = purity(KINDS["syntax"].tables(blocks_of(data, KINDS["syntax"]))[0])
    random = purity(RandomClasses(sizes=[8]).tables(blocks_of(data, Clusters(sizes=[8])))[0])
    assert syntax > random + 0.1


def test_each_class_is_split_by_its_share(generator: torch.Generator) -> None:
    coarse = torch.tensor([0] * 60 + [1] * 20 + [2])
    points = torch.nn.functional.normalize(torch.randn(81, 5, generator=generator), dim=1)
    fine = nested(coarse, points, torch.ones(81), 27, generator)
    check_tables([coarse.tolist(), fine.tolist()], 81)
    assert [len(fine[coarse == c].unique()) for c in range(3)] == [20, 7, 1]


WRONG = {
    "one class": (lambda: Clusters(sizes=[1]), "sizes is \\[1\\]"),
    "falling": (lambda: Syntax(sizes=[64, 16]), "from coarse to fine"),
    "equal": (lambda: Both(sizes=[16, 16]), "from coarse to fine"),
    "trees": (lambda: Syntax(trees="shufled"), "did you mean 'shuffled'"),
    "trees of both": (lambda: Both(trees="gold"), "known: parsed"),
    "trees of parts": (lambda: PartsOfSpeech(trees=""), "known: parsed"),
    "negative": (lambda: RandomClasses(sizes=[-4]), "sizes is"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_sizes_and_trees_are_refused(case: str) -> None:
    make, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        make()


def test_more_classes_than_tokens_are_refused(data: PreparedData) -> None:
    for kind in (Clusters(sizes=[600]), RandomClasses(sizes=[16, 513]), Syntax(sizes=[1000])):
        with pytest.raises(DataError, match="of 512 tokens"):
            kind.tables(blocks_of(data, kind))


def test_unparsed_data_is_refused_for_syntax_and_enough_for_clusters(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"the old dog of number {i} saw a cat ." for i in range(20)))
    options = {"validation_fraction": 0.3, "tokenizer": "words"}
    prepare(str(text), tmp_path / "plain", parser="plain", levels=["sentence"], **options)
    plain = PreparedData.load(tmp_path / "plain")
    assert (
        len(Clusters(sizes=[3]).tables(blocks_of(plain, Clusters(sizes=[3])))[0])
        == plain.tokenizer.vocab_size
    )
    for kind in ("syntax", "both", "parts_of_speech"):
        with pytest.raises(DataError, match="re-run hdiff prepare with --parser spacy"):
            blocks_of(plain, CLASSES[kind]())
