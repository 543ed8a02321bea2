"""Folders: which files of a folder or glob are text, each once."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from hdiff.data.sources.text_files import SUFFIXES, kind_of
from hdiff.errors import DataError

_FOREIGN = frozenset(("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"))
"""Folders in which systems keep copies of their own."""


def text_files(
    source: str, note: Callable[[str], None] = lambda _: None, *, kinds: Collection[str] | None = None
) -> list[Path]:
    """Files of a source, in the order of their names.

    Hidden files, copies that editors and systems leave (`.ipynb_checkpoints`, `._a.txt`, `__MACOSX`,
    `a.txt~`, `~$a.txt`, `#a.txt#`), and files that were found already under another name are left out.

    Args:
        source: A file, a folder or a glob.
        note: Told what is left out.
        kinds: Endings of files to take, such as `.py`; None takes those that `read_file` reads.

    Returns:
        The files, at least one.

    Raises:
        DataError: If there is none.
    """
    path = Path(source).expanduser()
    if path.is_file():
        if kinds is not None and path.suffix not in kinds:
            raise DataError(f"{path} is of another kind; give a file that ends in {', '.join(kinds)}")
        return [path]
    if path.is_dir():
        root = path
        candidates = [file for file in path.rglob("*") if file.is_file()]
    elif glob.has_magic(source):
        root = _without_magic(path)
        candidates = [Path(file) for file in glob.glob(str(path), recursive=True) if Path(file).is_file()]
        if not candidates:
            raise DataError(f"no file matches {source}; check the pattern and quote it")
    else:
        raise DataError(f"no file or folder {source}; give a path, a glob, builtin:NAME or hf:NAME")
    candidates.sort()
    copies = [file for file in candidates if _is_copy(file.relative_to(root).parts)]
    rest = sorted(set(candidates).difference(copies))
    readable = [file for file in rest if _is_of(file, kinds)]
    files = list({(file.stat().st_dev, file.stat().st_ino): file for file in reversed(readable)}.values())
    others = [file for file in rest if not _is_of(file, kinds)]
    endings = ", ".join(f"{suffix or 'no suffix'}: {n}" for suffix, n in _suffixes(others).most_common(5))
    if not files:
        wanted = ", ".join(kinds or SUFFIXES)
        raise DataError(
            f"none of the {len(candidates)} files of {source} ends in {wanted} and can be read "
            f"({len(copies)} are hidden files or copies; endings of the others: {endings or 'none'}); "
            f"{'give other files' if kinds else 'convert them'}"
        )
    files.sort()
    _tell(note, "hidden files and copies are left out", copies)
    _tell(note, f"files are of other kinds ({endings}) and left out", others)
    _tell(note, "files are links to others and read once", sorted(set(readable).difference(files)))
    return files


def _is_of(path: Path, kinds: Collection[str] | None) -> bool:
    return kind_of(path) is not None if kinds is None else path.suffix in kinds


def is_local(source: str) -> bool:
    """Whether a source names files."""
    return source.partition(":")[0] not in ("builtin", "hf", "treebank", "python")


def named(files: Iterable[Path]) -> str:
    """The first names of some files, for a sentence."""
    names = [str(file) for file in files]
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _tell(note: Callable[[str], None], what: str, files: list[Path]) -> None:
    if files:
        note(f"{len(files):,} {what}: {named(files)}")


def _suffixes(files: Iterable[Path]) -> Counter[str]:
    return Counter(file.suffix for file in files)


def _is_copy(parts: tuple[str, ...]) -> bool:
    return any(
        part.startswith((".", "~$")) or part.endswith("~") or part in _FOREIGN or part[0] + part[-1] == "##"
        for part in parts
    )


def _without_magic(path: Path) -> Path:
    """The part of a glob before its first pattern."""
    while glob.has_magic(str(path)):
        path = path.parent
    return path
