"""A benepar model while it is trained here: made, scored on gold trees, exported for plain benepar.

Source: Kitaev and Klein, "Constituency parsing with a self-attentive encoder" (2018); Kitaev, Cao and Klein,
"Multilingual constituency parsing with self-attention and pre-training" (2019).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdiff.structure import Span, SpanTree

from .benepar_examples import Example, found_spans
from .benepar_repairs import clear_errors
from .benepar_settings import TrainingSettings
from .evalb import BracketScore


def new_model(examples: Sequence[Example], settings: TrainingSettings) -> Any:
    from benepar.char_lstm import RetokenizerForCharLSTM
    from benepar.decode_chart import ChartDecoder
    from benepar.nkutil import HParams
    from benepar.parse_chart import ChartParser

    trees = [example.tree for example in examples]
    hparams = HParams(
        use_chars_lstm=settings.encoder is None,
        use_pretrained=settings.encoder is not None,
        pretrained_model=settings.encoder or "",
        use_encoder=True,
        d_model=settings.d_model,
        d_char_emb=settings.d_char,
        char_lstm_input_dropout=settings.dropout,
        morpho_emb_dropout=settings.dropout,
        encoder_max_len=settings.max_length,
        num_heads=settings.num_heads,
        d_kv=settings.d_kv,
        d_ff=settings.d_ff,
        relu_dropout=settings.dropout / 2,
        residual_dropout=settings.dropout,
        attention_dropout=settings.dropout,
        num_layers=settings.num_layers,
        d_label_hidden=settings.d_label_hidden,
        d_tag_hidden=settings.d_label_hidden,
        predict_tags=False,
        tag_loss_scale=1.0,
        force_root_constituent=ChartDecoder.infer_force_root_constituent(trees),
    )
    labels = ChartDecoder.build_vocab(trees)
    characters = RetokenizerForCharLSTM.build_vocab([example.words for example in examples])
    with clear_errors(settings.encoder or "of characters"):
        return ChartParser({"UNK": 0}, labels, characters, hparams)


def score_trees(model: Any, gold: Sequence[SpanTree], *, tokens: int = 2000) -> dict[str, float]:
    """Bracket scores of a benepar model on gold words; sentences too long for it count as not found."""
    score = BracketScore()
    labels = model.decoder.label_from_index
    for first in range(0, len(gold), 256):
        part = [Example(tree) for tree in gold[first : first + 256]]
        short = [example for example in part if len(example.words) <= _longest(model)]
        outputs = model.parse(short, return_compressed=True, subbatch_max_tokens=tokens)
        by_tree: dict[int, list[Span]] = {}
        for example, parsed in zip(short, outputs, strict=True):
            chains = [labels[number].split("::") if number else [] for number in parsed.labels]
            by_tree[id(example)] = found_spans(example.gold.words, parsed.starts, parsed.ends, chains)
        for example in part:
            spans = [*by_tree.get(id(example), []), *example.gold.words]
            score.add(example.gold, SpanTree.build(example.gold.text, spans))
    return score.to_dict()


def export(model: Any, settings: TrainingSettings, output: Path) -> Path:
    """Writes a model as benepar reads it.

    Args:
        model: A benepar ChartParser.
        settings: What it was trained with.
        output: Folder. A character model becomes `model.pt` in it; one with a pretrained encoder becomes the
            folder `model` with `benepar_model.bin`, the encoder's configuration and its tokenizer.

    Returns:
        What to give benepar.
    """
    config = {key: value for key, value in model.config.items() if not key.startswith("_")}
    weights = {key: value.cpu() for key, value in model.state_dict().items()}
    if model.pretrained_model is None:
        path = output / "model.pt"
        write_aside(path, {"config": config, "state_dict": weights})
        return path
    folder = output / "model"
    folder.mkdir(exist_ok=True)
    config["hparams"] = {**config["hparams"], "pretrained_model": ""}  # the folder holds the encoder
    encoder_config = model.pretrained_model.config
    encoder_config.benepar = config
    encoder_config.save_pretrained(folder)
    del encoder_config.benepar
    model.retokenizer.tokenizer.save_pretrained(folder)
    write_aside(folder / "benepar_model.bin", weights)
    return folder


def _longest(model: Any) -> int:
    return int(model.add_timing.timing_table.shape[0]) - 2


def write_aside(path: Path, value: Any) -> None:
    """Saves a value aside and renames the file."""
    import torch

    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            torch.save(value, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
