"""What fuzzing began with, and what it once found, goes through its targets in every run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
FILES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.parent.name for path in FILES} == set(TARGETS)


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.name}" for path in FILES])
def test_a_target_takes_what_it_was_given_before(path: Path) -> None:
    octets = path.read_bytes()
    target = TARGETS[path.parent.name]
    target(octets)
    for cut in range(1, min(len(octets), 64)):  # a beginning, an end, and one octet turned over
        target(octets[:-cut])
        target(octets[cut:])
        target(octets[: cut - 1] + bytes((octets[cut - 1] ^ 0x55,)) + octets[cut:])
