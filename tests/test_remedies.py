"""Remedies of errors are typed: after each, the command gets past its error.

A remedy is data (`UserError.remedies`). All places that raise are read from the source: none can be added
without a case here, or without a line in `fixtures/remedies.txt` that says why nothing can be typed.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import tomllib
from shared_models import save_untrained
from typer.main import get_command

import hdiff
import hdiff.parsers
from hdiff.analysis.run import analyse_run
from hdiff.cli import app
from hdiff.config import Recipe
from hdiff.errors import UserError
from hdiff.runs.folder import RunFolder
from hdiff.runs.lock import run_lock
from hdiff.runs.record import RunRecord
from hdiff.serve.served_run import ServedRun
from hdiff.serve.server import bind

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = {"hdiff": Path(hdiff.__file__).parent, "parsers": Path(hdiff.parsers.__file__).parent}
PROSE = CHECKOUT / "tests" / "fixtures" / "remedies.txt"
ERRORS = {"UserError", "RecipeError", "DataError", "ParserError", "CheckpointError", "NotUnderstood", "error"}
COMMANDS = {word for word in get_command(app).commands}
TYPABLE = re.compile(
    rf"\bhdiff ({'|'.join(COMMANDS)}) [A-Z{{]|pip install|--[a-z]"
    r"|\b(train|data|model|evaluation|corruption)\.\w+="
)


@dataclass(frozen=True)
class Site:
    """A place that raises: file, message and remedies, with `{...}` for what is filled in."""

    file: str
    message: str
    remedies: tuple[str, ...]


def template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(value) if isinstance(value, ast.Constant) else "{}" for value in node.values)
    if isinstance(node, ast.Starred) and isinstance(node.value, ast.GeneratorExp):
        return template(node.value.elt)
    return f"{{{ast.unparse(node)}}}"


def sites() -> Iterator[Site]:
    for name, folder in PACKAGES.items():
        for file in sorted(folder.rglob("*.py")):
            place = f"{name}/{file.relative_to(folder).as_posix()}"
            if place.startswith(("hdiff/parsers/", "hdiff/recipes/")):
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args and called(node) in ERRORS:
                    yield Site(place, template(node.args[0]), tuple(map(template, node.args[1:])))


def called(node: ast.Call) -> str:
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


SITES = list(sites())
FORWARDED = ("{*error.remedies}", "{*remedies}", "{*words}", "{found}")
"""Remedies of an error that is raised again with its place before it."""


# --- Everything that raises -------------------------------------------------------------------------------


def prose() -> dict[str, str]:
    """What cannot be typed: beginning of the sentence after the last semicolon -> reason."""
    found, reason = {}, ""
    for line in PROSE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line.strip():
            found[line.strip()] = reason
    return found


def clause(site: Site) -> str:
    text = " ".join(site.message.split())
    return f"{site.file}: {text.rpartition('; ')[2] or text}"


def test_what_can_be_typed_is_data() -> None:
    known = prose()
    hidden = [
        clause(site)
        for site in SITES
        if not site.remedies and TYPABLE.search(clause(site)) and clause(site) not in known
    ]
    assert hidden == []


def test_what_cannot_be_typed_is_listed_with_the_reason() -> None:
    known = prose()
    assert all(known.values())
    found = {clause(site) for site in SITES if not site.remedies}
    assert sorted(found - known.keys()) == []
    assert sorted(known.keys() - found) == []


def test_every_remedy_is_typed_here() -> None:
    given = {(site.file, remedy) for site in SITES for remedy in site.remedies if remedy not in FORWARDED}
    typed = {(case.file, case.remedy) for case in CASES} | set(ONLY_READ)
    assert sorted(given - typed) == []
    assert sorted(typed - given) == []


# --- Where they are typed ---------------------------------------------------------------------------------

TINY = [
    "model={width: 16, depth: 1, num_heads: 2}",
    "train={steps: 2, batch_size: 4, warmup_steps: 1}",
    "data.sequence_length=32",
    "evaluation={steps: [1], blocks: 1, draws: 1, samples: 2}",
]
CASCADE = "corruption={kind: tree_cascade, levels: [word], types: [label], num_labels: 32}"
BLOCKS = "corruption={kind: block_masking, block_size: 8}"
SPANS = "corruption={kind: span_masking, segmentation: parsed, level: phrase, lengths: corpus}"
ABLATION = """
name: two
base: {{RECIPE}}
output: {output}
seeds: [0]
set:
  model: {{{{width: 16, depth: 1, num_heads: 2}}}}
  train: {{{{steps: 2, batch_size: 4, warmup_steps: 1}}}}
  evaluation: {{{{steps: [1], blocks: 1, draws: 1, samples: 2}}}}
  data.sequence_length: 32
  data.path: {{{data}}}
  {corruption}
