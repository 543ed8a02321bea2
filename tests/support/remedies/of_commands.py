"""Cases of remedies: commands."""

from __future__ import annotations

from remedies.situations import (
    INSTALL,
    RUN_OF,
    TRAIN,
    Case,
    ablation,
    both,
    damaged,
    foreign,
    lacks,
    listening,
    written,
)

CASES = [
    Case("hdiff/commands/ablate.py", "{ablation.command}", "ablate TWO --table -q", ablation("two")),
    Case("hdiff/commands/diagnose.py", "--text FILE", "diagnose hf:BERT --prefixes 2 --masks 4 --pairs 2 -q"),
    Case(
        "hdiff/commands/evaluate.py",
        "hdiff prepare {} --out DATA --tokenizer {}",
        "eval SHARED -q",
        after="eval SHARED --data DATA --steps 1 -q",
    ),
    Case(
        "hdiff/commands/options.py",
        "--sampler '{kind: confidence, threshold: 0.9}'",
        "sample TOKENS --num 1 --sampler '{order: random}' -q",
    ),
    Case("hdiff/control/candidates.py", "--steps {}", "sample TOKENS --num 1 --length 8 --steps 9 -q"),
    Case(
        "hdiff/control/candidates.py", "--steps {}", "sample TOKENS --num 1 --infill 'The [2]' --steps 3 -q"
    ),
    Case(
        "hdiff/control/skeleton.py",
        "--sampler coarse_to_fine",
        "sample CASCADE --num 1 --skeleton 'NOUN:2' --sampler ancestral -q",
    ),
    Case("hdiff/control/skeleton.py", "--skeleton '{}'", "sample CASCADE --num 1 --skeleton 'NP:2 NN:1' -q"),
    Case(
        "hdiff/control/skeleton.py",
        "'corruption={kind: tree_cascade, levels: [{}], {}}'",
        "sample TOKENS --num 1 --skeleton 'NP:2 VP:3' -q",
        after=f"{TRAIN.replace('-q', 'REMEDY -q')} && sample NEW --num 1 --skeleton 'NP:2 VP:3' -q",
    ),
    Case(
        "hdiff/control/samples.py",
        "hdiff doctor",
        "sample RUN --num 1 --skeleton NOUN:2 --tries 2 -q",
        damaged(
            "run",
            "CASCADE",
            "run.json",
            lambda run: {**run, "data": {**run["data"], "parser": {"name": "gone"}}},
        ),
        after="doctor -q",
    ),
    Case("hdiff/pages/inspection.py", "--level {}", "inspect 'The list.' --parser plain --level clause -q"),
    Case("hdiff/serve/served_run.py", RUN_OF, "served nowhere"),
    Case(
        "hdiff/serve/server.py",
        "--port 0",
        "bound PORT",
        lambda places, patch: listening(places),
        after="bound 0",
    ),
    Case(
        "hdiff/sharing/description.py",
        "hdiff export RUN FOLDER",
        "sample EMPTY -q",
        written("empty/config.json", "{{}}"),
        after="sample NEW --num 1 --length 4 -q",
        fill={"RUN": "TOKENS", "FOLDER": "NEW"},
    ),
    Case(
        "hdiff/sharing/description.py",
        "--component {}",
        "sample FOREIGN --num 1 --length 4 -q",
        lambda places, patch: foreign(places),
    ),
    *(
        Case(file, INSTALL[extra], words, lacks(*modules))
        for file, extra, words, modules in (
            ("hdiff/commands/serve.py", "serve", "serve TOKENS", ("uvicorn",)),
            (
                "hdiff/diagnosis/foreign_model.py",
                "transformers",
                "diagnose hf:BERT --text TEXT -q",
                ("transformers",),
            ),
            (
                "hdiff/evaluation/outside_judges.py",
                "nltk",
                "eval TOKENS --outside-judges -q",
                ("nltk", "nltk.lm"),
            ),
            ("hdiff/data/sources/arrow.py", "train", "prepare hf:some/name --out NEW -q", ("datasets",)),
            (
                "parsers/collocation.py",
                "nltk",
                "inspect 'The list.' --salience collocation -q",
                ("nltk", "nltk.metrics"),
            ),
            ("parsers/spacy_models.py", "spacy", "inspect 'The list.' -q", ("spacy",)),
            ("parsers/auto_parser.py", "spacy", "inspect 'The list.' --parser auto -q", ("py3langid",)),
        )
    ),
    Case(
        "hdiff/outputs.py",
        "{remedy}",
        "eval TOKENS --steps 1 --output EMPTY -q",
        lambda places, patch: (places["HERE"] / "empty").mkdir(),
        fill={"FILE": "new.json"},
    ),
    Case("hdiff/sharing/hub.py", INSTALL["hub"], "shared some/name", lacks("huggingface_hub")),
    Case(
        "parsers/benepar_repairs.py",
        INSTALL["benepar"],
        "inspect 'The list.' --parser benepar:model.pt -q",
        both(written("model.pt", "x"), lacks("benepar")),
    ),
    Case(
        "hdiff/harness/model.py",
        "--model_args run=FOLDER",
        "harness nothing",
        fill={"FOLDER": "TOKENS"},
        after="harness run=TOKENS",
    ),
    Case("hdiff/control/samples.py", "--length {}", "sample TOKENS --num 1 --length 1000000 --steps 1 -q"),
]
