"""Skeletons: the model writes words of the labels it is given; types that are given are the ones it sees."""

from __future__ import annotations

import pytest
import torch

from hdiff.control import Skeleton, follow_skeleton
from hdiff.control.skeleton import known_labels, skeleton_types
from hdiff.control.verification import skeleton_checker
from hdiff.corruption import Corruption, SoftMasking, SpanMasking, TreeCascade, sample_times
from hdiff.data.batch import Batch
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.heads import ProductHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.objectives import nelbo
from hdiff.samplers import AncestralSampler, CoarseToFineSampler

LABELS = {"word": {"NOUN": 1, "DET": 2, "VERB": 3}}
WORDS = {"NOUN": ["dog", "cat", "park"], "DET": ["the", "a"], "VERB": ["sleeps", "sees"]}
CASCADE = TreeCascade(levels=["word"], types=["label"], num_labels=3)


@pytest.fixture(scope="module")
def trained(tokenizer: Tokenizer) -> Denoiser:
    """A model of random words, each of the label it always has; trained for seconds."""
    torch.manual_seed(0)
    label_of = {
        tokenizer.backend.token_to_id(word): LABELS["word"][label]
        for label, words in WORDS.items()
        for word in words
    }
    label_of[tokenizer.eos_id] = 0
    ids, table = torch.tensor(list(label_of)), torch.zeros(tokenizer.vocab_size, dtype=torch.long)
    table[ids] = torch.tensor(list(label_of.values()))
    heads = [ProductHead(size, 32) for size in CASCADE.type_sizes]
    model = Denoiser(Trunk(32, depth=1, num_heads=2), ProductHead(tokenizer.vocab_size, 32), type_heads=heads)
    corruption = TreeCascade(levels=["word"], types=["label"], num_labels=3, mask_id=tokenizer.vocab_size)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        tokens = ids[torch.randint(len(ids), (32, 8), generator=generator)]
        units = {"word": torch.arange(8).expand(32, -1)}
        batch = Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), units, {"word": table[tokens]})
        corrupted = corruption.corrupt(batch, sample_times(batch, generator=generator), generator=generator)
        loss = nelbo(model(corrupted), batch, corrupted).mean
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def right_words(skeleton: Skeleton, text: str) -> int:
    labels = [label for label, length in skeleton.spans for _ in range(length)]
    return sum(label == "*" or word in WORDS[label] for label, word in zip(labels, text.split(), strict=True))


@pytest.mark.parametrize("skeleton", ["DET NOUN VERB DET NOUN", "NOUN:4 VERB:2", "* DET:2 *:2 VERB"])
def test_words_have_the_labels_of_the_skeleton(
    skeleton: str, trained: Denoiser, tokenizer: Tokenizer, generator: torch.Generator
) -> None:
    spans = Skeleton.parse(skeleton)
    made = follow_skeleton(
        trained,
        CASCADE,
        tokenizer,
        CoarseToFineSampler(len(spans)),
        spans,
        labels=LABELS,
        num_samples=40,
        generator=generator,
    )
    right = sum(right_words(spans, text) for text in made.texts)
    assert right >= 0.97 * 40 * len(spans)
    assert all(tokenizer.eos_id not in tokens.tolist() for tokens in made.tokens)
    assert made.scores == (None,) * 40


def test_texts_are_drawn_again_until_one_is_accepted(
    trained: Denoiser, tokenizer: Tokenizer, generator: torch.Generator
) -> None:
    """Texts that begin with one of three nouns: a third passes at once, with enough tries nearly all do."""

    def share(tries: int) -> float:
        made = follow_skeleton(
            trained,
            CASCADE,
            tokenizer,
            CoarseToFineSampler(2),
            Skeleton.parse("NOUN VERB"),
            labels=LABELS,
            num_samples=60,
            accept=lambda pieces: "".join(pieces).startswith("dog"),
            tries=tries,
            generator=generator,
        )
        assert len(made.texts) == 60
        return sum(text.startswith("dog") for text in made.texts) / 60

    assert share(1) < 0.6
    assert share(12) > 0.95


@pytest.mark.parametrize(("tries", "accept"), [(0, None), (2, None)])
def test_tries_need_something_to_accept(
    tries: int, accept: None, trained: Denoiser, tokenizer: Tokenizer
) -> None:
    with pytest.raises(DataError, match=f"{tries} tries"):
        follow_skeleton(
            trained,
            CASCADE,
            tokenizer,
            CoarseToFineSampler(1),
            Skeleton.parse("NOUN"),
            labels=LABELS,
            accept=accept,
            tries=tries,
        )


def test_a_checker_looks_for_spans_at_their_very_place() -> None:
    """Pieces carry their own white space, which is no part of a span."""
    spacy_parser = pytest.importorskip("hdiff.parsers.spacy_parser")
    parser = spacy_parser.SpacyParser()
    pieces = ["The", " old", " dog", " sleeps", " in", " the", " park", "."]
    (tree,) = parser.parse(["".join(pieces)])
    assert ("PP", "in the park") in {(s.label, tree.text[s.start : s.end]) for s in tree.spans}
    for skeleton, holds in [
        ("*:4 PP:3 *", True),
        ("NP:3 * PP:3 *", True),
        ("*:4 VP:3 *", False),
        ("*:3 PP:3 *:2", False),
        ("*:8", True),
    ]:
        assert skeleton_checker(parser, Skeleton.parse(skeleton))(pieces) is holds