baseline: one
variants: {{{{one: {{{{}}}}}}}}
"""
OWN = """
from hdiff.corruption import TokenMasking
class Pair(TokenMasking):
    pass
"""


@pytest.fixture(scope="module")
def made(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data sets and trained models that situations start from."""
    folder = tmp_path_factory.mktemp("made")
    text = folder / "text.txt"
    lines = (
        f"The old list of {number} words is returned by the function. It is long." for number in range(90)
    )
    text.write_text("\n\n".join(lines))
    plain = ["--parser", "plain", "--levels", "sentence", "--tokenizer", "train:300", "-q"]
    type_words(["prepare", str(text), "--out", str(folder / "plain"), *plain])
    recipe = CHECKOUT / "recipes" / "baselines" / "token_masking.yaml"
    own = folder / "recipe.yaml"
    own.write_text("base: x\n".replace("base: x\n", recipe.read_text(encoding="utf-8")))
    places = {"PYDOC": prepared_folder, "PLAIN": folder / "plain", "TEXT": text, "RECIPE": own}
    for name, changes in {
        "tokens": [],
        "cascade": [CASCADE],
        "blocks": [BLOCKS],
        "judge": ["model.kind=autoregressive"],
    }.items():
        words = [
            "train",
            str(own),
            *TINY,
            *changes,
            f"data.path={prepared_folder}",
            f"output={folder / name}",
        ]
        type_words([*words, "-q"])
        places[name.upper()] = folder / name
    type_words(
        ["train", str(own), *TINY, f"data.path={folder / 'plain'}", f"output={folder / 'other'}", "-q"]
    )
    return {**places, "OTHER": folder / "other", "SHARED": save_untrained(folder / "shared")}


def type_words(words: list[str]) -> None:
    """Runs a command line; its error is raised, not printed."""
    if (code := app(args=words, standalone_mode=False)) not in (None, 0):
        raise AssertionError(f"exit code {code}")


@dataclass(frozen=True)
class Case:
    """A situation: a command that fails, and what is typed then.

    Attributes:
        file: File of the site.
        remedy: Template of its remedy.
        words: The command line that fails; names in capitals are places.
        before: Prepares the situation.
        fill: What stands for the capitals of the remedy, besides places of its own.
        after: The command line after a remedy that is a command of its own; None takes the same.
        number: Which remedy of the error is meant.
    """

    file: str
    remedy: str
    words: str
    before: Callable[[dict[str, Any], pytest.MonkeyPatch], None] = lambda places, patch: None
    fill: dict[str, str] = field(default_factory=dict)
    after: str | None = None
    number: int = 0


def lacks(*modules: str) -> Callable[[dict[str, Any], pytest.MonkeyPatch], None]:
    def hide(places: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
        for module in modules:
            for name in [name for name in sys.modules if name.split(".")[0] == module.split(".")[0]]:
                patch.delitem(sys.modules, name)
            patch.setitem(sys.modules, module, None)

    return hide


def written(name: str, text: str) -> Callable[[dict[str, Any], pytest.MonkeyPatch], None]:
    def write(places: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
        path = places["HERE"] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**{key: str(value) for key, value in places.items()}))

    return write


def ablation(
    output: str, *, data: str = "PYDOC", corruption: str = "corruption: {{kind: token_masking}}"
) -> Any:
    return written("two.yaml", ABLATION.format(output=output, data=data, corruption=corruption))


