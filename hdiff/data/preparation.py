"""Preparation: one run from documents to a finished data set. No torch."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hdiff
from hdiff.data.arrow import write_split
from hdiff.data.documents import SPLITS, Documents, Shard, read_texts
from hdiff.data.durable_files import file_sha256, sync, write_atomically
from hdiff.data.output_folder import FORMAT_VERSION, OutputFolder
from hdiff.data.parsing_pool import parse_shards
from hdiff.data.prepare_request import Request
from hdiff.data.rows import RowWriter
from hdiff.data.shard import read_trees
from hdiff.data.tokenizer import FILE_NAME as TOKENIZER_FILE
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.parsers import InverseDocumentFrequency
from hdiff.structure import SpanTree

SALIENCE_FILE = "salience.json"
REJECTED_FILE = "rejected.jsonl"
MAX_LABELS = 2**15
"""Label ids are int16."""

Progress = Callable[[str, int, "int | None"], None]
"""Called with a stage, how many documents are done, and how many there are (None: not known)."""


@dataclass(frozen=True)
class _Parsed:
    """A parsed shard: its split, its file of trees, and what `parse_shard` reported."""

    split: str
    path: Path
    report: dict[str, Any]


@dataclass(frozen=True)
class Preparation:
    """One run of `prepare`.

    Attributes:
        request: What to prepare.
        folder: Where; claimed.
        progress: Called with a stage, how many documents are done, and how many there are.
    """

    request: Request
    folder: OutputFolder
    progress: Progress

    def run(self, workers: int) -> dict[str, Any]:
        """Does all the work.

        Args:
            workers: Parsing processes.

        Returns:
            The manifest.
        """
        staging = self.folder.staging
        (staging / "documents").mkdir(exist_ok=True)
        (staging / "trees").mkdir(exist_ok=True)
        with self.folder.disk_errors():
            documents = self._read(staging / "documents")
        with self.folder.disk_errors(documents.num_characters):
            tokenizer = self._tokenizer(documents)
            tokenizer.save(staging)
            reports = self._parse(documents, workers)
            salience = self._salience(reports)
            facts = self._write(documents, tokenizer, salience, reports)
            self.folder.finish([*SPLITS, TOKENIZER_FILE, SALIENCE_FILE, REJECTED_FILE], facts)
        return facts

    def _read(self, folder: Path) -> Documents:
        self.progress("read", 0, None)
        documents = Documents.read(self.request.selection, folder)
        total = sum(documents.num_documents.values())
        self.progress("read", total, total)
        return documents

    def _tokenizer(self, documents: Documents) -> Tokenizer:
        if self.request.given_tokenizer is not None:
            return self.request.given_tokenizer
        total = documents.num_documents["train"]
        self.progress("train tokenizer", 0, total)
        shards = [shard.path for shard in documents.shards if shard.split == "train"]
        # Lone surrogates are refused later, by the parser, with a count.
        texts = (text.encode(errors="replace").decode() for path in shards for text in read_texts(path))
        tokenizer = Tokenizer.train(texts, self.request.tokenizer_spec)
        self.progress("train tokenizer", total, total)
        return tokenizer

    def _parse(self, documents: Documents, workers: int) -> list[_Parsed]:
        total = sum(documents.num_documents.values())
        done = 0
        self.progress("parse", 0, total)

        def on_shard(shard: Shard) -> None:
            nonlocal done
            done += shard.num_documents
            self.progress("parse", done, total)

        reports = parse_shards(
            documents.shards,
            self.folder.staging / "trees",
            self.request.parser_spec,
            workers=workers,
            on_shard=on_shard,
        )
        parsed = [
            _Parsed(shard.split, path, report)
            for shard, (path, report) in zip(documents.shards, reports.items(), strict=True)
        ]
        for split in SPLITS:
            of_split = [shard.report for shard in parsed if shard.split == split]
            if not any(report["trees"] for report in of_split):
                reason = next(reason for report in of_split for reason in report["rejected"])
                raise DataError(
                    f"the parser rejects all {documents.num_documents[split]} documents of split '{split}': "
                    f"{reason}; give other text or another --parser"
                )
        return parsed

    def _salience(self, parsed: list[_Parsed]) -> InverseDocumentFrequency:
        train = [shard for shard in parsed if shard.split == "train"]
        total = sum(shard.report["trees"] for shard in train)

        def trees() -> Iterator[SpanTree]:
            done = 0
            for shard in train:
                for item in read_trees(shard.path):
                    if isinstance(item, SpanTree):
                        yield item
                done += shard.report["trees"]
                self.progress("fit salience", done, total)

        salience = InverseDocumentFrequency.fit(trees())
        data = json.dumps(salience.to_dict()).encode("ascii")
        write_atomically(self.folder.staging / SALIENCE_FILE, data)
        return salience

    def _write(
        self,
        documents: Documents,
        tokenizer: Tokenizer,
        salience: InverseDocumentFrequency,
        parsed: list[_Parsed],
    ) -> dict[str, Any]:
        staging = self.folder.staging
        labels = self._labels(parsed)
        counts: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
        files = []
        with (staging / REJECTED_FILE).open("w", encoding="ascii") as rejected_file:
            writer = RowWriter(tokenizer, salience, self.request.levels, labels, rejected_file)
            for split in SPLITS:
                shards = [shard.path for shard in parsed if shard.split == split]
                total = sum(shard.report["trees"] for shard in parsed if shard.split == split)
                self.progress(f"write {split}", 0, total)
                shutil.rmtree(staging / split, ignore_errors=True)
                files += write_split(writer.rows(split, shards, counts[split]), staging / split)
                self.progress(f"write {split}", total, total)
        files += [staging / name for name in (TOKENIZER_FILE, SALIENCE_FILE, REJECTED_FILE)]
        sync(files)
        return {
            **self._facts(documents, tokenizer),
            "labels": labels,
            "counts": counts,
            "rejected": dict(writer.rejected.most_common()),
            "snapped": writer.snapped,
            "sha256": {path.relative_to(staging).as_posix(): file_sha256(path) for path in files},
        }

    def _labels(self, parsed: list[_Parsed]) -> list[str]:
        reports = [shard.report["labels"] for shard in parsed]
        levels = self.request.levels
        labels = sorted({label for report in reports for level in levels for label in report.get(level, ())})
        if len(labels) > MAX_LABELS:
            raise DataError(f"the parser gives {len(labels)} labels, at most {MAX_LABELS} fit; merge some")
        return labels

    def _facts(self, documents: Documents, tokenizer: Tokenizer) -> dict[str, Any]:
        selection = self.request.selection
        return {
            "format_version": FORMAT_VERSION,
            "hdiff_version": hdiff.__version__,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "source": selection.source,
            "validation": selection.validation_source,
            "validation_fraction": None if selection.validation_source else selection.validation_fraction,
            "limit": selection.limit,
            "inputs": self.request.inputs(documents),
            "parser": {"name": self.request.parser.name, **self.request.parser.fingerprint()},
            "levels": list(self.request.levels),
            "tokenizer": {
                "spec": self.request.tokenizer_spec,
                "sha256": tokenizer.sha256,
                "vocab_size": tokenizer.vocab_size,
                "eos_id": tokenizer.eos_id,
            },
        }
