"""Cases of remedies: training."""

from __future__ import annotations

from remedies.situations import (
    INSTALL,
    OF_BERT,
    OUTPUT,
    OWN,
    RUN_OF,
    TRAIN,
    Case,
    T,
    copied,
    lacks,
    of_bert,
    soft,
    taken,
    written,
)

CASES = [
    Case(
        "hdiff/recipe.py",
        "train.steps=100",
        TRAIN.replace("-q", "steps -q"),
        after=TRAIN.replace("-q", "REMEDY -q"),
    ),
    Case(
        "hdiff/runs/checkpoint.py",
        "{shlex.join(('hdiff', 'train', str(run / 'recipe.yaml'), f'output={run}', 'resume=auto'))}",
        "eval RUN -q",
        copied("run", "TOKENS", "checkpoints"),
    ),
    Case("hdiff/runs/folder.py", RUN_OF, "eval nowhere -q"),
    Case(
        "hdiff/runs/folder.py",
        "hdiff eval RUN --judge {}",
        "sample JUDGE -q",
        after="eval TOKENS -q",
        fill={"RUN": "TOKENS"},
    ),
    Case(
        "hdiff/runs/record.py",
        f"{RUN_OF} resume=auto",
        "report_record RUN",
        copied("run", "TOKENS", "run.json", "checkpoints"),
    ),
    Case("hdiff/runs/record.py", RUN_OF, "report_record nowhere"),
    Case(
        "hdiff/runs/record.py",
        OUTPUT,
        TRAIN.replace("NEW", "RUN") + " resume=auto",
        copied("run", "TOKENS", "run.json"),
    ),
    Case("hdiff/runs/lock.py", OUTPUT, TRAIN, lambda places, patch: taken(places)),
    Case("hdiff/training/saving.py", "resume=auto", TRAIN.replace("NEW", "RUN"), copied("run", "TOKENS")),
    Case("hdiff/training/saving.py", OUTPUT, TRAIN.replace("NEW", "RUN"), copied("run", "TOKENS"), number=1),
    Case(
        "hdiff/training/resuming.py",
        OUTPUT,
        TRAIN.replace("NEW", "RUN") + " resume=auto seed=3",
        copied("run", "TOKENS"),
    ),
    Case(
        "hdiff/training/resuming.py",
        "data.path=DATA",
        TRAIN.replace("NEW", "RUN").replace("PYDOC", "PLAIN") + " resume=auto",
        copied("run", "TOKENS"),
        fill={"DATA": "PYDOC"},
    ),
    Case(
        "hdiff/training/recipe_data.py",
        OUTPUT,
        TRAIN.replace("NEW", "RUN") + " 'corruption={kind: soft_masking, num_classes: 8}' resume=auto",
        lambda places, patch: soft(places),
    ),
    Case("hdiff/training/trackers.py", "train.trackers=[{}]", TRAIN + " train.trackers=[wandb]"),
    Case("hdiff/training/trackers.py", "pip install {}", TRAIN + " train.trackers=[wandb]", number=1),
    Case("hdiff/training/processes.py", "train.mixed_precision=no", TRAIN + " train.mixed_precision=fp16"),
    Case(
        "hdiff/factory.py",
        "data.cross_documents=true",
        TRAIN + " data.cross_documents=false model.kind=autoregressive",
    ),
    Case("hdiff/factory.py", "planner=null", TRAIN + " model.kind=autoregressive planner={}"),
    Case("hdiff/factory.py", "planner=null", TRAIN + " 'corruption={kind: uniform_state}' planner={}"),
    Case(
        "hdiff/factory.py",
        "planner=null",
        TRAIN + " 'corruption={kind: block_masking, block_size: 8}' planner={}",
    ),
    Case(
        "hdiff/factory.py", "'head={kind: product}'", TRAIN + " model.kind=autoregressive 'head={kind: crf}'"
    ),
    Case(
        "hdiff/factory.py",
        "'head={kind: product}'",
        TRAIN + " 'corruption={kind: uniform_state}' 'head={kind: crf}'",
    ),
    Case(
        "hdiff/factory.py",
        "'head={kind: product}'",
        TRAIN + " 'corruption={kind: learned_rates}' 'head={kind: crf}'",
    ),
    Case(
        "hdiff/models/pretrained_start.py",
        "model.pretrained=null",
        TRAIN + " model.kind=autoregressive model.pretrained=BERT",
    ),
    Case(
        "hdiff/models/pretrained_start.py",
        "{wanted}",
        f"train RECIPE {T} data.path=BERT_DATA output=NEW model.pretrained=BERT model.width=32 -q",
    ),
    Case(
        "hdiff/models/pretrained_trunk.py",
        "data.sequence_length={}",
        f"train RECIPE {T} data.path=BERT_DATA output=NEW {OF_BERT} data.sequence_length=4096 -q",
    ),
    Case(
        "hdiff/factory.py",
        "model.attention=bidirectional",
        TRAIN + " model.attention=any_order 'corruption={kind: uniform_state}'",
    ),
    Case("hdiff/factory.py", "train.trainable=all", TRAIN + " train.trainable=head"),
    Case(
        "hdiff/models/trainable.py",
        "model.weights=float32",
        f"train RECIPE {T} data.path=BERT_DATA output=NEW {OF_BERT} model.weights=bfloat16 -q",
    ),
    Case(
        "hdiff/models/trainable.py",
        "train.trainable=lora",
        f"train RECIPE {T} data.path=BERT_DATA output=NEW {OF_BERT} model.weights=bfloat16 -q",
        number=1,
    ),
    Case(
        "hdiff/training/kept_states.py",
        "train.kept_states=0",
        f"train RECIPE {T} data.path=BERT_DATA output=NEW {OF_BERT} "
        "'head={kind: autoregressive, num_heads: 2}' train.trainable=head train.kept_states=1 "
        "length_head={} -q",
    ),
    Case(
        "hdiff/training/kept_states.py",
        "train.kept_states={}",
        f"train RECIPE {T} data.path=BERT_DATA output=NEW {OF_BERT} "
        "'head={kind: autoregressive, num_heads: 2}' train.trainable=head train.kept_states=1000 -q",
    ),
    Case(
        "hdiff/models/token_table.py",
        "hdiff prepare SOURCE --out DATA --tokenizer {}",
        f"train RECIPE {T} data.path=PYDOC output=NEW {OF_BERT} -q",
        after=f"train RECIPE {T} data.path=DATA output=NEW {OF_BERT} -q",
    ),
    Case(
        "hdiff/corruption/speeds.py",
        "data.salience_buckets={}",
        TRAIN + " 'corruption={kind: uniform_state, k: [1, 2]}'",
    ),
    Case(
        "hdiff/corruption/speeds.py",
        "data.salience_buckets={}",
        TRAIN + " 'corruption={kind: uniform_state, k: [1, 2]}' data.salience_buckets=4",
    ),
    Case(
        "hdiff/corruption/tree_cascade.py",
        "data.salience_buckets={}",
        TRAIN
        + " 'corruption={kind: tree_cascade, levels: [word], types: [label, salience], num_buckets: 3}'",
    ),
    Case(
        "hdiff/corruption/tree_cascade.py",
        "data.salience_buckets={}",
        TRAIN
        + " 'corruption={kind: tree_cascade, levels: [word], types: [label, salience], num_buckets: 3}' "
        "data.salience_buckets=4",
    ),
    Case("hdiff/samplers/blocks.py", "--steps {}", "sample BLOCKS --num 1 --steps 2 -q"),
    Case(
        "hdiff/plugins.py",
        "export PYTHONPATH=FOLDER",
        "audit --corruption elsewhere:Pair -q",
        written("aside/elsewhere.py", OWN),
        fill={"FOLDER": "aside"},
    ),
    Case(
        "hdiff/plugins.py",
        "pip install {}",
        "audit --corruption needing:Pair -q",
        written("needing.py", "import not_there_anywhere\n" + OWN),
    ),
    Case(
        "hdiff/training/launcher.py",
        "train.mixed_precision={}",
        TRAIN,
        environment={"ACCELERATE_MIXED_PRECISION": "bf16"},
    ),
    Case(
        "hdiff/training/launcher.py",
        "train.gradient_accumulation=N",
        TRAIN,
        fill={"N": "2!"},
        environment={"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2"},
    ),
    Case("hdiff/components.py", "'{}={kind: {}}'", "built linear", after="built REMEDY"),
    Case(
        "hdiff/models/pretrained_trunk.py",
        "--length {}",
        "sample RUN --num 1 --length 400 -q",
        lambda places, patch: of_bert(places),
    ),
    Case(
        "hdiff/models/released/network.py",
        INSTALL["transformers"],
        f"train RECIPE {T} data.path=BERT_DATA output=NEW {OF_BERT} -q",
        lacks("transformers"),
    ),
    Case(
        "hdiff/training/build.py",
        "train.compile=false",
        TRAIN + " train.compile=true",
        environment={"PATH": "", "CXX": ""},
    ),
]
