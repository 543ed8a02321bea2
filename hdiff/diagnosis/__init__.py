"""Diagnosis: frequency collapse and the marginal trap of any masked language model."""

from hdiff.diagnosis.diagnosis import Diagnosis, diagnose
from hdiff.diagnosis.frequency_collapse import FrequencyCollapse, measure_frequency_collapse
from hdiff.diagnosis.held_out import HeldOut
from hdiff.diagnosis.marginal_trap import PairFigures, measure_pairs
from hdiff.diagnosis.masked_model import JointModel, MaskedModel, MaskedSubject

__all__ = [
    "Diagnosis",
    "FrequencyCollapse",
    "HeldOut",
    "JointModel",
    "MaskedModel",
    "PairFigures",
    "MaskedSubject",
    "diagnose",
    "measure_frequency_collapse",
    "measure_pairs",
]
