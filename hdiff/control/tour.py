"""tour: what a model of stories can do, in a handful of requests, the same ones for every model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hdiff.control.request import Request
from hdiff.control.samples import controlled_samples
from hdiff.factory import count_parameters
from hdiff.heads.sampling import Sampling
from hdiff.runs.folder import RunFolder

SAMPLING = Sampling(temperature=0.8)
"""How every text of the tour is drawn; the pages say so."""

FREE_STEPS = (1, 4, 16)
"""Steps of the free texts."""

LENGTH = 96
"""Tokens of a free text."""

FILM = (
    "film",
    "A story, coarse to fine",
    Request(infill="Once upon a time, [80]"),
    {"kind": "ancestral", "order": "longest_first", "lengths": {20: 2.0, 6: 2.0, 2: 3.0}},
)
"""Name, title, request and sampler of a story of which each step fills one unit, long ones first."""

STORY = "Tom and his dog went to the park. They saw a big tree. Tom was very happy."

AROUND = "Once upon a time, [12]. She was very sad because [10]."

REQUESTS = (
    ("infill", "Words around two gaps", Request(infill=AROUND)),
    ("beginning", "A beginning", Request(infill="Once upon a time, there was a girl named Lily. [64]")),
    ("rewrite", "All but one phrase", Request(rewrite=STORY, phrase="a big tree", phrase_length="2-5")),
    ("keywords", "Three keywords in this order", Request(keywords="cat,rain,friend", length=40)),
)  # fmt: skip
"""Texts that are given in part: name, what is given, request."""


def tour(run: RunFolder, *, seed: int = 0, told: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """Draws the texts.

    Args:
        run: A model of masked units.
        seed: Seed of every text.
        told: Gets the name of each part that is done.

    Returns:
        JSON-able: `name`, `step`, `parameters`, `temperature`, `corruption`, `head`, and `parts`, each with
        `name`, `title`, `given` (what was given, None for a free text), `steps` and `trajectory`.

    Raises:
        DataError: If the model takes no given words.
    """
    parts: list[dict[str, Any]] = []

    def add(
        name: str,
        title: str,
        request: Request,
        steps: int | None,
        num: int,
        sampler: Mapping[str, Any] | None = run.recipe.evaluation.sampler,
    ) -> None:
        record = controlled_samples(
            run,
            request,
            num_samples=num,
            num_steps=steps,
            seed=seed,
            sampling=SAMPLING,
            sampler=sampler,
        )
        samples = [{"pieces": sample["pieces"]} for sample in record["samples"]]
        given: str | None = None if request.control is None else getattr(request, request.control)
        if request.phrase is not None and given is not None:
            given = given.replace(request.phrase, f"[{request.phrase}]")
        num_steps = record["nfe"] if name == FILM[0] else record["num_steps"]
        about = {"title": title, "num_steps": num_steps, "samples": samples, "process": record["process"]}
        parts.append(
            {"name": name, "title": title, "given": given, "nfe": record["nfe"], "trajectory": about}
        )
        told(name)

    name, title, request, sampler = FILM
    add(name, title, request, 80, 1, sampler)
    for steps in FREE_STEPS:
        title = f"Free text in {steps} step{'s' * (steps > 1)}"
        add(f"free_{steps}", title, Request(length=LENGTH), steps, 2)
    for name, title, request in REQUESTS:
        add(name, title, request, None, 1)
    return {
        "name": run.recipe.name,
        "step": run.step,
        "parameters": count_parameters(run.denoiser)["total"],
        "corruption": run.recipe.corruption["kind"],
        "head": run.recipe.head["kind"],
        "temperature": SAMPLING.temperature,
        "seed": seed,
        "parts": parts,
    }
