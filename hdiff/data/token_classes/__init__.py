"""Classes of token ids, learned in the training split: for heads, soft masking and supervision."""

from hdiff.data.token_classes.base import TokenClasses
from hdiff.data.token_classes.clustering import shuffled_classes
from hdiff.data.token_classes.neighbours import Clusters, RandomClasses
from hdiff.data.token_classes.syntax import Both, PartsOfSpeech, Syntax

CLASSES: dict[str, type[TokenClasses]] = {
    "syntax": Syntax,
    "clusters": Clusters,
    "both": Both,
    "parts_of_speech": PartsOfSpeech,
    "random": RandomClasses,
}

__all__ = [
    "CLASSES",
    "Both",
    "Clusters",
    "PartsOfSpeech",
    "RandomClasses",
    "Syntax",
    "TokenClasses",
    "shuffled_classes",
]