def copied(name: str, place: str, *removed: str) -> Callable[[dict[str, Any], pytest.MonkeyPatch], None]:
    def copy(places: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
        shutil.copytree(places[place], places["HERE"] / name)
        for each in removed:
            path = places["HERE"] / name / each
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return copy


def damaged(name: str, place: str, file: str, change: Callable[[Any], Any]) -> Any:
    def damage(places: dict[str, Any], patch: pytest.MonkeyPatch) -> None:
        copied(name, place)(places, patch)
        path = places["HERE"] / name / file
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def trained_elsewhere(places: dict[str, Any]) -> None:
    """The recipe of a run names a data set of another tokenizer."""
    recipe = places["HERE"] / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(places["PYDOC"]), str(places["PLAIN"])))


def taken(places: dict[str, Any]) -> None:
    """Somebody trains in the folder: the lock is held as long as the test runs."""
    lock = run_lock(places["HERE"] / "new")
    lock.__enter__()
    places["held"].append(lock)


def listening(places: dict[str, Any]) -> None:
    listener = bind("127.0.0.1", 0)
    places["held"].append(listener)
    places["PORT"] = listener.getsockname()[1]  # in use now


def foreign(places: dict[str, Any]) -> None:
    """A shared model that uses a class of the current folder."""
    copied("foreign", "SHARED")(places, None)  # type: ignore[arg-type]
    written("mine.py", OWN.replace("TokenMasking", "SpanMasking"))(places, None)  # type: ignore[arg-type]
    file = places["HERE"] / "foreign" / "config.json"
    file.write_text(file.read_text().replace('"span_masking"', '"mine:Pair"'))


def soft(places: dict[str, Any]) -> None:
    """A run of soft masks whose table of classes is damaged."""
    train = fill(TRAIN.replace("NEW", "RUN") + " 'corruption={kind: soft_masking, num_classes: 8}'", places)
    type_words(train)
    file = places["HERE"] / "run" / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "token_classes": "7"}))


def analyse(data: str, *, places: dict[str, Any]) -> None:
    run = RunFolder.load(places["TOKENS"])
    recipe = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update={"path": data})})
    analyse_run(replace(run, recipe=recipe))


PYTHON: dict[str, Callable[..., object]] = {
    "analyse": analyse,
    "report_record": lambda path, places: RunRecord.read(Path(path)),
    "served": lambda path, places: ServedRun.load(Path(path)),
    "bound": lambda port, places: bind("127.0.0.1", int(port)).close(),
}
"""What is no command by itself: the part of one that raises."""

T = " ".join(shlex.quote(word) for word in TINY)
OF_BERT = "model.pretrained=BERT model.width=16 model.depth=1 model.num_heads=2"
TRAIN = f"train RECIPE {T} data.path=PYDOC output=NEW -q"
PREPARE = "prepare TEXT --out NEW --parser plain --levels sentence --tokenizer train:300 -q"
OUTPUT = "output=DIR"
LEVEL = "{prepared.command_with(level)}"
INSTALL = {
    name: f"{{install_command('{name}')}}"
    for name in ("train", "serve", "hub", "nltk", "spacy", "benepar", "transformers")
}
RUN_OF = "hdiff train RECIPE output={}"

