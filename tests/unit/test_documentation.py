"""What the pages show can be done as it stands there: commands, configuration, messages, targets, files, links."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import click
import pytest

from relayq.cli.configuration import split_words
from relayq.cli.main import group
from relayq.config import parse_options
from relayq.model.message_json import ParseRules, decode_members, parse_message
from tests.unit.config.loading import load_text

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    page.relative_to(ROOT) for page in itertools.chain(ROOT.glob("*.md"), sorted((ROOT / "docs").rglob("*.md")))
)
TARGETS = frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_SETTING = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+: \S.*")
_FILE = re.compile(r"(?<![\w/.])(?:examples|docs|scripts|packaging|benchmarks|tests|src)/[\w./-]*[\w/]")


class Block(NamedTuple):
    """A fenced block: ``PAGE:LINE``, its language, its text."""

    where: str
    language: str
    text: str


def _blocks() -> Iterator[Block]:
    for page in PAGES:
        text = (ROOT / page).read_text()
        for found in _BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield Block(f"{page}:{line}", found[2], found[3])


BLOCKS = tuple(_blocks())


def _shell_lines() -> Iterator[tuple[str, str]]:
    """Command lines with their place; of a session only what is typed, and nothing that a here-document holds."""
    for block in BLOCKS:
        if block.language not in {"sh", "console"}:
            continue
        end = ""
        for line in block.text.splitlines():
            if end:
                end = "" if line == end else end
            elif block.language == "sh" or line.startswith("$ "):
                yield block.where, line.removeprefix("$ ")
                here = re.search(r"<<'(\w+)'", line)
                end = here[1] if here else ""


def _commands(program: str) -> Iterator[tuple[str, list[str]]]:
    """Arguments of each call of a program."""
    for where, line in _shell_lines():
        words = shlex.split(re.sub(r"<<'\w+'", "", line), comments=True)
        for is_end, part in itertools.groupby(words, lambda word: word in {"|", "&&", ">"}):
            call = list(part)
            while not is_end and call[:1] == ["sudo"]:
                call = call[3:]  # sudo -u NAME
            if not is_end and call[:1] == [program]:
                yield where, call[1:]


RELAYQ_CALLS = tuple(_commands("relayq"))
CONFIGURATIONS = tuple(
    block
    for block in BLOCKS
    if block.language in {"", "text"} and all(map(_SETTING.fullmatch, block.text.strip().splitlines()))
)


def test_there_is_something_to_look_at() -> None:
    assert {call[0] for _, call in RELAYQ_CALLS} >= {"run", "inject", "results", "render", "doctor", "sink", "demo"}
    assert len(CONFIGURATIONS) > 10


@pytest.mark.parametrize(("where", "call"), RELAYQ_CALLS)
def test_commands_are_understood(where: str, call: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    name, *arguments = call
    command = group.get_command(click.Context(group), name)
    assert command is not None, where
    context = command.make_context(name, [word.replace("$PWD", str(ROOT)) for word in arguments])
    parse_options(split_words(context.params.get("words", ()))[0])


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=lambda block: block.where)
def test_configurations_can_be_used(block: Block, tmp_path: Path) -> None:
    settings: dict[str, str] = {}
    for line in block.text.strip().splitlines():
        key, _, value = line.partition(": ")
        settings[key] = value  # of alternatives that are shown together the last one
    load_text(tmp_path, "".join(f"{key}: {value}\n" for key, value in settings.items()))


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "json"], ids=lambda block: block.where
)
def test_json_is_json_and_messages_are_messages(block: Block) -> None:
    text = block.text.strip()
    value = json.loads(text if text[0] in "{[" else f"{{{text}}}")
    if isinstance(value, dict) and "recipient" in value and ("mime" in value or "key" in value):
        parse_message(decode_members(text.encode()), ParseRules())


def test_targets_of_make_exist() -> None:
    called = {(where, call[0]) for where, call in _commands("make")}
    named = {(str(page), name) for page in PAGES for name in re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text())}
    assert {target for _, target in called | named} > {"demo", "setup"}
    assert [use for use in called | named if use[1] not in TARGETS] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_and_links_exist(page: Path) -> None:
    text = (ROOT / page).read_text()
    links = (unquote(link) for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text))
    missing = [link for link in links if "://" not in link and not (ROOT / page.parent / link).exists()]
    assert missing + [name for name in _FILE.findall(text) if not (ROOT / name).exists()] == []
