"""Supervision: what the trunk learns of a text's structure while it is trained, and never uses afterwards."""

from hdiff.supervision.base import Supervision, without_supervision
from hdiff.supervision.labels import LabelSupervision
from hdiff.supervision.tree_regularization import TreeRegularization

SUPERVISIONS: dict[str, type[Supervision]] = {
    "labels": LabelSupervision,
    "tree_regularization": TreeRegularization,
}

__all__ = [
    "SUPERVISIONS",
    "LabelSupervision",
    "Supervision",
    "TreeRegularization",
    "without_supervision",
]
