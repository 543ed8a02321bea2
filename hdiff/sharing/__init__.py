"""Sharing: models as folders that load with torch, safetensors and tokenizers alone."""

from hdiff.sharing.description import FORMAT_VERSION, ModelDescription
from hdiff.sharing.pretrained import PretrainedModel

__all__ = ["FORMAT_VERSION", "ModelDescription", "PretrainedModel"]
