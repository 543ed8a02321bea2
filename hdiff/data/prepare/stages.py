"""Preparation: one run from documents to a finished data set."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdiff.data.manifest import SALIENCE_FILE, TOKEN_SALIENCE_FILE
from hdiff.data.prepare.assembly import (
    Done,
    OnProgress,
    count,
    write_rejected,
    write_splits,
    write_token_salience,
)
from hdiff.data.prepare.documents import Documents, Shard, read_shard
from hdiff.data.prepare.engines import Engine
from hdiff.data.prepare.facts import (
    check_rejected,
    facts,
    kept_levels,
    labels_of,
    languages_of,
    notes,
    told_of,
)
from hdiff.data.prepare.job import Job, Report
from hdiff.data.prepare.output_folder import OutputFolder
from hdiff.data.prepare.request import Request
from hdiff.data.prepare.selection import SPLITS
from hdiff.data.prepare.trees import read_statistics
from hdiff.data.sources.prompts import BORDER
from hdiff.data.tokenizer import FILE_NAME as TOKENIZER_FILE
from hdiff.data.tokenizer import Tokenizer
from hdiff.errors import DataError
from hdiff.files import file_sha256, sync, write_atomically
from hdiff.parsers import WordStatistics, salience_class, salience_to_dict

REJECTED_FILE = "rejected.jsonl"
PLAN_FILE = "plan.json"
_FILES = (TOKENIZER_FILE, SALIENCE_FILE, REJECTED_FILE, TOKEN_SALIENCE_FILE)
_FACTS = (
    *("documents", "trees", "labels", "languages", "rejected", "fallbacks"),
    *("tokens", "words", "characters", "spans", "without", "snapped"),
)
"""What is kept of the reports of jobs."""

TOKENIZER_CHARACTERS = 50_000_000
"""A tokenizer is learned from about as many characters at most, taken evenly from all the text."""


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
    progress: OnProgress

    def run(self, engine: Engine) -> dict[str, Any]:
        """Does all the work and returns the manifest."""
        staging = self.folder.staging
        for name in ("documents", "trees", "rows"):
            (staging / name).mkdir(exist_ok=True)
        with self.folder.disk_errors():
            documents = self._read(staging / "documents")
        with self.folder.disk_errors(documents.num_characters):
            tokenizer = self._tokenizer(documents)
            tokenizer.save(staging)
            parsed = self._parse(documents, engine)
            self._salience(parsed)
            aligned = self._align(parsed, tokenizer, engine)
            check_rejected(self.request, documents, aligned)
            manifest = self._write(documents, tokenizer, parsed, aligned)
            self.folder.finish([*SPLITS, *_FILES], manifest)
        return manifest

    def plan(self) -> int:
        """Only reads the source and writes its shards, for `parse_share`; returns how many there are."""
        staging = self.folder.staging
        for name in ("documents", "trees", "rows"):
            (staging / name).mkdir(exist_ok=True)
        with self.folder.disk_errors():
            documents = self._read(staging / "documents")
            plan = {"inputs": self.request.inputs(documents), "documents": documents.to_dict()}
            write_atomically(staging / PLAN_FILE, json.dumps(plan).encode("ascii"))
        return len(documents.shards)

    def parse_share(self, engine: Engine, index: int, count: int) -> int:
        """Only parses every `count`-th shard of a plan from `index` on, on any machine; returns how many."""
        staging = self.folder.staging
        try:
            plan = json.loads((staging / PLAN_FILE).read_bytes())
        except FileNotFoundError:
            raise DataError(
                f"{self.folder.path} holds no plan; run the same command once without --shard-index and with",
                "--plan",
            ) from None
        documents = Documents.from_dict(plan["documents"], staging / "documents")
        inputs = self.request.inputs(documents)
        different = [key for key, value in inputs.items() if plan["inputs"].get(key) != value]
        if different:
            raise DataError(
                f"{self.folder.path} holds a plan for other inputs (different: {', '.join(different)}); "
                "give the same options, or plan again:",
                "--plan",
            )
        share = documents.shards[index::count]
        if share:
            with self.folder.disk_errors(sum(shard.num_characters for shard in share)):
                self._parse_shards(share, engine)
        return len(share)

    def _read(self, folder: Path) -> Documents:
        self.progress("read", 0, None)
        documents = Documents.read(self.request.selection, folder)
        total = sum(documents.num_documents.values())
        self.progress("read", total, total)
        return documents

    def _tokenizer(self, documents: Documents) -> Tokenizer:
        if self.request.given_tokenizer is not None:
            return self.request.given_tokenizer
        shards = _evenly(
            [shard for shard in documents.shards if shard.split == "train"], TOKENIZER_CHARACTERS
        )
        total = sum(shard.num_documents for shard in shards)
        self.progress("train tokenizer", 0, total)
        # Lone surrogates are refused later, by the parser, with a count.
        texts = (
            text.encode(errors="replace").decode().replace(BORDER, "\n")
            for shard in shards
            for text in read_shard(shard.path)
            if isinstance(text, str)
        )
        tokenizer = Tokenizer.train(texts, self.request.tokenizer_spec)
        self.progress("train tokenizer", total, total)
        return tokenizer

    def _parse(self, documents: Documents, engine: Engine) -> list[Done]:
        parsed = self._parse_shards(documents.shards, engine)
        for split in SPLITS:
            of_split = [shard.report for shard in parsed if shard.split == split]
            if not any(report["trees"] for report in of_split):
                reason = next(reason for report in of_split for reason in report["rejected"])
                raise DataError(
                    f"the parser rejects all {documents.num_documents[split]} documents of split '{split}': "
                    f"{reason}; give other text, or another parser, for example",
                    "--parser plain --levels sentence",
                )
        return parsed

    def _parse_shards(self, shards: Sequence[Shard], engine: Engine) -> list[Done]:
        salience = salience_class(self.request.salience)
        settings: dict[str, Any] = {
            "parser": self.request.parser_spec,
            "annotations": list(salience.needs),
            "pairs": salience.needs_pairs,
            "cache": None if self.request.cache is None else str(self.request.cache.resolve()),
        }
        if self.request.selection.prompts is not None:
            settings["prompts"] = True
        sources = [(shard.split, shard.path, shard.num_documents) for shard in shards]
        return self._do("parse", sources, self.folder.staging / "trees", settings, engine)

    def _salience(self, parsed: list[Done]) -> None:
        train = [shard for shard in parsed if shard.split == "train"]
        total = sum(shard.report["trees"] for shard in train)
        statistics = WordStatistics()
        done = 0
        for shard in train:
            self.progress("fit salience", done, total)
            statistics.add(WordStatistics.from_dict(read_statistics(shard.path)))
            done += shard.report["trees"]
        self.progress("fit salience", done, total)
        salience = salience_class(self.request.salience).of(statistics)
        data = json.dumps(salience_to_dict(salience)).encode("ascii")
        write_atomically(self.folder.staging / SALIENCE_FILE, data)

    def _align(self, parsed: list[Done], tokenizer: Tokenizer, engine: Engine) -> list[Done]:
        staging = self.folder.staging
        settings = {
            "tokenizer": str(staging.resolve() / TOKENIZER_FILE),
            "tokenizer_sha256": tokenizer.sha256,
            "salience": str(staging.resolve() / SALIENCE_FILE),
            "salience_sha256": file_sha256(staging / SALIENCE_FILE),
            "levels": list(self.request.levels),
            "labels": labels_of(self.request, parsed),
        }
        if (prompts := self.request.selection.prompts) is not None:
            settings["prompts"] = prompts.kind
        sources = [(shard.split, shard.path, shard.report["documents"]) for shard in parsed]
        return self._do("align", sources, staging / "rows", settings, engine)

    def _do(
        self,
        step: str,
        sources: Sequence[tuple[str, Path, int]],
        folder: Path,
        settings: dict[str, Any],
        engine: Engine,
    ) -> list[Done]:
        """Does one step of all shards, given as (split, file, number of documents)."""
        data = json.dumps(settings).encode("ascii")
        settings_file = folder / f"{hashlib.sha256(data).hexdigest()[:16]}.settings"
        write_atomically(settings_file, data)
        numbers = {folder / path.name: number for _, path, number in sources}
        total, done = sum(numbers.values()), 0
        reports: dict[Path, Report] = {}
        self.progress(step, 0, total)

        def on_job(job: Job, report: Report) -> None:
            nonlocal done
            done += numbers[job.out]
            reports[job.out] = _kept(report)
            self.progress(step, done, total)

        longest_first = sorted((path for _, path, _ in sources), key=_size, reverse=True)
        engine.run([Job(step, path, folder / path.name, settings_file) for path in longest_first], on_job)
        return [Done(split, folder / path.name, reports[folder / path.name]) for split, path, _ in sources]

    def _write(
        self,
        documents: Documents,
        tokenizer: Tokenizer,
        parsed: list[Done],
        aligned: list[Done],
    ) -> dict[str, Any]:
        staging = self.folder.staging
        levels = kept_levels(self.request, aligned)
        files = write_splits(aligned, staging, self.progress)
        rejected = write_rejected(aligned, staging / "documents", staging / REJECTED_FILE)
        histogram = write_token_salience(aligned, staging / TOKEN_SALIENCE_FILE, tokenizer.vocab_size)
        files += [staging / name for name in _FILES]
        sync(files)
        return {
            **facts(self.request, documents, tokenizer),
            "labels": labels_of(self.request, parsed),
            "told": told_of(parsed),
            **languages_of(parsed),
            "levels": list(levels),
            "counts": {split: count(aligned, split, levels) for split in SPLITS},
            "rejected": rejected,
            "notes": notes(self.request, documents, aligned),
            "fallbacks": sum(shard.report["fallbacks"] for shard in parsed),
            "snapped": sum(shard.report["snapped"] for shard in aligned),
            "salience_histogram": histogram,
            "sha256": {path.relative_to(staging).as_posix(): file_sha256(path) for path in files},
        }


def _evenly(shards: Sequence[Shard], max_characters: int) -> list[Shard]:
    """Every k-th shard, so that they hold about as many characters as allowed at most."""
    total = sum(shard.num_characters for shard in shards)
    return list(shards[:: max(1, -(-total // max_characters))])


def _kept(report: Report) -> Report:
    """What is needed of a report, small, as there is one per shard."""
    kept = {name: report[name] for name in _FACTS if name in report}
    if "labels" in kept:
        kept["labels"] = {level: tuple(map(sys.intern, labels)) for level, labels in kept["labels"].items()}
    return kept


def _size(path: Path) -> int:
    return path.stat().st_size
