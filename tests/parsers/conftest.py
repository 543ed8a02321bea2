"""Fixtures of the parser tests: a real spaCy pipeline, loaded once."""

from __future__ import annotations

import pytest

from hdiff.parsers import SpacyParser


@pytest.fixture(scope="session")
def spacy_parser() -> SpacyParser:
    """The first installed English model."""
    return SpacyParser()
