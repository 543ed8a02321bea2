"""Audit: whether a corruption and a head hold the mathematics they stand for."""

from hdiff.audit.audit import BUILT_IN, FAMILIES, audit, audit_one
from hdiff.audit.checks import Check
from hdiff.audit.exact import ExactDenoiser
from hdiff.audit.language import AuditLanguage
from hdiff.audit.loss import LossReport, audit_loss

__all__ = [
    "BUILT_IN",
    "FAMILIES",
    "AuditLanguage",
    "Check",
    "ExactDenoiser",
    "LossReport",
    "audit",
    "audit_loss",
    "audit_one",
]
