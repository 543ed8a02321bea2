"""Checks the alignment of spans to tokens on every text of a folder of corpora; prints one JSON object.

Usage: python recipes/benchmarks/alignment.py DATA [--every 1] [--characters N]

DATA holds a folder per corpus: .txt (documents between blank lines), .jsonl (text, or the sentences of
minimal pairs), .tsv (first column), .ptb with .conllu beside it (gold trees) and .conllu (gold dependencies).
Tokenizers: those of DATA/tokenizers (GPT-2's byte-level BPE, BERT's WordPiece), and a BPE of characters and a
unigram model that are trained on the texts first. The reference is the definition, token by token: a token
belongs to a span exactly if its first character that is no whitespace does; a token without one goes with the
token before it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import tokenizers

from hdiff.data.alignment import align
from hdiff.data.tokenizer import Tokenizer
from hdiff.parsers import PlainParser
from hdiff.parsers.treebank import dependency_sentences, gold_sentences
from hdiff.structure import SpanTree

GIVEN = ("gpt2", "bert-base-uncased")
TEXT_COLUMNS = ("text", "sentence_good", "sentence_bad")


def trees(file: Path, max_characters: int | None) -> Iterator[SpanTree]:
    """The texts of a file with gold trees, or (cut if need be) with words and sentences only."""
    if file.suffix == ".ptb":
        yield from gold_sentences(file)
    elif file.suffix == ".conllu":
        yield from dependency_sentences(file)
    else:
        yield from PlainParser().parse(text[:max_characters] for text in texts(file))


def texts(file: Path) -> Iterator[str]:
    """The texts of a file without structure."""
    if file.suffix == ".txt":
        yield from (part for part in file.read_text(encoding="utf-8").split("\n\n") if part.strip())
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if file.suffix == ".tsv":
                yield line.split("\t")[0]
            else:
                row = json.loads(line)
                yield from (row[column] for column in TEXT_COLUMNS if column in row)


def trained(kind: str, sample: Sequence[str], folder: Path) -> Tokenizer:
    """A BPE of characters, or a unigram model, as they are found in the wild."""
    if kind == "unigram":
        backend = tokenizers.Tokenizer(tokenizers.models.Unigram())
        backend.normalizer = tokenizers.normalizers.NFKC()
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
        trainer = tokenizers.trainers.UnigramTrainer(
            vocab_size=4000, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
        )
    else:
        backend = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        backend.normalizer = tokenizers.normalizers.Sequence(
            [
                tokenizers.normalizers.NFD(),
                tokenizers.normalizers.Lowercase(),
                tokenizers.normalizers.StripAccents(),
            ]
        )
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=4000,
            special_tokens=["<unk>", "</s>"],
            end_of_word_suffix="</w>",
            show_progress=False,
        )
    backend.train_from_iterator(sample, trainer)
    path = folder / f"{kind}.json"
    backend.save(str(path))
    return Tokenizer.load(path)


def mismatches(tree: SpanTree, tokenizer: Tokenizer) -> tuple[int, int]:
    """(tokens, spans that do not hold exactly the tokens that they should)."""
    _, offsets = tokenizer.encode(tree.text)
    aligned = align(tree, offsets)
    anchors: list[int] = []
    for start, end in offsets:
        own = next((place for place in range(start, end) if not tree.text[place].isspace()), -1)
        anchors.append(max(own, anchors[-1] if anchors else -1))
    first = next((anchor for anchor in anchors if anchor >= 0), -1)
    anchors = [first if anchor < 0 else anchor for anchor in anchors]
    expected = {
        int(kept): (int(start), int(end))
        for kept, start, end in zip(aligned.kept, aligned.starts, aligned.ends, strict=True)
    }
    wrong = 0
    by_start = sorted(range(len(tree.spans)), key=lambda number: tree.spans[number].start)
    token = 0
    for number in by_start:
        span = tree.spans[number]
        while token < len(anchors) and anchors[token] < span.start:
            token += 1
        end = token
        while end < len(anchors) and anchors[end] < span.end:
            end += 1
        wrong += expected.get(number) != ((token, end) if end > token else None)
    return len(offsets), wrong


def main() -> None:
    """Runs what the arguments ask for."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--every", type=int, default=1, help="take every n-th text only")
    arguments.add_argument("--characters", type=int, help="cut texts without gold after so many")
    chosen = arguments.parse_args()
    files = sorted(
        file
        for file in chosen.data.glob("*/*")
        if file.suffix in (".txt", ".jsonl", ".tsv", ".ptb", ".conllu")
        and file.name not in ("LICENSE.txt", "vocab.txt")
        and not file.name.endswith(".ids.tsv")
        and not (file.suffix in (".txt", ".conllu") and file.with_suffix(".ptb").exists())
    )
    sample = [
        text for file in files if file.suffix in (".txt", ".jsonl") for text in islice(texts(file), 300)
    ]
    result: dict[str, dict[str, dict[str, int]]] = {}
    with tempfile.TemporaryDirectory() as name:
        models = {kind: trained(kind, sample, Path(name)) for kind in ("bpe", "unigram")}
        models |= {kind: Tokenizer.load(chosen.data / "tokenizers" / kind) for kind in GIVEN}
        for file in files:
            counts = result.setdefault(file.parent.name, {})
            for tree in islice(trees(file, chosen.characters), 0, None, chosen.every):
                for kind, tokenizer in models.items():
                    tokens, wrong = mismatches(tree, tokenizer)
                    row = counts.setdefault(
                        kind, dict.fromkeys(("texts", "tokens", "spans", "mismatches"), 0)
                    )
                    row["texts"] += 1
                    row["tokens"] += tokens
                    row["spans"] += len(tree.spans)
                    row["mismatches"] += wrong
            print(file.parent.name, file.name, json.dumps(counts), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