CASES = [
    Case(
        "hdiff/recipe.py",
        "train.steps=100",
        TRAIN.replace("-q", "steps -q"),
        after=TRAIN.replace("-q", "REMEDY -q"),
    ),
    Case("hdiff/ablation/folder.py", RUN_OF, "report nowhere -q"),
    Case(
        "hdiff/ablation/folder.py",
        "hdiff ablate ABLATION.yaml",
        "report nowhere -q",
        ablation("nowhere"),
        number=1,
    ),
    Case("hdiff/ablation/folder.py", "hdiff ablate {}", "report TWO -q", ablation("two")),
    Case("hdiff/commands/ablate.py", "{ablation.command}", "ablate TWO --table -q", ablation("two")),
    Case("hdiff/commands/diagnose.py", "--text FILE", "diagnose hf:BERT --prefixes 2 --masks 4 --pairs 2 -q"),
    Case(
        "hdiff/commands/evaluate.py",
        "hdiff prepare TEXT --out DATA --tokenizer {}",
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
    Case("hdiff/pages/inspection.py", "--level {}", "inspect 'The list.' --parser plain --level clause -q"),
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
        "hdiff/factory.py",
        "model.pretrained=null",
        TRAIN + " model.kind=autoregressive model.pretrained=BERT",
    ),
    Case(
        "hdiff/factory.py",
        "{wanted}",
        f"train RECIPE {T} data.path=BERT_DATA output=NEW model.pretrained=BERT model.width=32 -q",
    ),
    Case(
        "hdiff/models/pretrained_trunk.py",
        "data.sequence_length={}",
        f"train RECIPE {T} data.path=BERT_DATA output=NEW {OF_BERT} data.sequence_length=4096 -q",
    ),
    Case(
        "hdiff/models/pretrained_checkpoint.py",
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
            ("parsers/spacy_parser.py", "spacy", "inspect 'The list.' -q", ("spacy",)),
        )
    ),
]


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

VALUES = {"NAME": "text", "NUMBER": "3", "TREES": "trees.ptb", "PATH": "model.pt", "RUN": "runs/a"}


def fill(words: str, places: dict[str, Any], **more: str) -> list[str]:
    """The words of a command line, with places for names in capitals."""
    here = places["HERE"]
    named = {
        key: value[:-1] if value.endswith("!") else str(places.get(value, here / value.lower()))
        for key, value in more.items()
    }
    for key, name in (
        ("NEW_JUDGE", "new_judge"),
        ("NEW", "new"),
        ("DATA", "new_data"),
        ("DIR", "dir"),
        ("TWO", "two.yaml"),
        ("ONE", "one.txt"),
        ("ROWS", "rows.jsonl"),
        ("EMPTY", "empty"),
        ("FOREIGN", "foreign"),
        ("RUN", "run"),
        ("FOLDER", "folder"),
        ("ABLATION.yaml", "two.yaml"),
        ("JUDGE", "judge"),
        ("TREES", "treebank:trees.ptb"),
    ):
        named.setdefault(
            key, str(places.get(key, here / name if key != "TREES" else f"treebank:{here}/trees.ptb"))
        )
    named = {**{key: str(value) for key, value in places.items() if key.isupper()}, **named}
    named.setdefault("SOURCE", str(places["TEXT"]))
    named.setdefault("FILE", str(places["TEXT"]))
    pattern = re.compile(
        "|".join(
            rf"(?<![A-Za-z_]){re.escape(key)}(?![A-Za-z_])" for key in sorted(named, key=len, reverse=True)
        )
    )
    return [pattern.sub(lambda match: named[match[0]], word) for word in shlex.split(words)]


def perform(words: list[str], places: dict[str, Any]) -> None:
    if words[0] in PYTHON:
        PYTHON[words[0]](words[1], places=places)
    else:
        type_words(words)


def with_remedy(words: list[str], remedy: list[str]) -> list[str]:
    """The command line again, with options or keys of a remedy in place of those it had."""
    kept = list(words)
    for new in remedy:
        if new.startswith("--") and new in kept:
            place = kept.index(new)
            has_value = remedy.index(new) + 1 < len(remedy) and not remedy[remedy.index(new) + 1].startswith(
                "--"
            )
            del kept[place : place + 1 + has_value]
        elif "=" in new and not new.startswith("--"):
            kept = [word for word in kept if word.partition("=")[0] != new.partition("=")[0]]
    quiet = [word for word in kept if word == "-q"]
    return [*(word for word in kept if word != "-q"), *remedy, *quiet]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file.split('/')[-1]}-{case.remedy[:24]}")
