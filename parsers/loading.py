"""load_parser: the parser that a specification names, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from typing import Any

from hdiff.errors import ParserError, nearest
from hdiff.plugins import import_class, load_plugin, plugin_names

from .base import Parser

PARSERS: dict[str, str] = {
    "spacy": ".spacy_parser:SpacyParser",
    "benepar": ".benepar_parser:BeneparParser",
    "auto": ".auto_parser:AutoParser",
    "plain": ".plain:PlainParser",
    "python": ".python_source:PythonParser",
    "treebank": ".treebank:TreebankParser",
    "random": ".controls:RandomTrees",
    "balanced": ".controls:BalancedTrees",
    "right_branching": ".controls:RightBranchingTrees",
    "shuffled": ".controls:ShuffledTrees",
}
"""Name -> module:class, imported on first use."""

CONTROLS = ("random", "balanced", "right_branching", "shuffled")
"""Parsers that take words from another one."""


def load_parser(spec: str, *, annotations: Collection[str] = ()) -> Parser:
    """The parser a specification names.

    Args:
        spec: A name from `PARSERS` or of a plugin (`hdiff.plugins`), with a model after a colon where the
            parser takes one: `plain`, `spacy`, `spacy:en_core_web_lg`, `spacy:path/to/model`; or a class of
            your own, `mypackage.module:Class`, with `:MODEL` after it where it takes one. `treebank:PATH`
            gives gold trees; `random:SPEC`, `balanced:SPEC`, `right_branching:SPEC` and `shuffled:SPEC` are
            controls over the words of another parser. Options of a parser stand between its name and the
            colon: `spacy+no-layout+single-words:en_core_web_lg` (see its `options`).
        annotations: What its trees must tell of each word besides spans, out of `heads` and `entities`.

    Returns:
        The parser, its model loaded.

    Raises:
        ParserError: If the name is unknown, the parser takes no model or gives no such annotation, or
            the model is missing.
    """
    name, colon, model = spec.partition(":")
    name, *flags = name.split("+")
    parser_class: type[Parser]
    if model[:1].isupper() and name not in (*PARSERS, *plugin_names("parser")):  # module:Class[:MODEL]
        class_name, colon, model = model.partition(":")
        parser_class = _own_class(name, class_name)
    elif name not in PARSERS:
        parser_class = _offered_class(name)
    else:
        module, _, class_name = PARSERS[name].partition(":")
        parser_class = getattr(import_module(module, __package__), class_name)
    for annotation in annotations:
        if annotation not in parser_class.annotations:
            given = ", ".join(parser_class.annotations) or "none"
            raise ParserError(
                f"parser '{name}' gives no {annotation} (it gives {given}); "
                "take another parser, for example spacy, or a salience that does without"
            )
    options: dict[str, Any] = {"annotations": tuple(annotations)} if annotations else {}
    options |= dict(_option(parser_class, name, flag) for flag in flags)
    if not colon:
        return parser_class(**options)
    if not parser_class.takes_model:
        raise ParserError(f"parser '{name}' takes no model, got '{model}'; write just '{name}'")
    if not model:
        raise ParserError(f"parser '{spec}' names no model after the colon; write '{name}' or '{name}:MODEL'")
    return parser_class(model, **options)  # type: ignore[call-arg]


def with_options(spec: str, *flags: str) -> str:
    """A specification with options; those of a control go to the parser whose words it takes."""
    name, colon, model = spec.partition(":")
    if name in CONTROLS:
        return f"{name}:{with_options(model or 'spacy', *flags)}"
    given = name.split("+")
    return "+".join([*given, *(flag for flag in flags if flag not in given)]) + colon + model


def _option(parser_class: type[Parser], name: str, flag: str) -> tuple[str, bool]:
    """The argument that a flag sets: `no-layout` sets layout to False."""
    if flag not in parser_class.options:
        known = ", ".join(parser_class.options) or "none"
        raise ParserError(
            f"parser '{name}' has no option '{flag}'; its options are {known}: leave out '+{flag}'"
        )
    argument = flag.removeprefix("no-").replace("-", "_")
    return argument, not flag.startswith("no-")


def _offered_class(name: str) -> type[Parser]:
    offered: type[Parser] | None = load_plugin("parser", name, Parser, error=ParserError)
    if offered is None:
        known = sorted({*PARSERS, *plugin_names("parser")})
        raise ParserError(f"unknown parser '{name}'{nearest(name, known)} (parsers are {', '.join(known)})")
    return offered


def _own_class(module: str, class_name: str) -> type[Parser]:
    own = import_class(f"{module}:{class_name}", what="parser", error=ParserError)
    if not (isinstance(own, type) and issubclass(own, Parser)):
        raise ParserError(f"'{module}:{class_name}' is no parser; subclass hdiff.parsers.Parser")
    return own