def test_another_skeleton_gives_other_words(
    trained: Denoiser, tokenizer: Tokenizer, generator: torch.Generator
) -> None:
    """The test above can fail: words written for one skeleton do not fit another."""
    made = follow_skeleton(
        trained,
        CASCADE,
        tokenizer,
        CoarseToFineSampler(2),
        Skeleton.parse("NOUN:4"),
        labels=LABELS,
        num_samples=40,
        generator=generator,
    )
    assert sum(right_words(Skeleton.parse("VERB:4"), text) for text in made.texts) < 8


def test_types_are_numbered_as_the_corruption_numbers_them() -> None:
    """Against the types that corruptions show for a batch with these units and labels."""
    labels = {"phrase": {"NP": 1, "VP": 2, "PP": 3}}
    skeleton = Skeleton.parse("NP:2 PP:3 VP")
    units = torch.tensor([[0, 1, 1, 2, 2, 2, 3, 4]])
    numbers = torch.tensor([[0, 1, 1, 3, 3, 3, 2, 0]])
    tokens = torch.zeros_like(units)
    batch = Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), {"phrase": units}, {"phrase": numbers})
    kinds: list[Corruption] = [
        TreeCascade(levels=["phrase"], types=["label"], num_labels=4),
        TreeCascade(levels=["phrase"], types=["boundary", "label"], num_labels=3),
        SoftMasking(classes="syntax", level="phrase", num_classes=4),
    ]
    for corruption in kinds:
        assert isinstance(corruption, (TreeCascade, SoftMasking))
        shown = corruption.streams(batch)[0].types
        assert shown is not None
        assert torch.equal(skeleton_types(skeleton, corruption, labels)[:, 0], shown[0]), corruption


def test_finer_levels_and_free_stretches_are_left_to_the_model() -> None:
    corruption = TreeCascade(levels=["phrase", "word"], types=["label"], num_labels=4)
    types = skeleton_types(Skeleton.parse("NP:2 *:2"), corruption, {"phrase": {"NP": 1}, "word": {"DET": 2}})
    assert types[:, 0].tolist() == [0, 1, 1, 5, 5, 0]
    assert types[:, 1].tolist() == [0, 5, 5, 5, 5, 0]


def test_labels_that_share_a_type_are_not_known() -> None:
    numbers = {"A": 1, "B": 2, "C": 3}
    assert list(known_labels(numbers, 3)) == ["A", "B", "C"]
    assert list(known_labels(numbers, 2)) == ["A"], "B and C are one type"
    assert list(known_labels({"B": 2, "A": 1}, 2)) == ["A", "B"]


def test_a_label_may_hold_a_colon_and_lengths_default_to_one() -> None:
    assert Skeleton.parse("nsubj:pass obl:2 X").spans == (("nsubj:pass", 1), ("obl", 2), ("X", 1))
    assert len(Skeleton.parse("NP:2 VP:3 PP")) == 6


@pytest.mark.parametrize(
    ("corruption", "message"),
    [
        (SpanMasking(), "generates labels before words, this one is of SpanMasking"),
        (TreeCascade(levels=["word"]), "TreeCascade without labels"),
        (SoftMasking(), "SoftMasking without labels"),
        (TreeCascade(levels=["word"], types=["label"], direction="fine_to_coarse"), "words first"),
        (TreeCascade(levels=["word"], types=["label", "salience"], num_buckets=2), "salience"),
    ],
)
def test_models_that_generate_no_labels_first_are_refused(corruption: Corruption, message: str) -> None:
    with pytest.raises(DataError, match=message):
        skeleton_types(Skeleton.parse("NOUN"), corruption, LABELS)


@pytest.mark.parametrize(
    ("skeleton", "message"),
    [
        ("NOUM:2", "no label 'NOUM' at level 'word'; did you mean 'NOUN'.*known: NOUN, DET, VERB"),
        ("NP:2", "known: NOUN, DET, VERB"),
        ("NOUN:0", "0 tokens"),
        ("  ", "skeleton is empty"),
        ("NOUN:20", "rows 16"),
    ],
)
def test_bad_skeletons_are_refused(
    skeleton: str, message: str, trained: Denoiser, tokenizer: Tokenizer
) -> None:
    with pytest.raises(DataError, match=message):
        follow_skeleton(
            trained,
            CASCADE,
            tokenizer,
            CoarseToFineSampler(1),
            Skeleton.parse(skeleton),
            labels=LABELS,
            longest=16,
        )


def test_samplers_without_types_and_useless_steps_are_refused(
    trained: Denoiser, tokenizer: Tokenizer
) -> None:
    skeleton = Skeleton.parse("NOUN:3")
    with pytest.raises(DataError, match="coarse_to_fine"):
        follow_skeleton(trained, CASCADE, tokenizer, AncestralSampler(1), skeleton, labels=LABELS)
    with pytest.raises(DataError, match="4 steps for 3 tokens"):
        follow_skeleton(trained, CASCADE, tokenizer, CoarseToFineSampler(4), skeleton, labels=LABELS)
