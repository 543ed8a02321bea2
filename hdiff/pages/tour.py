"""tour_page: what one or two models write for the same requests, side by side. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hdiff.errors import DataError
from hdiff.pages.page import check_trajectory, render_page
from hdiff.pages.report_text import count
from hdiff.pages.trajectory import steps_text

HIDDEN = {"span_masking": "whole spans", "token_masking": "single tokens"}
DRAWN = {"autoregressive": "jointly", "product": "apart"}
"""How the page says what a recipe calls otherwise."""


def same_as(tour: Mapping[str, Any]) -> list[str | None]:
    """For each part the title of an earlier one with the same texts: more steps than units change nothing."""
    titles: dict[tuple[str, ...], str] = {}
    found: list[str | None] = []
    for part in tour["parts"]:
        texts = tuple("".join(p["text"] for p in s["pieces"]) for s in part["trajectory"]["samples"])
        found.append(titles.get(texts))
        titles.setdefault(texts, part["title"])
    return found


def tour_page(tours: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """Page of one tour, or of several that were asked the same."""
    names = [[part["name"] for part in tour["parts"]] for tour in tours]
    if any(each != names[0] for each in names):
        raise DataError("the tours were asked different things; make them with the same hdiff")
    rows = []
    again = [same_as(tour) for tour in tours]
    for index, first in enumerate(tours[0]["parts"]):
        cells = []
        for number, tour in enumerate(tours):
            part = tour["parts"][index]
            check_trajectory(part["trajectory"])
            texts = ["".join(p["text"] for p in s["pieces"]).strip() for s in part["trajectory"]["samples"]]
            cells.append(
                {
                    "place": f"film-{number}-{index}",
                    "steps": steps_text(part["trajectory"]),
                    "texts": texts,
                    "same": again[number][index],
                }
            )
        film = first["trajectory"].get("process", "")
        rows.append({"title": first["title"], "given": first["given"], "film": film, "cells": cells})
    films = {
        f"film-{number}-{index}": part["trajectory"]
        for number, tour in enumerate(tours)
        for index, part in enumerate(tour["parts"])
    }
    models = [
        {
            **tour,
            "size": count(tour["parameters"]),
            "hidden": HIDDEN.get(tour["corruption"], tour["corruption"]),
            "drawn": DRAWN.get(tour["head"], tour["head"]),
        }
        for tour in tours
    ]
    return render_page(
        "tour.html",
        title=title,
        data=films,
        scripts=("trajectory.js", "start_tour.js"),
        context={"rows": rows, "models": models, "temperature": tours[0]["temperature"]},
    )
