"""The law of given text: it stands in the result, character by character, or the request is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from generated_tokenizers import ALPHABET, generated_tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from hdiff.control import Gap, Keywords, Pattern, infill, with_keywords
from hdiff.control.candidates import Controlled, controlled
from hdiff.control.literal import Given, GivenText
from hdiff.control.rewrite import rewriting_pattern
from hdiff.corruption import TokenMasking
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.heads import AutoregressiveHead
from hdiff.layers.trunk import Trunk
from hdiff.models.denoiser import Denoiser
from hdiff.pages.trajectory import trajectory
from hdiff.samplers import AncestralSampler
from hdiff.samplers.samples import Samples
from hdiff.sharing.pipeline import TextDiffusionPipeline

MANY = settings(deadline=None, max_examples=200)
TEXT = (
    "The list of the old dogs (a cat) is returned. It barked at a (small) park, and the man didn't sleep.\n"
)

ONE_CALL = torch.ones(1, dtype=torch.long)


def filled(
    row: list[int], tokenizer: Tokenizer, given_text: GivenText | None, dice: random.Random
) -> Controlled:
    """A row filled at random with any token that may be drawn, as a sampler hands it over."""
    allowed = [i for i in range(tokenizer.vocab_size) if i not in tokenizer.facts.never_text]
    is_given = [token < tokenizer.vocab_size for token in row]
    tokens = [token if known else dice.choice(allowed) for token, known in zip(row, is_given, strict=True)]
    steps = torch.tensor([[-1 if known else dice.randint(0, 3) for known in is_given]])
    units = torch.arange(len(row))[None]
    samples = Samples(torch.tensor([tokens]), steps, units, nfe=1, calls=ONE_CALL, passes=ONE_CALL)
    return controlled(tokenizer, [samples], [None], given=given_text)


def fill(pattern: Pattern, tokenizer: Tokenizer, seed: int) -> Controlled:
    lengths = pattern.lengths()[0]
    row = pattern.row(lengths, mask_id=tokenizer.vocab_size, eos_id=tokenizer.eos_id)
    return filled(row, tokenizer, pattern.given, random.Random(seed))


def holds(stretches: list[str], text: str) -> bool:
    """Whether stretches stand in a text in their order, the first at its start, the last at its end."""
    if not text.startswith(stretches[0]) or not text.endswith(stretches[-1]):
        return False
    place = 0
    for stretch in stretches:
        found = text.find(stretch, place)
        if found < 0:
            return False
        place = found + len(stretch)
    return True


CODE = [
    ("def f(a):\n    ", "return", " a\n"),
    ("if a:\n\t", "b", "\n\tc = 1\n"),
    ("if a:\n\tif b:\n\t\t", "c", "\n"),
    ("x = 1\n\n", "y", " = 2"),
    ("x = 1\n\n\n", "y", " = 2"),
    ("x = 1\n    \n    ", "y", " = 2"),
    ("class A:\n\n    x = 1\n\n    ", "y", " = 2\n\n"),
    ("f(", "a", ", b)"),
    ("f(a,\n  ", "b", ")"),
    ("x = [1, ", "a", "]\n"),
    ("x  =  ", "a", "\n"),
    ("x = 'a ", "b", " c'"),
    ("# a\n", "a", "\n# b"),
    ("a.", "b", "()\n"),
    ("@a\n", "b", "\n"),
    ("\n", "a", "\n"),
]


@pytest.mark.parametrize(("before", "word", "after"), CODE)
def test_text_around_a_gap_is_cut_as_it_is_in_text(before: str, word: str, after: str) -> None:
    """White space, line ends and indentation give the tokens that the model has seen."""
    lines = ["".join(parts) for parts in CODE] * 4
    tokenizer = Tokenizer.train(lines, "train:330")
    pattern = Pattern.parse(before.replace("[", "[[") + "[1]" + after, tokenizer)
    first, last = pattern.parts[0], pattern.parts[-1]
    assert isinstance(first, Given)
    assert isinstance(last, Given)
    ids, offsets = tokenizer.encode(before + word + after)
    cut = len(before) - before.endswith(" ")
    assert list(first) == [token for token, (_, end) in zip(ids, offsets, strict=True) if end <= cut]
    assert list(last) == [
        token for token, (start, _) in zip(ids, offsets, strict=True) if start >= len(before) + len(word)
    ]
    assert "".join(first.pieces) == before


@MANY
@given(
    generated_tokenizers(),
    st.lists(
        st.one_of(st.text(ALPHABET, max_size=6), st.sampled_from(["the dog ", " is ", " (", ")."])),
        min_size=2,
        max_size=4,
    ),
    st.integers(0, 9),
)
def test_given_text_of_a_pattern_is_in_the_result(
    tokenizer: Tokenizer, stretches: list[str], seed: int
) -> None:
    stretches = [stretch.replace("[", "").replace("]", "") for stretch in stretches]
    try:
        pattern = Pattern.parse("[2]".join(stretches), tokenizer)
    except DataError:
        return
    made = fill(pattern, tokenizer, seed)
    spaceless = [stretch for stretch in stretches if stretch.strip()]
    if all(stretch.strip() or not stretch for stretch in stretches):
        assert holds(stretches, made.texts[0]), (stretches, made.texts[0])
    assert holds(["", *spaceless, ""], made.texts[0])
    assert "".join(made.pieces[0]) == made.texts[0]


@MANY
@given(
    generated_tokenizers(),
    st.lists(st.text(ALPHABET, min_size=1, max_size=5), min_size=1, max_size=3),
    st.integers(0, 9),
)
def test_keywords_are_in_the_result(tokenizer: Tokenizer, words: list[str], seed: int) -> None:
    assume(all(word.strip() for word in words))
    try:
        keywords = Keywords.of(words, 40, tokenizer)
    except DataError:
        return
    rows = keywords.place(1, mask_id=tokenizer.vocab_size, eos_id=tokenizer.eos_id)
    made = filled(rows[0].tolist(), tokenizer, keywords.given, random.Random(seed))
    assert holds(["", *(word.strip() for word in words), ""], made.texts[0]), made.texts[0]


@MANY
@given(
    generated_tokenizers(),
    st.text(ALPHABET, max_size=8),
    st.text("abcde", min_size=1, max_size=3),
    st.integers(0, 9),
)
def test_what_is_not_rewritten_is_in_the_result(
    tokenizer: Tokenizer, around: str, phrase: str, seed: int
) -> None:
    before, after = f"{around} ", f" {around[::-1]}"
    try:
        pattern = rewriting_pattern(f"{before}{phrase}{after}", phrase, tokenizer)
    except DataError:
        return
    made = fill(pattern, tokenizer, seed)
    assert holds([before if before.strip() else "", after if after.strip() else ""], made.texts[0])


@MANY
@given(generated_tokenizers(), st.text(ALPHABET, min_size=1, max_size=8))
def test_what_the_refusal_says_to_write_is_accepted(tokenizer: Tokenizer, text: str) -> None:
    try:
        Given.of(text, tokenizer)
    except DataError as error:
        said = str(error)
        if "; write '" in said and "\n" not in said:
            Given.of(said.split("; write '")[1].rpartition("', or train with")[0], tokenizer)


def byte_level(prefix: bool = False) -> Tokenizer:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    return trained(backend, alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))


def trained(backend: Backend, alphabet: list[str] | None = None) -> Tokenizer:
    trainer = backend.model.get_trainer()
    trainer.special_tokens = ["<eos>", "<unk>"]
    trainer.show_progress = False
    trainer.vocab_size = 400
    if alphabet:
        trainer.initial_alphabet = alphabet
    backend.train_from_iterator([TEXT] * 9, trainer)
    return Tokenizer.of(backend)


def metaspace() -> Tokenizer:
    backend = Backend(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return trained(backend)


def llama() -> Tokenizer:
    backend = Backend(models.BPE(unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return trained(backend)


def unigram() -> Tokenizer:
    backend = Backend(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        special_tokens=["<eos>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator([TEXT] * 9, trainer)
    return Tokenizer.of(backend)


def word_piece() -> Tokenizer:
    backend = Backend(models.WordPiece(unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    return trained(backend)


def words() -> Tokenizer:
    spaced = "The list of dogs ( a cat ) is returned . It barked at a small park , the man did n't ."
    return Tokenizer.train([spaced], "words")


MAKERS = (byte_level, lambda: byte_level(True), metaspace, llama, unigram, word_piece, words)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "form",
    [
        "The list [4] is returned.",
        "[3] barked.",
        "a ([2])",
        "The [2] barked.",
        "It [3], the man [2].",
        "The dog[3].",
        "[2] ([1]).",
        "It barked at a [2]park.",
        "[4]",
        "The [1] [2] park.",
        "The man ([2]) is a cat",
    ],
)
def test_forms_written_as_text_give_text(form: str, make: Any) -> None:
    tokenizer = make()
    if (
        "dog" in form
        and tokenizer.backend.token_to_id("dogs") is not None
        and not tokenizer.facts.keeps_spaces
    ):
        form = form.replace("dog", "dogs")
    pattern = Pattern.parse(form, tokenizer)
    gaps = form.count("[")
    stretches = [part.partition("]")[2] if "]" in part else part for part in form.split("[")]
    inner = tokenizer.encode_inside(" man")[0]
    for seed in range(3):
        row = pattern.row(pattern.lengths()[0], mask_id=tokenizer.vocab_size, eos_id=tokenizer.eos_id)
        tokens = [inner[-1] if token == tokenizer.vocab_size else token for token in row]
        steps = torch.tensor([[0 if token == tokenizer.vocab_size else -1 for token in row]])
        samples = Samples(torch.tensor([tokens]), steps, steps + 1, nfe=1, calls=ONE_CALL, passes=ONE_CALL)
        (text,) = controlled(tokenizer, [samples], [None], given=pattern.given).texts
        assert holds([stretch for stretch in stretches if stretch.strip() or not stretch], text), text
        assert "  " not in text
        assert " ." not in text
        assert "( " not in text or tokenizer.facts.keeps_spaces, (
            "where tokens have no spaces, the form has them"
        )
        assert len(stretches) == gaps + 1
        random_text = fill(pattern, tokenizer, seed).texts[0]
        assert holds([stretch for stretch in stretches if stretch.strip() or not stretch], random_text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("The list 😀 [2]", "😀"),
        ("a\u200bcat [2]", r"U\+200B"),
        ("☃ [2]", "☃"),
        ("The <eos> [2]", "<eos>|'<'"),
        ("ZZZ [2]", "Z"),
    ],
)
@pytest.mark.parametrize("make", [metaspace, unigram, word_piece, words])
def test_characters_that_the_tokenizer_lacks_are_named(text: str, message: str, make: Any) -> None:
    with pytest.raises(DataError, match=message):
        Pattern.parse(text, make())


def test_an_uncased_tokenizer_says_how_to_write_a_text() -> None:
    backend = Backend(models.WordLevel({"<unk>": 0, "<eos>": 1, "the": 2, "cafe": 3}, unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer = Tokenizer.of(backend)
    with pytest.raises(
        DataError, match=r"as 'the cafe' \(it lower-cases and strips accents\) and does not keep 'T'"
    ):
        Pattern.parse("The café [2]", tokenizer)
    assert Pattern.parse("the cafe [2]", tokenizer).parts[0] == (2, 3)


def test_cases_of_users(shared_data: Path) -> None:
    """As reported: ends of Llama 3, a cased vocab.txt, a BPE without unknown token, byte fallback."""
    cases = shared_data.parent / "cases"
    if not (cases / "48-tok-byte-fallback").is_dir():
        pytest.skip("needs the cases")
    llama3 = Tokenizer.load(cases / "43-tok-llama3-ends")
    assert llama3.backend.id_to_token(llama3.eos_id) == "<|end_of_text|>"
    cased = Tokenizer.load(cases / "45-tok-cased-vocab-txt")
    assert cased.facts.changes == ()
    lossy = Tokenizer.load(cases / "46-tok-bpe-no-unk")
    with pytest.raises(DataError, match="'春'"):
        Pattern.parse("The 春 [2].", lossy)
    with pytest.raises(DataError, match="😀"):
        Keywords.of(["tree", "😀"], 9, lossy)
    fallback = Tokenizer.load(cases / "48-tok-byte-fallback")
    text = json.loads((cases / "48-tok-byte-fallback" / "emoji.jsonl").read_text("utf-8").splitlines()[0])[
        "text"
    ]
    ids, _ = fallback.encode(text)
    assert "".join(fallback.pieces(ids)) == fallback.decode(ids) == text
    made = fill(Pattern.parse("The 😀 [3] 春天.", fallback), fallback, 0)
    assert holds(["The 😀 ", " 春天."], made.texts[0])


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_a_character_of_four_tokens_is_shown_at_the_last_that_is_filled(order: tuple[int, ...]) -> None:
    tokenizer = byte_level()
    ids, _ = tokenizer.encode("😀")
    samples = Samples(
        torch.tensor([ids]),
        torch.tensor([order]),
        torch.arange(4)[None],
        nfe=4,
        calls=torch.tensor([4]),
        passes=torch.tensor([4]),
    )
    record = trajectory(samples, tokenizer, parser=None, title="", num_steps=4, seed=0)
    pieces = record["samples"][0]["pieces"]
    assert [piece["text"] for piece in pieces if piece["step"] == 4] == ["😀"]
    assert "".join(piece["text"] for piece in pieces) == "😀"


def test_gaps_and_given_tokens_are_what_they_were() -> None:
    parts = Pattern.parse("The list [4] is returned.", byte_level()).parts
    assert [isinstance(part, Gap) for part in parts] == [False, True, False]
    assert byte_level().decode(parts[2]) == " is returned."


@pytest.mark.parametrize("make", MAKERS)
def test_a_model_fills_forms_and_continues_beginnings(make: Any) -> None:
    """The real sampler and an untrained model: texts, pieces and the pages' record say the same."""
    tokenizer = make()
    torch.manual_seed(0)
    head = AutoregressiveHead(tokenizer.vocab_size, 16)
    model = Denoiser(Trunk(16, depth=1, num_heads=2), head).eval()
    corruption = TokenMasking(mask_id=tokenizer.vocab_size)
    generator = torch.Generator().manual_seed(0)
    form = "The list ([2-3]) barked at a [2] park."
    made = infill(model, corruption, tokenizer, AncestralSampler(2), form, num_samples=3, generator=generator)
    for text, pieces, samples in zip(made.texts, made.pieces, made.samples, strict=True):
        assert holds(["The list (", ") barked at a ", " park."], text)
        record = trajectory(samples, tokenizer, [pieces], parser=None, title="", num_steps=2, seed=0)
        (shown,) = record["samples"]
        assert shown["text"] == text == "".join(piece["text"] for piece in shown["pieces"])
    words = Keywords.of(["list", "a small"], 12, tokenizer)
    made = with_keywords(
        model, corruption, tokenizer, AncestralSampler(2), words, tries=2, generator=generator
    )
    assert holds(["", "list", "a small", ""], made.texts[0])
    pipeline = TextDiffusionPipeline(model, tokenizer, corruption, sequence_length=40)
    assert (
        pipeline(1, prefix="The list (a", length=25, generator=generator).texts[0].startswith("The list (a")
    )
    assert holds(["The ", " park."], pipeline(1, infill="The [2] park.", generator=generator).texts[0])
