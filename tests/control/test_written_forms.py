"""Forms written as text give text, for tokenizers of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from filled_text import ONE_CALL, fill, holds, words
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from hdiff.control import Gap, Keywords, Pattern, infill, with_keywords
from hdiff.control.candidates import controlled
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

TEXT = (
    "The list of the old dogs (a cat) is returned. It barked at a (small) park, and the man didn't sleep.\n"
)


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
