"""hdiff: diffusion language models aligned with linguistic structure.

Importing this package loads nothing heavy; import the part you need:

    from hdiff.structure import SpanTree          # no torch
    from hdiff.parsers import SpacyParser         # spaCy, no torch
    from hdiff.corruption import SpanMasking      # torch only
"""

__version__ = "0.1.0"
