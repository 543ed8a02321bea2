"""The `hdiff diagnose` command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdiff.commands.options import LARGEST, AsJson, Quiet, Seed, output_folder, print_json
from hdiff.errors import DataError

if TYPE_CHECKING:
    from hdiff.diagnosis import HeldOut, MaskedSubject

FOREIGN = "hf:"


def diagnose(
    model: Annotated[
        str,
        typer.Argument(help="Run folder, builtin:stories, hf:PATH or hf:NAME.", metavar="RUN|hf:MODEL"),
    ],
    text: Annotated[
        Path | None,
        typer.Option(
            help="Held-out UTF-8 text, or builtin:NAME; default: the validation split of RUN's data."
        ),
    ] = None,
    prefixes: Annotated[int, typer.Option(help="Held-out prefixes to append masks to.", max=LARGEST)] = 64,
    masks: Annotated[
        int, typer.Option(help="Masks to append; fewer if the model's rows are short.", max=LARGEST)
    ] = 128,
    pairs: Annotated[
        int, typer.Option(help="Pairs of neighbours to fill at once and in turn.", max=LARGEST)
    ] = 128,
    shifted: Annotated[
        bool, typer.Option(help="Scores at a position are about the next one (Dream); hf: only.")
    ] = False,
    output: Annotated[
        Path | None,
        output_folder("Folder to write to; default: RUN (with --text RUN/diagnosis_text), ./diagnosis-NAME."),
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure frequency collapse and the marginal trap of a masked language model, own or foreign."""
    from hdiff.diagnosis import diagnose as run_diagnosis
    from hdiff.diagnosis.page import json_of, plain_text, write_diagnosis
    from hdiff.outputs import check_output_folder
    from hdiff.pages.terminal_text import visible_controls
    from hdiff.progress import Progress
    from hdiff.runs.results import asked_for
    from hdiff.shipped import HELD_OUT, PREFIX, is_builtin, model_folder

    is_foreign = model.startswith(FOREIGN)
    if is_builtin(model):
        text = text or Path(HELD_OUT[model]) if model in HELD_OUT else text
        output = output or Path(_folder_name(model.removeprefix(PREFIX)))
        model = str(model_folder(model))
    if shifted and not is_foreign:
        raise DataError(f"--shifted is for models of transformers, {model} is a run; leave it out")
    if is_foreign and text is None:
        raise DataError(f"{model} comes without text; give held-out text:", "--text FILE")
    own = Path(_folder_name(model)) if is_foreign else Path(model, "diagnosis_text" if text else "")
    folder = output or own
    if is_foreign or Path(model).is_dir():
        check_output_folder(folder, "--output DIR")
    subject, held_out = _foreign(model, text, shifted) if is_foreign and text else _run(model, text)
    display = Progress(f"diagnose {model}", quiet=quiet)
    try:
        display.stage("frequency collapse")
        diagnosis = run_diagnosis(
            subject, held_out, prefixes=prefixes, masks=masks, pairs=pairs, seed=seed, progress=display
        )
    finally:
        display.close()
    options = {"text": text, "prefixes": prefixes, "masks": masks, "pairs": pairs, "seed": seed}
    result = asked_for(json_of(diagnosis), {**options, "shifted": shifted})
    files = write_diagnosis(diagnosis, folder, result=result)
    if as_json:
        print_json(result)
    else:
        typer.echo(visible_controls(plain_text(diagnosis)))
    display.message(f"wrote {', '.join(file.name for file in files)} to {folder}")


def _run(model: str, text: Path | None) -> tuple[MaskedSubject, HeldOut]:
    from hdiff.diagnosis import HeldOut
    from hdiff.diagnosis.run_model import subject_of_run
    from hdiff.sharing.shared_run import is_shared, load_model

    run = load_model(Path(model))
    subject = subject_of_run(run)
    if text is None and is_shared(run.path):
        raise DataError(f"{model} is a shared model, which has no text; give held-out text:", "--text FILE")
    if text is None:
        return subject, HeldOut.of_run(run)
    return subject, HeldOut.of_file(text, run.tokenizer, subject.model.vocab_size)


def _foreign(model: str, text: Path, shifted: bool) -> tuple[MaskedSubject, HeldOut]:
    from hdiff.diagnosis import HeldOut
    from hdiff.diagnosis.foreign_model import load_foreign

    subject = load_foreign(model, shifted=shifted)
    return subject, HeldOut.of_file(text, subject.tokenizer, subject.model.vocab_size)


def _folder_name(model: str) -> str:
    """`diagnosis-NAME` of `hf:organisation/NAME`."""
    parts = [part for part in model.removeprefix(FOREIGN).split("/") if part not in ("", ".", "..")]
    return "diagnosis-" + re.sub(r"[^\w.-]", "_", parts[-1] if parts else "model")