def test_a_remedy_that_is_typed_gets_past_its_error(
    case: Case, made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: dict[str, Any] = {**made, "HERE": tmp_path, "held": []}
    if "BERT" in case.words:
        pytest.importorskip("transformers", reason="models of others need transformers")
        bert(places)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    case.before(places, monkeypatch)
    words = fill(case.words, places)
    with pytest.raises(UserError) as caught:
        perform(words, places)
    error = caught.value
    typed = [remedy for site in SITES if site.file == case.file for remedy in site.remedies]
    assert case.remedy in typed
    assert len(error.remedies) > case.number, str(error)
    remedy = error.remedies[case.number]
    assert str(error).count(remedy) == 1
    assert remedy.startswith(case.remedy.partition("{")[0])
    if remedy.startswith("pip install"):
        check_installs(remedy)
        return
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    given = fill(remedy, places, **case.fill)
    if given[0] == "export":
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "aside")])  # what a new interpreter does
    elif given[0] == "hdiff" and case.after is None and given[1] == "train":
        perform(with_tiny(given[1:], places), places)
        perform(words[:1] + ["--steps", "1"] * (words[0] == "eval") + words[1:], places)
        return
    elif given[0] == "hdiff":
        command = [*with_tiny(given[1:], places), "-q"] if given[1] != "doctor" else ["doctor", "-q"]
        perform(command, places)
    elif case.after is None:
        words = with_remedy(words, given)
    last = (
        [
            fill(line.replace("REMEDY", shlex.quote(" ".join(given))), places)
            for line in case.after.split(" && ")
        ]
        if case.after
        else [words]
    )
    for line in last:
        perform(line, places)


def with_tiny(words: list[str], places: dict[str, Any]) -> list[str]:
    """A training of seconds instead of minutes, on data that are there."""
    if words[0] != "train" or words[1].startswith(str(places["HERE"])):
        return words
    data = [] if any(word.startswith("data.path=") for word in words) else [f"data.path={places['PYDOC']}"]
    kind = (
        ["model={kind: autoregressive, width: 16, depth: 1, num_heads: 2}"]
        if "judge" in words[1]
        else TINY[:1]
    )
    return [*words, *kind, *TINY[1:], *data, "-q"]


def bert(places: dict[str, Any]) -> None:
    """A tiny BERT, and data of its tokenizer."""
    from tiny_checkpoints import make_bert

    folder = places["HERE"] / "bert"
    make_bert(folder)
    places["BERT"] = folder
    type_words(
        [
            "prepare",
            str(places["TEXT"]),
            "--out",
            str(places["HERE"] / "bert_data"),
            "--tokenizer",
            str(folder),
            "--parser",
            "plain",
            "--levels",
            "sentence",
            "-q",
        ]
    )
    places["BERT_DATA"] = places["HERE"] / "bert_data"


def check_installs(command: str) -> None:
    """What is installed belongs to an extra, or is what was missing."""
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    known = {re.split(r"[<>=; \[]", line)[0] for lines in extras.values() for line in lines}
    for requirement in shlex.split(command)[2:]:
        name = re.split(r"[<>=; \[]", requirement)[0]
        assert name in known | {"wandb", "not_there_anywhere"}


# --- What every remedy says exists ------------------------------------------------------------------------


@pytest.mark.parametrize("remedy", sorted({remedy for site in SITES for remedy in site.remedies}))
def test_commands_options_keys_and_recipes_of_remedies_exist(remedy: str) -> None:
    if remedy.startswith("{"):
        return  # made by a function: typed above
    words = shlex.split(remedy)
    if words[0] == "hdiff":
        command = get_command(app).commands[words[1]]
        rest = words[2:]
        if words[1] == "parser":
            command, rest = command.commands[words[2]], words[3:]
        options = {name for option in command.params for name in option.opts}
        assert {word for word in rest if word.startswith("--")} <= options
        for word in rest:
            assert not word.startswith("recipes/") or (CHECKOUT / word).is_file()
        return
    options = {name for command in all_commands() for option in command.params for name in option.opts}
    for word in words:
        if word.startswith("--"):
            assert word in options | {"--fsdp_version", "--model_args", "--local-dir"}
        elif re.match(r"[a-z_.]+=", word):
            key = word.partition("=")[0].split(".")
            assert key[0] in Recipe.model_fields or key[0] == "run"


def all_commands() -> Iterator[Any]:
    for command in get_command(app).commands.values():
        yield from getattr(command, "commands", {"": command}).values()
