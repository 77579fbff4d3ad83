"""The lock files are what `pyproject.toml` asks for, hashed, and free of addresses (docs/decisions/0004)."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME: list[str] = PROJECT["project"]["dependencies"]
GROUPS: dict[str, list[str]] = {name: list(PROJECT["dependency-groups"][name]) for name in ("dev", "docs")}
LOCKS = {"runtime": RUNTIME, "dev": RUNTIME + GROUPS["dev"], "docs": RUNTIME + GROUPS["docs"]}


def lock_text(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def pins(name: str) -> dict[str, set[Version]]:
    """Versions by package name; a package has several when its marker asks for different ones."""
    found: dict[str, set[Version]] = {}
    for line in lock_text(name).splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line.rstrip(" \\"))
            (specifier,) = requirement.specifier
            found.setdefault(canonicalize_name(requirement.name), set()).add(Version(specifier.version))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_locked_to_a_version_that_satisfies_it(name: str) -> None:
    locked = pins(name)
    for requirement in map(Requirement, LOCKS[name]):
        versions = locked.get(canonicalize_name(requirement.name))
        assert versions, f"{requirement.name} is not in requirements/{name}.txt: run `make lock`"
        assert all(version in requirement.specifier for version in versions), f"{requirement}: run `make lock`"


@pytest.mark.parametrize("name", ["dev", "docs"])
def test_all_locks_agree_on_what_runs_in_production(name: str) -> None:
    locked = pins(name)
    assert {package: locked.get(package) for package in pins("runtime")} == pins("runtime")


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash(name: str) -> None:
    lines = lock_text(name).splitlines()
    packages = [number for number, line in enumerate(lines) if line and not line.startswith((" ", "#"))]
    assert packages
    assert all(lines[number + 1].startswith("    --hash=sha256:") for number in packages)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_address(name: str) -> None:
    assert "://" not in lock_text(name)
    assert not [line for line in lock_text(name).splitlines() if line.startswith("-")]
