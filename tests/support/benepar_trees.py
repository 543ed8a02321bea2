"""Trees that a small benepar model learns."""

from __future__ import annotations

import random
from typing import Any

from hdiff.parsers.brackets import clean, parse_brackets, to_span_tree
from hdiff.structure import SpanTree

SMALL: dict[str, Any] = {
    "epochs": 12,
    "batch_size": 16,
    "learning_rate": 4e-3,
    "warmup_steps": 10,
    "d_model": 64,
    "num_layers": 1,
    "num_heads": 2,
    "d_kv": 16,
    "d_ff": 64,
    "d_label_hidden": 32,
    "d_char": 16,
    "dropout": 0.0,
    "max_length": 24,
}


def brackets(number: int) -> str:
    """A sentence of a small grammar."""
    choose = random.Random(number)

    def noun_phrase(depth: int) -> str:
        adjective = f"(JJ {choose.choice(['old', 'big', 'red'])}) " if choose.random() < 0.5 else ""
        noun = choose.choice(["dog", "cat", "park", "tree"])
        base = f"(NP (DT {choose.choice(['the', 'a'])}) {adjective}(NN {noun}))"
        if depth and choose.random() < 0.4:
            return f"(NP {base} (PP (IN {choose.choice(['in', 'near'])}) {noun_phrase(depth - 1)}))"
        return base

    verb = choose.choice(["saw", "liked", "heard"])
    if choose.random() < 0.2:
        return "(S (VP (VB go)) (. .))"
    return f"(S {noun_phrase(1)} (VP (VBD {verb}) {noun_phrase(1)}) (. .))"


def trees(numbers: range) -> list[SpanTree]:
    nodes = parse_brackets([brackets(number) for number in numbers], where="grammar")
    return [to_span_tree(node) for node in map(clean, nodes) if node is not None]
