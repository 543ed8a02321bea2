"""Remedies that are checked word by word but not typed, and why."""

from __future__ import annotations

from remedies.situations import INSTALL, OUTPUT

ONLY_READ = {
    **dict.fromkeys(
        [
            ("hdiff/commands/prepare.py", "--prompts columns"),
            ("hdiff/commands/prepare.py", "--prompts chat"),
            ("hdiff/control/answers.py", "--max-tokens {}"),
            ("hdiff/control/free_gaps.py", "length_head={}"),
            ("hdiff/data/packing.py", "hdiff prepare SOURCE --out DATA --prompts columns --limit 1000"),
            ("hdiff/data/prompt_rows.py", "data.sequence_length={}"),
            ("hdiff/data/prompt_rows.py", "data.drop_long=true"),
            ("hdiff/data/sources/prompts.py", "--prompts columns"),
            ("hdiff/data/sources/prompts.py", "--prompts chat"),
            ("hdiff/data/sources/prompts.py", "--tokenizer FOLDER"),
            ("hdiff/data/sources/prompts.py", "--chat-template FILE"),
            ("hdiff/factory.py", "length_head=null"),
            ("hdiff/training/recipe_data.py", "data.stream=null data.mixture=[]"),
            ("hdiff/training/recipe_data.py", "head.sees_row=false"),
        ],
        "prompts: tests/data/test_prompts.py and tests/control/test_answers.py",
    ),
    ("hdiff/commands/tour.py", "hdiff tour FOLDER --json > FILE"): "a shell: tests/test_shipped.py",
    (
        "hdiff/training/first_weights.py",
        "hdiff prepare SOURCE --out DATA --tokenizer {}",
    ): "as in evaluation/run.py",
    (
        "hdiff/training/keeping.py",
        "output=DIR train.kept_states={}",
    ): "too little disk: tests/models/test_kept_states.py",
    ("hdiff/sharing/export.py", "--precision float16"): "tests/test_first_weights.py",
    ("hdiff/sharing/export.py", "--precision bfloat16"): "tests/test_first_weights.py",
    ("hdiff/data/tokenizer_files.py", 'python -c "{}"'): "a tokenizer in another form: its own tests",
    ("hdiff/training/launcher.py", "accelerate config"): "accelerate's command: its own tests",
    ("hdiff/training/launcher.py", "accelerate launch -m hdiff train RECIPE.yaml"): "accelerate's command",
    ("hdiff/training/processes.py", "accelerate launch -m hdiff train RECIPE.yaml"): "accelerate's command",
    (
        "hdiff/extras.py",
        """{'pip install .' if extra is None else f"pip install '.[{extra}]'"}""",
    ): "a module that is missing: tests/test_startup.py",
    ("hdiff/ablation/checks.py", "hdiff prepare SOURCE --out DATA --tokenizer {}"): "as in evaluation/run.py",
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
        "hdiff/data/rows/stream_workers.py",
        "resume=auto",
    ): "workers that are killed: tests/test_training_of_streams.py",
    ("hdiff/data/rows/stream_workers.py", "resume=auto data.stream.timeout={}"): "parsers that hang",
    ("hdiff/data/rows/streaming.py", OUTPUT): "as in training/resuming.py",
    ("hdiff/models/released/folder.py", "hf download NAME --local-dir FOLDER"): "needs the network",
    ("hdiff/models/trainable.py", "train.trains_table=true"): "tests/models/test_trainable.py",
    ("hdiff/models/trainable.py", INSTALL["lora"]): "as in diagnosis/foreign_model.py",
    ("hdiff/models/pretrained_trunk.py", "train.gradient_checkpointing=false"): "no network at hand cannot",
    ("hdiff/sharing/loading.py", "hdiff export {} WHOLE --base TRUNK"): "tests/models/test_adapters.py",
    ("hdiff/sharing/export.py", "hdiff export RUN FOLDER"): "tests/models/test_adapters.py",
    ("hdiff/sharing/folder.py", "--component {}"): "as in sharing/description.py",
    (
        "hdiff/data/tokenizer_files.py",
        "hf download {} --include '*token*' --include 'vocab*' --local-dir FOLDER",
    ): "needs the network",
    ("hdiff/sharing/hub.py", "hf auth login"): "needs the network",
    ("hdiff/sharing/transformers_bridge.py", "hdiff prepare SOURCE --out DATA --tokenizer FILE"): "Python",
    ("hdiff/sharing/transformers_bridge.py", "hdiff train RECIPE"): "Python",
    (
        "hdiff/training/out_of_memory.py",
        "{halve(recipe)}",
    ): "memory that is full: tests/test_out_of_memory.py",
    ("hdiff/training/processes.py", "resume=auto"): "processes that died: tests/test_two_processes.py",
    ("hdiff/training/build.py", "train.optimizer=adamw"): "sharded weights: tests/test_fsdp.py",
    ("hdiff/training/sharding.py", "--fsdp_version 2"): "accelerate's command: tests/test_fsdp.py",
    ("hdiff/training/sharding.py", "train.mixed_precision=bf16"): "accelerate's command: tests/test_fsdp.py",
    (
        "hdiff/training/skipped_steps.py",
        "output=DIR train.learning_rate={}",
    ): "a loss that is not finite: tests/test_stops_of_training.py",
    ("hdiff/training/training_data.py", OUTPUT): "another number of processes: tests/test_two_processes.py",
    (
        "parsers/benepar_parser.py",
        "benepar:PATH@spacy",
    ): "a trained parser: tests/parsers/test_benepar_training.py",
    ("parsers/benepar_parser.py", "hdiff parser train TREES --dev TREES --out FOLDER"): "minutes",
    ("parsers/benepar_repairs.py", "hdiff parser train TREES --dev TREES --out FOLDER"): "minutes",
}
"""Remedies that are checked word by word but not typed here, and why."""
