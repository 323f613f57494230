# SPDX-License-Identifier: MIT
"""The work of demo.py: what runs inside acrossd. Both sides import it, so that they know these names."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from across.logging import AcrossHandler

logger = logging.getLogger('demo.worker')


@dataclass
class FileReport:
    """What survey() found out about one file."""

    name: str
    lines: int
    words: int
    sha256: str


class WordIndex:
    """In which files does a word stand? Lives in acrossd; callers hold a proxy."""

    def __init__(self, folder: str) -> None:
        self._counts: dict[str, Counter[str]] = {}
        for path in text_files(folder):
            self._counts[path.name] = Counter(words_of(path.read_text(encoding='utf-8')))
        logger.info('indexed %d files', len(self._counts))

    def __len__(self) -> int:
        return len(self._counts)

    def find(self, word: str) -> list[str]:
        """The names of the files that hold this word."""
        return [name for name, counts in self._counts.items() if counts[word]]

    def total(self) -> Counter[str]:
        """How often each word stands in all files together."""
        return sum(self._counts.values(), Counter())


def words_of(text: str) -> list[str]:
    return re.findall(r'[a-z]{2,}', text.lower())


def text_files(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).iterdir() if path.suffix == '.md')


def report(path: Path) -> FileReport:
    data = path.read_bytes()
    text = data.decode('utf-8')
    return FileReport(path.name, text.count('\n'), len(words_of(text)), hashlib.sha256(data).hexdigest())


def survey(folder: str, progress: Callable[[int, int, str], None]) -> list[FileReport]:
    """Reads every file of a folder, and tells `progress` before each."""
    paths = text_files(folder)
    reports = []
    for number, path in enumerate(paths, 1):
        progress(number, len(paths), path.name)
        reports.append(report(path))
    return reports


def most_common(index: WordIndex, ignored: Iterable[str], count: int) -> list[tuple[str, int]]:
    """The most common words of an index, but for the ignored ones."""
    totals = index.total()
    for word in ignored:
        del totals[word]
    return totals.most_common(count)


def checksum(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def forward_logs() -> None:
    """What is logged here from now on appears at the caller, too."""
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(AcrossHandler())
