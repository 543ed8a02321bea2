"""Places and values that no command can use, made on the disk of a test."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

NUMBERS = [
    "-1",
    "0",
    "2147483648",
    "9" * 30,
    "-9223372036854775809",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "0.5",
    "",
    "two",
]
TEXTS = [
    "",
    " ",
    "0",
    "-1",
    "nan",
    "9" * 400,
    "x" * 100_000,
    "é\u0301 \U0001f600",
    "\x1b[31m\x07",
    "a\0b",
    "a\nb",
    "\udcff",
    "[",
    "{",
    "{kind: {a: 1}}",
    "{kind: planned, order: {kind: [1, 2]}}",
    "[1, 2]",
    "null",
    "%s {0} $HOME",
    "../x",
    "hf:",
    "nowhere:Nothing",
    "os:system",
    ":",
    ",",
    "*",
    "a=b=c",
    "--",
]


def places(folder: Path, run: Path, data: Path) -> dict[str, str]:
    """Places by their kind: nothing there, something else there, or nothing that may be read or written.

    Args:
        folder: An empty folder of the test.
        run: A run folder.
        data: A prepared data set.

    Returns:
        Paths by kind.
    """
    (folder / "folder").mkdir()
    for name in ("of folders.ptb", "of folders.yaml", "of folders.jsonl"):
        (folder / name).mkdir()
    contents = {"empty": b"", "text.txt": b"The dog slept.\n", "binary": bytes(range(256)) * 20}
    contents |= {f"empty{suffix}": b"" for suffix in (".yaml", ".ptb", ".jsonl", ".parquet", ".csv")}
    contents |= {f"binary{suffix}": bytes(range(256)) for suffix in (".yaml", ".ptb", ".jsonl", ".parquet")}
    contents |= {"list.yaml": b"[1, 2]\n", "null.yaml": b"null\n", "null.jsonl": b"null\n"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    if os.getuid() == 0:  # of its own: a fault must not harm that of the machine
        os.mknod(folder / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    else:
        (folder / "full").symlink_to("/dev/full")
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.yaml")
    (folder / "dangling").symlink_to(folder / "nowhere" / "at all")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "locked").mkdir()
    run, data = shutil.copytree(run, folder / "run"), shutil.copytree(data, folder / "data")
    named = {name: str(folder / name) for name in os.listdir(folder)}
    return named | {
        "missing": str(folder / "missing"),
        "nothing": "",
        "this folder": ".",
        "below a file": str(folder / "text.txt" / "below"),
        "below nothing": str(folder / "no" / "such" / "folder"),
        "below a loop": str(folder / "loop" / "below"),
        "kernel folder": "/proc/none",
        "kernel file": "/proc/version",
        "below a device": "/dev/null/below",
        "name too long": str(folder / ("n" * 300)),
        "path too long": "a/" * 3000,
        "NUL": "a\0b",
        "half a character": "\udcff",
        "controls": "\x1b[31m\n",
        "a run's record": str(run / "run.json"),
        "weights": str(next(run.glob("checkpoints/*/model.safetensors"))),
        "checkpoints": str(run / "checkpoints"),
        "part of data": str(next(data.glob("train/*.arrow"))),
    }
