"""hdiff: diffusion language models aligned with linguistic structure.

Importing this package loads nothing heavy; import the part you need:

    from hdiff.structure import SpanTree          # no torch
    from hdiff.parsers import SpacyParser         # spaCy, no torch
    from hdiff.corruption import SpanMasking      # torch only
"""

import os as _os

__version__ = "0.1.0"


def _checkout() -> list[str]:
    """The checkout this file lies in, where `hdiff.parsers` and `hdiff.recipes` are top-level folders.

    An installed hdiff holds both itself. A folder beside it that is called `parsers` belongs to somebody else
    unless the project file says otherwise.
    """
    folder = _os.path.dirname(_os.path.realpath(__file__))
    root = _os.path.dirname(folder)
    if _os.path.isdir(_os.path.join(folder, "parsers")):
        return []
    try:
        with open(_os.path.join(root, "pyproject.toml"), encoding="utf-8") as file:
            return [root] if '"hdiff.parsers" = "parsers"' in file.read() else []
    except (OSError, ValueError):
        return []


__path__ += _checkout()
