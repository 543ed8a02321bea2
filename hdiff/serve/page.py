"""page: the HTML of the model, and the files it asks for. All of it comes from this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hdiff import __version__
from hdiff.control.literal import literal_tokens
from hdiff.control.skeleton import skeleton_labels
from hdiff.errors import DataError
from hdiff.pages.page import TEMPLATES, embed_json
from hdiff.pages.report_text import count
from hdiff.serve.abilities import labels_of, refusals
from hdiff.serve.requests import MOST_CHARACTERS, MOST_SAMPLES, MOST_STEPS, MOST_TRIES
from hdiff.serve.served_run import ServedRun
from hdiff.shipped import is_builtin, model_name

if TYPE_CHECKING:
    from hdiff.data.prepared import PreparedData

STORY = "A little girl and her dog ran to the garden when they saw a red butterfly."
"""For a model of stories."""
EXAMPLE = "The old dog that barked all night slept in the warm kitchen."
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript"}
SCRIPTS = ("page.js", "serve_film.js", "serve_tree.js", "serve.js")
SHEETS = ("page.css", "serve.css")
_WORDS_OF_EXAMPLE = 8
_MOST_TEXTS, _MOST_CHARACTERS, _MOST_TOKENS = 20, 2_000, 32
"""Texts that are searched for an example, characters of each, tokens of the example."""


def assets() -> dict[str, tuple[bytes, str]]:
    """Name -> content and media type of every file the page asks for."""
    return {
        name: ((TEMPLATES / name).read_bytes(), MEDIA_TYPES[name[name.rindex(".") :]])
        for name in (*SHEETS, *SCRIPTS)
    }


def page(run: ServedRun) -> str:
    """The page of a model; everything that comes from the model's folder is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    refused, example = refusals(run), _example(run)
    return environment.get_template("serve.html").render(
        title=run.recipe.name,
        summary=_summary(run),
        facts=_facts(run),
        notes=run.notes,
        example=example,
        keywords=_keywords(example),
        refused=refused,
        has_control=not all(refused[kind] for kind in ("infill", "keywords", "skeleton")),
        labels=[] if run.is_autoregressive else skeleton_labels(run.corruption, labels_of(run))[:24],
        length=run.recipe.data.sequence_length,
        most={
            "characters": MOST_CHARACTERS,
            "samples": MOST_SAMPLES,
            "steps": MOST_STEPS,
            "tries": MOST_TRIES,
        },
        sheets=SHEETS,
        scripts=SCRIPTS,
        version=__version__,
        data=embed_json({"refused": refused}),
    )


def _summary(run: ServedRun) -> str:
    if run.is_autoregressive:
        return "An autoregressive language model, which judges the texts of others"
    return (
        f"A diffusion language model: corruption {run.recipe.corruption['kind']}, head "
        f"{run.recipe.head['kind']}"
    )


def _facts(run: ServedRun) -> list[tuple[str, str]]:
    data: dict[str, Any] = run.record.get("data") or {}
    value, label = run.bound or ("not evaluated", "Bound")
    pairs = [
        ("Data", data.get("source") or "not recorded"),
        (label, value),
        ("Parameters", count(run.num_parameters)),
        ("Sampler", None if run.is_autoregressive else _sampler(run)),
        ("Updates", f"{run.record['steps']:,}" if run.record.get("steps") else None),
        ("Commit", run.record.get("commit") or "an installed package"),
    ]
    return [(name, str(text)) for name, text in pairs if text]


def _sampler(run: ServedRun) -> str:
    spec = run.recipe.evaluation.sampler or run.corruption.unconditional().plain_sampler()
    return str(spec["kind"])


def _example(run: ServedRun) -> str:
    """A sentence in words of the model: one of its own validation text, where that is at hand."""
    sentence = "" if run.prepared is None else _own_sentence(run, run.prepared)
    if sentence:
        return sentence
    example = STORY if is_builtin(model_name(run.folder.path)) else EXAMPLE
    try:
        literal_tokens(example, run.tokenizer)
    except DataError:
        return ""
    return example


def _keywords(sentence: str) -> str:
    """The two longest words of a sentence, in its order."""
    words = [word.strip(".,!?'") for word in sentence.split()]
    longest = sorted(range(len(words)), key=lambda place: (len(words[place]), place))[-2:]
    return ", ".join(words[place] for place in sorted(longest))


def _own_sentence(run: ServedRun, prepared: PreparedData) -> str:
    """The first sentence that fits a screen; of text without sentences the first words."""
    split = prepared.split("validation")
    for index in range(0, len(split), max(1, len(split) // _MOST_TEXTS)):
        text: str = split[index]["text"][:_MOST_CHARACTERS]
        for tree in [] if run.parser is None else run.parser.parse([text]):
            for span in tree.at("sentence"):
                sentence = text[span.start : span.end]
                if _fits(sentence) and len(run.tokenizer.encode(sentence)[0]) <= _MOST_TOKENS:
                    return sentence
    return " ".join(split[0]["text"].split()[:_WORDS_OF_EXAMPLE])


def _fits(text: str) -> bool:
    is_whole = text[:1].isupper() and text[-1:] in ".!?" and text.isprintable()
    is_prose = all(character.isalnum() or character in " ,.!?-'" for character in text)
    return is_whole and is_prose and _WORDS_OF_EXAMPLE <= len(text.split()) <= 2 * _WORDS_OF_EXAMPLE
