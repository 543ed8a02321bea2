"""The `hdiff doctor` command."""

from __future__ import annotations

from hdiff.commands.options import AsJson, Quiet, print_json


def doctor(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Try what works here: parsers, attention kernels, devices, packages; and say how to get the rest."""
    from dataclasses import asdict

    from hdiff.doctor import diagnose, render
    from hdiff.progress import console

    checks = diagnose()
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        render(checks, console())
