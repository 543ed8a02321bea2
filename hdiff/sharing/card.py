"""model_card: README.md of a shared model, from what its run recorded; no figure that was not measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hdiff.evaluation.perplexity import perplexity_text, shown, what_is_bounded
from hdiff.evaluation.reading import best_process, parallel_cost
from hdiff.plugins import plugin_packages
from hdiff.runs.record import RunRecord
from hdiff.sharing.description import ModelDescription, classes_of_others, loading_arguments

_DATA_LICENCES = {
    "builtin:pydoc": "PSF-2.0 (the manual of Python, which ships inside CPython)",
    "builtin:stories-text": "CDLA-Sharing-1.0 (TinyStories, arXiv:2305.07759)",
    "builtin:stdlib": "PSF-2.0 (the standard library of CPython, of the version that prepared it)",
    "builtin:phrase_bank": "none needed: random phrases that hdiff makes",
    "builtin:list_operations": "none needed: random tasks that hdiff makes",
}
_PARSER_KEYS = ("name", "model")


@dataclass(frozen=True)
class CardOptions:
    """What a run does not know.

    Attributes:
        license: Licence of the weights, an identifier of the hub such as `apache-2.0`; None: not said.
        data_license: Licence of the training text; None takes that of a built-in corpus, or says that it is
            not known.
    """

    license: str | None = None
    data_license: str | None = None


def model_card(
    description: ModelDescription, record: RunRecord, samples: Sequence[str], options: CardOptions
) -> str:
    """Text of README.md: Markdown with the metadata of the hub in front."""
    parts = [
        _metadata(options),
        f"# {description.name}",
        _summary(description, record),
        "## Use\n\n" + _use(description, is_generator=bool(samples)),
        "## Data\n\n" + _list(_data_facts(record, options)),
        "## Likelihood\n\n" + _likelihood(record.evaluation),
        "## Samples\n\n" + _samples(samples),
        "## Limits\n\n" + _limits(description, record),
        "## Recipe\n\n```yaml\n" + _recipe(record.recipe) + "```",
        "## Provenance\n\n" + _list(_provenance(record)),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(options: CardOptions) -> str:
    values: dict[str, Any] = {
        "library_name": "hdiff",
        "tags": ["diffusion-language-model", "text-generation"],
    }
    if options.license is not None:
        values["license"] = options.license
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---"


def _summary(description: ModelDescription, record: RunRecord) -> str:
    size = (record.run.get("parameters") or {}).get("total")
    kind = "An autoregressive" if description.model.kind == "autoregressive" else "A diffusion"
    parameters = f" of {size:,} parameters" if size else ""
    start = description.model.pretrained
    origin = (
        "" if start is None else f" Its first weights are those of `{start}`, whose licence holds as well."
    )
    return (
        f"{kind} language model{parameters}: corruption `{description.corruption['kind']}`, head "
        f"`{description.head['kind']}`, {description.vocab_size:,} tokens, rows of "
        f"{description.sequence_length}. Made with hdiff {description.hdiff_version}.{origin}"
    )


def _use(description: ModelDescription, *, is_generator: bool) -> str:
    arguments = loading_arguments(description, "THIS FOLDER")
    if is_generator:
        code = (
            "import torch\nfrom hdiff.sharing.pipeline import TextDiffusionPipeline\n\n"
            f"pipeline = TextDiffusionPipeline.from_pretrained({arguments})\n"
            "generator = torch.Generator().manual_seed(0)\n"
            "print(pipeline(2, generator=generator).texts)"
        )
    else:
        code = (
            "from hdiff.sharing import PretrainedModel\n\n"
            f"pretrained = PretrainedModel.from_pretrained({arguments})"
        )
    return (
        f"```python\n{code}\n```\n\n{_needs(description)} Weights are safetensors; no pickle is read and no "
        f"code of this folder runs."
    )


def _needs(description: ModelDescription) -> str:
    others = ", ".join(_with_package(kind) for kind in classes_of_others(description))
    if description.model.pretrained is not None:
        needs = (
            "Needs hdiff, and transformers, which builds its trunk; install both from the checkout of hdiff: "
            '`pip install ".[transformers]"`.'
        )
    else:
        alone = "" if others else " and nothing more"
        needs = f"Needs hdiff{alone}; install it from its checkout: `pip install .`."
    if not others:
        return needs
    return (
        f"{needs} It also needs {others}, which is not part of hdiff: install the package that offers it, if "
        f"you trust its author, and give commands of hdiff `--component NAME`."
    )


def _with_package(kind: str) -> str:
    packages = plugin_packages(kind)
    return f"`{kind}` (offered by {' and '.join(packages)})" if packages else f"`{kind}`"


def _data_facts(record: RunRecord, options: CardOptions) -> list[tuple[str, Any]]:
    data = record.run.get("data") or {}
    source = str(data.get("source", "not recorded"))
    parser = data.get("parser") or {}
    return [
        ("Text", _without_folders(source)),
        ("Licence of the text", options.data_license or _DATA_LICENCES.get(source, "not known to hdiff")),
        ("Parser", " ".join(_without_folders(str(parser[key])) for key in _PARSER_KEYS if parser.get(key))),
        ("Levels", ", ".join(data.get("levels") or ())),
        ("Training tokens", _whole(data.get("train_tokens"))),
        ("Tokens seen", _whole(record.run.get("tokens_seen"))),
        ("SHA-256 of the prepared data", data.get("sha256")),
    ]


def _likelihood(evaluation: Mapping[str, Any] | None) -> str:
    bound = (evaluation or {}).get("bound")
    if not bound:
        return "Not evaluated; `hdiff eval RUN` before `hdiff export` puts its bound here."
    if bound["kind"] == "exact":
        label = f"Exact {what_is_bounded(bound)}"
    elif bound["conditional_on_structure"]:
        label = "Upper bound on -log p(x_0 | structure), not comparable with -log p(x_0)"
    else:
        label = f"Upper bound on {what_is_bounded(bound)}"
    error = bound.get("stderr")
    spread = f" ± {error:.3f} (standard error)" if error is not None and math.isfinite(error) else ""
    perplexity = f", {words}," if (words := perplexity_text(bound)) else ""
    lines = [
        f"{label}: **{bound['nats_per_token']:.3f}**{spread} nats per token{perplexity} on "
        f"{bound['tokens']:,} held-out tokens. A uniform guess scores {bound['uniform_nats_per_token']:.3f}."
    ]
    curve = (evaluation or {}).get("t_step") or {}
    if curve:
        kind = ((evaluation or {}).get("sampler") or {}).get("kind", "plain")
        steps = sorted(curve, key=int)
        lines += [
            "",
            f"Bound of the sampler `{kind}` in T steps, nats per token:",
            "",
            f"| T | {' | '.join(steps)} |",
            f"|---|{'---|' * len(steps)}",
            f"| bound | {' | '.join(f'{curve[step]:.3f}' for step in steps)} |",
        ]
        if not bound["conditional_on_structure"]:
            cells = " | ".join(shown(curve[step]) for step in steps)
            lines.append(f"| perplexity per token (upper bound) | {cells} |")
    best, cost = best_process([evaluation or {}]), parallel_cost(evaluation or {})
    if curve and best is not None:
        perplexity = f"perplexity (upper bound) {shown(best.nats)}"
        lines += ["", f"Best process: {best.name}, {best.shown} nats per token, {perplexity}."]
    if cost is not None:
        lines += ["", f"Cost of parallel decoding: {cost.meaning}"]
    return "\n".join(lines)


def _samples(samples: Sequence[str]) -> str:
    if not samples:
        return "An autoregressive model of hdiff scores text and writes none."
    texts = "\n\n".join(
        "\n".join(f"    {line}" for line in sample.strip().splitlines()) for sample in samples
    )
    return f"The first {len(samples)} of seed 0, not selected:\n\n{texts}"


def _limits(description: ModelDescription, record: RunRecord) -> str:
    tokens = (record.run.get("data") or {}).get("train_tokens")
    amount = f"{tokens:,} tokens of " if tokens else ""
    start = description.model.pretrained
    others = (
        "nothing else" if start is None else f"whatever `{start}`, whose weights it started from, has read"
    )
    lines = [
        f"It has read {amount}the text above and {others}: it writes in that manner, and what it states is "
        f"not knowledge.",
        "Its figures are per token of its own tokenizer, on held-out text of the same source; they say "
        "nothing about other text and do not compare with other tokenizers.",
        f"It was trained on rows of {description.sequence_length} tokens; longer texts are untested.",
        "It was not tuned to follow instructions or to avoid harm, and may repeat its training text.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _recipe(recipe: str | None) -> str:
    if recipe is None:
        return "# not recorded\n"
    values = yaml.safe_load(recipe)
    return yaml.safe_dump(_shown(values), sort_keys=False, allow_unicode=True)


def _shown(value: Any) -> Any:
    """The same values; of absolute paths, which name the author's machine, the last part is left."""
    if isinstance(value, dict):
        return {key: _shown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner) for inner in value]
    return _without_folders(value) if isinstance(value, str) else value


def _without_folders(text: str) -> str:
    return Path(text).name if Path(text).is_absolute() else text


def _provenance(record: RunRecord) -> list[tuple[str, Any]]:
    run = record.run
    versions = ", ".join(f"{name} {version}" for name, version in (run.get("versions") or {}).items())
    seconds = run.get("train_seconds")
    return [
        ("Commit of hdiff", run.get("commit") or "an installed package"),
        ("Created", run.get("created")),
        ("Seed", run.get("seed")),
        ("Steps", _whole(run.get("steps"))),
        ("Training time", f"{seconds:,.0f} s" if seconds else None),
        ("Versions", versions),
    ]


def _list(facts: Sequence[tuple[str, Any]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts if value not in (None, ""))


def _whole(number: int | None) -> str | None:
    return None if number is None else f"{number:,}"
