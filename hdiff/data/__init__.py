"""Corpora, tokenizers, alignment, packing and batches. Import the file you need; this one loads nothing."""
