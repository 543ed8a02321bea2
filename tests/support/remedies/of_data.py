"""Cases of remedies: data."""

from __future__ import annotations

import shlex

from remedies.situations import (
    INSTALL,
    LEVEL,
    OUTPUT,
    PREPARE,
    RUN_OF,
    SPANS,
    TRAIN,
    Case,
    T,
    ablated,
    ablation,
    both,
    copied,
    lacks,
    other_data,
    other_steps,
    ranked,
    trained_elsewhere,
    written,
)

CASES = [
    Case("hdiff/ablation/folder.py", RUN_OF, "report nowhere -q"),
    Case(
        "hdiff/ablation/folder.py",
        "hdiff ablate ABLATION.yaml",
        "report nowhere -q",
        ablation("nowhere"),
        number=1,
    ),
    Case("hdiff/ablation/folder.py", "hdiff ablate {}", "report TWO -q", ablation("two")),
    Case(
        "hdiff/data/token_stream.py",
        LEVEL,
        f"train RECIPE {T} {shlex.quote(SPANS)} data.path=PLAIN output=NEW -q",
        after=f"train RECIPE {T} {shlex.quote(SPANS)} data.path=DATA output=NEW -q",
    ),
    Case(
        "hdiff/ablation/checks.py",
        LEVEL,
        "ablate TWO -q",
        ablation(
            "two",
            data="PLAIN",
            corruption="corruption: {{kind: span_masking, level: phrase, "
            "segmentation: parsed, lengths: corpus}}",
        ),
        after="ablate TWO data.path=DATA --plan -q",
    ),
    Case(
        "hdiff/data/prepare/documents.py",
        "--validation SOURCE",
        "prepare ONE --out NEW --parser plain --levels sentence -q",
        written("one.txt", "one document"),
    ),
    Case(
        "hdiff/data/prepare/output_folder.py",
        "--out FOLDER",
        PREPARE.replace("NEW", "one.txt"),
        written("one.txt", "x"),
    ),
    Case(
        "hdiff/data/prepare/output_folder.py",
        "--out FOLDER",
        PREPARE.replace("NEW", "some"),
        written("some/one.txt", "x"),
    ),
    Case(
        "hdiff/data/prepare/request.py", "--out FOLDER", PREPARE.replace("NEW", "PLAIN").replace("300", "310")
    ),
    Case("hdiff/data/prepare/request.py", "--levels {}", PREPARE.replace("--levels sentence", "")),
    Case(
        "hdiff/data/prepare/request.py", "--parser spacy", PREPARE.replace("--levels sentence", ""), number=1
    ),
    Case("hdiff/data/prepare/run.py", "--out FOLDER", PREPARE.replace("NEW", "PLAIN") + " --plan"),
    Case("hdiff/data/prepare/stages.py", "--plan", PREPARE + " --shard-index 0", after=PREPARE + " --plan"),
    Case(
        "hdiff/data/prepare/stages.py",
        "--parser plain --levels sentence",
        "prepare TEXT --out NEW --parser TREES --tokenizer train:300 -q",
        written("trees.ptb", "(S (NN words))\n"),
    ),
    Case(
        "hdiff/evaluation/run.py",
        "hdiff prepare SOURCE --out DATA --tokenizer {}",
        "eval TOKENS --data PLAIN -q",
        after="eval TOKENS --data DATA -q",
    ),
    Case(
        "hdiff/analysis/run.py",
        "hdiff prepare SOURCE --out DATA --tokenizer {}",
        "analyse PLAIN",
        after="analyse DATA",
    ),
    Case(
        "hdiff/diagnosis/held_out.py",
        "--text FILE",
        "diagnose RUN --prefixes 2 --masks 4 --pairs 2 -q",
        lambda places, patch: (copied("run", "TOKENS")(places, patch), trained_elsewhere(places))[0],
    ),
    Case(
        "hdiff/evaluation/bounds.py",
        "hdiff train recipes/judge.yaml data.path=DATA output=JUDGE",
        "eval OTHER --judge JUDGE -q",
        after="eval OTHER --judge NEW_JUDGE -q",
        fill={"DATA": "PLAIN", "JUDGE": "NEW_JUDGE"},
    ),
    Case(
        "hdiff/commands/evaluate.py",
        "--agreement",
        "eval TOKENS --steps 1 --max-pairs 2 -q",
    ),
    Case("hdiff/evaluation/run.py", "--samples 32", "eval TOKENS --steps 1 --samples 0 --judge JUDGE -q"),
    Case(
        "hdiff/recipe.py", "hdiff ablate {}", "train TWO -q", ablation("two"), after="ablate TWO --table -q"
    ),
    Case(
        "hdiff/ablation/specification.py",
        "hdiff train {}",
        "ablate RECIPE -q",
        after="eval runs/baselines/token_masking --steps 1 -q",
    ),
    Case(
        "hdiff/data/prepare/facts.py",
        "--levels '{}'",
        "prepare TREES --parser TREES --levels sentence,clause,phrase --out NEW --tokenizer words -q",
        written("trees.ptb", "".join(f"(NP (DT the) (NN dog{number}))\n" for number in range(30))),
    ),
    Case(
        "hdiff/data/sources/rejected.py",
        "--max-rejected {}",
        PREPARE.replace("TEXT", "ROWS"),
        written("rows.jsonl", '{{"text": "a b"}}\n' * 3 + '{{"text": "c d e"}}\n' * 3 + "no JSON\n" * 8),
    ),
    Case(
        "hdiff/data/sources/compression.py",
        INSTALL["train"],
        PREPARE.replace("TEXT", "some.txt.zst"),
        both(written("some.txt.zst", "x"), lacks("pyarrow")),
    ),
    Case(
        "hdiff/data/sources/stream_source.py",
        INSTALL["train"],
        TRAIN.replace("-q", "'data.stream={source: TEXT}' -q"),
        lacks("datasets", "datasets.distributed"),
    ),
    Case("hdiff/data/packing.py", "data.train_tokens={}", TRAIN + " data.train_tokens=99999999"),
    Case(
        "hdiff/data/rows/mixture.py",
        "hdiff prepare SOURCE --out DATA --tokenizer {}",
        TRAIN + " 'data.mixture=[{path: PYDOC}, {path: PLAIN}]'",
        after=TRAIN + " 'data.mixture=[{path: PYDOC}, {path: DATA}]'",
    ),
    *(
        Case(
            "hdiff/data/rows/mixture.py",
            remedy,
            TRAIN + " data.salience_buckets=2 'data.mixture=[{path: PYDOC}, {path: RANKED}]'",
            lambda places, patch: ranked(places),
            after=after,
            number=number,
        )
        for number, (remedy, after) in enumerate(
            {
                "hdiff prepare SOURCE --out DATA --salience {} --tokenizer {}": TRAIN
                + " data.salience_buckets=2 'data.mixture=[{path: PYDOC}, {path: DATA}]'",
                "data.lexical_salience=true": None,
            }.items()
        )
    ),
    *(
        Case(
            "hdiff/data/token_targets.py",
            remedy,
            TRAIN.replace("PYDOC", "PLAIN") + f" 'supervision={{targets: [{target}]}}'",
            after="prepare TEXT --out DATA --tokenizer train:300 REMEDY -q && "
            + TRAIN.replace("PYDOC", "DATA")
            + f" 'supervision={{targets: [{target}]}}'",
        )
        for remedy, target in (("--parser spacy --levels {}", "phrase"), ("--parser spacy", "pos"))
    ),
    Case("hdiff/ablation/checks.py", OUTPUT, "ablate TWO -q", ablated(other_data)),
    Case("hdiff/ablation/results.py", OUTPUT, "ablate TWO -q", ablated(other_steps)),
]
