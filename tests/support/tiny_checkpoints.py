"""Tiny checkpoints as transformers saves them: random weights, tokenizers built here."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

TEXT = "The old dog ran to the park. She likes the big house and he likes apples. " * 60
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_pieces(folder: Path, *, masked: bool = True) -> int:
    """Saves a WordPiece tokenizer as BERT has it, and returns its size."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    words = sorted({*TEXT.lower().replace(".", " ").split(), ".", "app", "##les"} - {"apples"})
    vocabulary = {piece: number for number, piece in enumerate([*SPECIALS, *words])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if masked:
        names["mask_token"] = "[MASK]"
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
    return len(vocabulary)


def byte_pieces(folder: Path, *, mask: str | None) -> int:
    """Saves a byte-level tokenizer as Llama-like models have it, and returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|mdm_mask|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([TEXT], trainer)
    names = {"eos_token": "<|endoftext|>", **({"mask_token": mask} if mask else {})}
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
    return backend.get_vocab_size()


def bert_config(size: int) -> transformers.BertConfig:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    shape["initializer_range"] = 0.5  # alive: what is visible must matter
    return transformers.BertConfig(vocab_size=size, max_position_embeddings=40, **shape)


def make_bert(folder: Path, *, masked: bool = True) -> str:
    size = word_pieces(folder, masked=masked)
    torch.manual_seed(0)
    transformers.BertForMaskedLM(bert_config(size)).save_pretrained(folder)
    return f"hf:{folder}"


def make_llama(folder: Path, *, is_causal: bool, mask: str | None = "<|mdm_mask|>", **more: int) -> str:
    size = byte_pieces(folder, mask=mask)
    config = transformers.LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        is_causal=is_causal,
        initializer_range=0.5,
        **more,
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return f"hf:{folder}"
