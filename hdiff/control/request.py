"""Request: what is asked of a text on the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hdiff.errors import DataError

CONTROLS: tuple[str, ...] = ("infill", "keywords", "rewrite", "skeleton")
"""Ways to say what a text must be like; one at a time."""


@dataclass(frozen=True)
class Request:
    """What is asked of a text; one of the first four, or nothing.

    Attributes:
        infill: Pattern with gaps, `The dog [4].`.
        keywords: Keywords, separated by commas; with `length`.
        rewrite: Text whose `phrase` is written again.
        skeleton: Spans, `NP:2 VP:3`.
        phrase: Phrase of `rewrite`.
        phrase_length: Tokens in its place, `3` or `2-5`; None: as many as it has.
        length: Tokens of the text.
        tries: Placements of keywords (None: the default of `with_keywords`), or texts drawn until the parser
            finds the skeleton in one (None: one, not parsed).
    """

    infill: str | None = None
    keywords: str | None = None
    rewrite: str | None = None
    skeleton: str | None = None
    phrase: str | None = None
    phrase_length: str | None = None
    length: int | None = None
    tries: int | None = None

    @property
    def control(self) -> str | None:
        """Which of the four, or None."""
        return next((name for name in CONTROLS if getattr(self, name) is not None), None)

    def check(self) -> None:
        """Refuses several controls, and options that a control does not use."""
        names = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        controls = [name for name in names if name in CONTROLS]
        if len(controls) > 1:
            raise DataError(f"--{' and --'.join(controls)} at once; give one of them")
        used: dict[str | None, tuple[str, ...]] = {
            "keywords": ("length", "tries"),
            "rewrite": ("phrase", "phrase_length"),
            "skeleton": ("tries",),
            None: ("length",),
        }
        for name in names:
            if name not in controls and name not in used.get(self.control, ()):
                users = [f"--{control}" for control, options in used.items() if control and name in options]
                raise DataError(
                    f"--{name.replace('_', '-')} does not go with "
                    f"{f'--{self.control}' if self.control else 'samples without a control'}; it is for "
                    f"{' and '.join(users)}"
                )
        needed = {"keywords": "length", "rewrite": "phrase"}.get(self.control or "")
        if needed and needed not in names:
            raise DataError(f"--{self.control} without --{needed}; give both")
