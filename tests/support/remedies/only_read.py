"""Remedies that are checked word by word but not typed, and why."""

from __future__ import annotations

from remedies.situations import INSTALL, OUTPUT

ONLY_READ = {
    ("hdiff/data/tokenizer_files.py", 'python -c "{}"'): "a tokenizer in another form: its own tests",
    ("hdiff/data/token_targets.py", "--parser spacy"): "classes of words: their own tests",
    ("hdiff/data/token_targets.py", "--parser spacy --levels {}"): "classes of words: their own tests",
    ("hdiff/data/prepare/facts.py", "--levels '{}'"): "a level without a span: its own tests",
    ("hdiff/data/sources/rejected.py", "--max-rejected {}"): "rows that are rejected: their own tests",
    ("hdiff/data/sources/compression.py", INSTALL["train"]): "as in sources/arrow.py",
    ("hdiff/data/packing.py", "data.train_tokens={}"): "a text that is too short: its own test",
    ("hdiff/outputs.py", "{remedy}"): "an option of the command that says it: its own tests",
    ("hdiff/training/launcher.py", "accelerate config"): "accelerate's command: its own tests",
    ("hdiff/training/launcher.py", "accelerate launch -m hdiff train RECIPE.yaml"): "accelerate's command",
    ("hdiff/training/processes.py", "accelerate launch -m hdiff train RECIPE.yaml"): "accelerate's command",
    ("hdiff/training/launcher.py", "train.gradient_accumulation=N"): "accelerate's command: its own tests",
    ("hdiff/training/launcher.py", "train.mixed_precision={}"): "accelerate's command: its own tests",
    (
        "hdiff/extras.py",
        """{'pip install .' if extra is None else f"pip install '.[{extra}]'"}""",
    ): "a module that is missing: tests/test_startup.py",
    ("hdiff/components.py", "{}={kind: {}}"): "Python; a recipe is checked before",
    ("hdiff/ablation/checks.py", "hdiff prepare SOURCE --out DATA --tokenizer {}"): "as in evaluation/run.py",
    ("hdiff/ablation/checks.py", OUTPUT): "an ablation on data that changed: tests/ablation/test_runs.py",
    ("hdiff/ablation/results.py", OUTPUT): "an ablation with other recipes: tests/ablation/test_runs.py",
    ("hdiff/ablation/runs.py", INSTALL["train"]): "names a launcher, whose package is not known",
    (
        "hdiff/corruption/soft_masking.py",
        "hdiff prepare SOURCE --out DATA --levels {}",
    ): "Python; commands see it before",
    ("hdiff/data/batch.py", "hdiff prepare SOURCE --out DATA --levels {}"): "Python; commands see it before",
    ("hdiff/data/prepare/engines.py", "{install_command(name)}"): "engines start processes of their own",
    ("hdiff/data/prepare/output_folder.py", "--limit NUMBER"): "a full disk: tests/test_full_disk.py",
    (
        "hdiff/data/prepare/worker_pool.py",
        "--workers {}",
    ): "workers that are killed: tests/data/test_workers.py",
    (
        "hdiff/data/rows/mixture.py",
        "hdiff prepare SOURCE --out DATA --tokenizer {}",
    ): "as in evaluation/run.py",
    (
        "hdiff/data/rows/mixture.py",
        "hdiff prepare SOURCE --out DATA --salience {} --tokenizer {}",
    ): "tests/data/test_mixtures.py",
    ("hdiff/data/rows/mixture.py", "data.lexical_salience=true"): "tests/data/test_mixtures.py",
    (
        "hdiff/data/rows/stream_workers.py",
        "resume=auto",
    ): "workers that are killed: tests/test_training_of_streams.py",
    ("hdiff/data/rows/stream_workers.py", "resume=auto data.stream.timeout={}"): "parsers that hang",
    ("hdiff/data/rows/streaming.py", OUTPUT): "as in training/resuming.py",
    ("hdiff/data/sources/stream_source.py", INSTALL["train"]): "as in sources/arrow.py",
    ("hdiff/harness/model.py", "--model_args run=FOLDER"): "lm-eval's command: tests/sharing/test_harness.py",
    ("hdiff/models/pretrained_checkpoint.py", "hf download NAME --local-dir FOLDER"): "needs the network",
    ("hdiff/models/pretrained_checkpoint.py", INSTALL["transformers"]): "as in diagnosis/foreign_model.py",
    ("hdiff/models/pretrained_trunk.py", "--length {}"): "tests/models/test_pretrained_trunk.py",
    ("hdiff/sharing/folder.py", "--component {}"): "as in sharing/description.py",
    (
        "hdiff/data/tokenizer_files.py",
        "hf download {} --include '*token*' --include 'vocab*' --local-dir FOLDER",
    ): "needs the network",
    ("hdiff/sharing/hub.py", INSTALL["hub"]): "needs the network",
    ("hdiff/sharing/hub.py", "hf auth login"): "needs the network",
    ("hdiff/sharing/transformers_bridge.py", "hdiff prepare SOURCE --out DATA --tokenizer FILE"): "Python",
    ("hdiff/sharing/transformers_bridge.py", "hdiff train RECIPE"): "Python",
    (
        "hdiff/training/out_of_memory.py",
        "{halve(recipe)}",
    ): "memory that is full: tests/test_out_of_memory.py",
    ("hdiff/training/processes.py", "resume=auto"): "processes that died: tests/test_two_processes.py",
    ("hdiff/training/sharding.py", "--fsdp_version 2"): "accelerate's command: tests/test_fsdp.py",
    ("hdiff/training/sharding.py", "train.mixed_precision=bf16"): "accelerate's command: tests/test_fsdp.py",
    (
        "hdiff/training/skipped_steps.py",
        "output=DIR train.learning_rate={}",
    ): "a loss that is not finite: tests/test_training.py",
    ("hdiff/training/training_data.py", OUTPUT): "another number of processes: tests/test_two_processes.py",
    ("parsers/benepar_parser.py", "benepar:PATH@spacy"): "a trained parser: tests/parsers/test_benepar.py",
    ("parsers/benepar_parser.py", "hdiff parser train TREES --dev TREES --out FOLDER"): "minutes",
    ("parsers/benepar_repairs.py", "hdiff parser train TREES --dev TREES --out FOLDER"): "minutes",
    ("parsers/benepar_repairs.py", INSTALL["benepar"]): "as in parsers/spacy_parser.py",
}
"""Remedies that are checked word by word but not typed here, and why."""
