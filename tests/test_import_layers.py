"""Import layers: what each part of hdiff may load, seen in fresh interpreters and in the source."""

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hdiff
import hdiff.parsers

PACKAGE = Path(hdiff.__file__).parent
PARSERS = Path(hdiff.parsers.__file__).parent
HEAVY = (
    "torch",
    "spacy",
    "benepar",
    "datasets",
    "accelerate",
    "transformers",
    "xformers",
    "nltk",
    "scipy",
    "pandas",
    "huggingface_hub",
    "lm_eval",
    "starlette",
    "uvicorn",
    "tensorboard",
)

LIGHT_MODULES = ["hdiff", "hdiff.structure", "hdiff.errors", "hdiff.parsers", "hdiff.recipes", "hdiff.cli"]
LIGHT_MODULES += ["hdiff.config", "hdiff.recipe", "hdiff.pages.page", "hdiff.pages.report", "hdiff.doctor"]
TORCH_MODULES = ["hdiff.corruption", "hdiff.heads", "hdiff.objectives", "hdiff.models", "hdiff.samplers"]
TORCH_MODULES += ["hdiff.sharing", "hdiff.sharing.pipeline", "hdiff.evaluation.continuations"]
TORCH_MODULES += [
    "hdiff.audit",
    "hdiff.data.batch",
    "hdiff.models.denoiser",
    "hdiff.layers.attention",
    "hdiff.schedules",
]


LAYERS = """
    errors shipped extras children strict_yaml value_types config seeds
    progress packed_spans files outputs plugins components recipe
    structure schedules reveal_order languages parsers layers heads doctor data.sources data data.prepare
    data.rows supervision corruption models objectives samplers factory runs audit evaluation pages ablation
    analysis control diagnosis sharing training harness serve commands cli __main__
""".split()  # noqa: SIM905
"""All parts of hdiff, from the ground up: each imports itself and parts before it, lazily too."""


def part_of(module: str) -> str:
    """The layer that a module `hdiff.a.b` belongs to."""
    names = module.split(".")[1:]
    return next((name for name in (".".join(names[:2]), names[0]) if name in LAYERS), "")


def modules() -> dict[str, Path]:
    """Every module of hdiff and its file."""
    found = {}
    for name, folder in (("hdiff", PACKAGE), ("hdiff.parsers", PARSERS)):
        for file in folder.rglob("*.py"):
            parts = [part for part in file.relative_to(folder).with_suffix("").parts if part != "__init__"]
            found[".".join([name, *parts])] = file
    return found


def imported_modules(module: str, known: dict[str, Path]) -> set[str]:
    """The modules of hdiff that one imports, anywhere in its file, relative imports resolved."""
    file = known[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            )
            base = ".".join(filter(None, (base, node.module)))
            names |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
    return (names & known.keys()) - {module}


def test_every_import_goes_down_the_list_of_layers():
    known = modules()
    for module in known:
        if module == "hdiff":
            continue
        assert part_of(module), f"{module} stands in no layer; add it to LAYERS"
        for imported in imported_modules(module, known) - {"hdiff"}:
            order = [LAYERS.index(part_of(name)) for name in (imported, module)]
            assert order == sorted(order), f"{module} imports {imported}, which lies above it"


def test_no_module_imports_itself_by_way_of_others():
    known = modules()
    left = {module: imported_modules(module, known) for module in known}
    while left:
        free = {module for module, needed in left.items() if not needed & left.keys()}
        assert free, f"these import each other in a circle: {sorted(left)}"
        left = {module: needed for module, needed in left.items() if module not in free}


def test_few_modules_lie_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= 22


def loaded_by(module: str) -> set[str]:
    """Heavy packages in sys.modules after importing one module in a fresh interpreter."""
    code = f"import sys, json, {module}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, f"importing {module} prints: {done.stdout}"
    return set(json.loads(done.stdout))


def imports_of(file: Path) -> set[str]:
    """Names of all modules a file imports, at any depth of nesting."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imports_at_load(file: Path) -> set[str]:
    """Packages a file imports when it is loaded: neither inside functions nor for type checking only."""
    found = set()
    pending = list(ast.parse(file.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, (ast.Try, ast.With, ast.ClassDef)) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test)
        ):
            pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_light_modules_load_nothing_heavy(module):
    assert loaded_by(module) == set()


@pytest.mark.parametrize("module", TORCH_MODULES)
def test_model_code_loads_torch_alone(module):
    assert loaded_by(module) <= {"torch"}


def test_importing_hdiff_is_quick():
    def seconds(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        return time.perf_counter() - began

    best = min(seconds("import hdiff") - seconds("pass") for _ in range(5))
    assert best < 0.3


def test_only_attention_imports_xformers():
    files = [*PACKAGE.rglob("*.py"), *PARSERS.rglob("*.py")]
    importing = {f.name for f in files if any(name.split(".")[0] == "xformers" for name in imports_of(f))}
    assert importing == {"attention.py"}


def test_only_its_own_package_imports_the_harness():
    files = [*PACKAGE.rglob("*.py"), *PARSERS.rglob("*.py")]
    importing = {f for f in files if any(name.split(".")[0] == "lm_eval" for name in imports_of(f))}
    assert {f.parent.name for f in importing} == {"harness"}


@pytest.mark.parametrize("part", ["models", "heads", "objectives", "corruption", "samplers"])
def test_model_code_never_imports_a_parser_or_a_recipe(part):
    for file in (PACKAGE / part).rglob("*.py"):
        assert not [
            n for n in imports_of(file) if n.startswith(("hdiff.parsers", "hdiff.recipes", "spacy"))
        ], file


def test_parsers_import_only_structure_and_errors_of_hdiff():
    allowed = ("hdiff.structure", "hdiff.errors", "hdiff.parsers", "hdiff.plugins")
    for file in PARSERS.rglob("*.py"):
        foreign = [
            name for name in imports_of(file) if name.startswith("hdiff") and not name.startswith(allowed)
        ]
        assert not foreign, (file, foreign)


def test_heavy_packages_are_imported_where_they_are_used_not_at_load_time():
    late = {
        "spacy",
        "benepar",
        "datasets",
        "accelerate",
        "transformers",
        "xformers",
        "nltk",
        "scipy",
        "tensorboard",
    }
    named_after = {
        "spacy_parser.py": "spacy",
        "benepar_examples.py": "benepar",
        "nltk_trees.py": "nltk",
        "transformers_bridge.py": "transformers",
        "transformers_tokenizer.py": "transformers",
    }
    for file in [*PACKAGE.rglob("*.py"), *PARSERS.rglob("*.py")]:
        early = imports_at_load(file) & late - set(named_after.get(file.name, "").split())
        assert not early, (file, early)
