"""Control without a classifier: what is asked for is given, the model fills in the rest."""

from hdiff.control.candidates import Controlled
from hdiff.control.keywords import Keywords, with_keywords
from hdiff.control.pattern import Gap, Pattern, infill
from hdiff.control.rewrite import rewrite, rewriting_pattern
from hdiff.control.skeleton import Skeleton, follow_skeleton

__all__ = [
    "Controlled",
    "Gap",
    "Keywords",
    "Pattern",
    "Skeleton",
    "follow_skeleton",
    "infill",
    "rewrite",
    "rewriting_pattern",
    "with_keywords",
]
