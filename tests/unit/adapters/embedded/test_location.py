from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from relayq.adapters.embedded.location import USER_FILE, find_file, network_file_system
from relayq.ports import BrokerStorageError


def test_a_given_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert find_file(str(tmp_path / "nowhere" / "file.db")) == tmp_path / "nowhere" / "file.db"


def test_the_system_file_is_used_when_it_exists(tmp_path: Path) -> None:
    system = tmp_path / "relayq.db"
    system.touch()
    assert find_file(None, system_file=system, home=tmp_path / "home") == system


def test_the_system_folder_is_used_when_it_can_be_written(tmp_path: Path) -> None:
    assert find_file(None, system_file=tmp_path / "relayq.db", home=tmp_path / "home") == tmp_path / "relayq.db"


def test_otherwise_the_home_folder_is_and_its_folders_are_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert find_file(None, system_file=tmp_path / "missing" / "relayq.db", home=home) == home / USER_FILE
    assert (home / USER_FILE).parent.is_dir()


def test_a_home_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(BrokerStorageError) as caught:
        find_file(None, system_file=tmp_path / "missing" / "relayq.db", home=tmp_path / "home")
    assert caught.value.exit_code == 73


def test_a_user_without_a_home_folder_gets_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(BrokerStorageError) as caught:
        find_file(None, system_file=tmp_path / "missing" / "relayq.db")
    assert caught.value.exit_code == 73


SCRIPT = """
import os, sys
from pathlib import Path
from relayq.adapters.embedded.location import find_file
from relayq.ports import BrokerRefusedError
os.setgid(65534); os.setuid(65534)  # after the imports: the interpreter may lie where nobody else can read
try:
    print(find_file(None, system_file=Path(sys.argv[1]), home=Path(sys.argv[2])))
except BrokerRefusedError as error:
    print("refused", error)
"""


def find_as_nobody(system: Path, home: Path) -> str:
    command = [sys.executable, "-c", SCRIPT, str(system), str(home)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_somebody_elses_system_file_is_never_passed_over(shared: Path) -> None:
    system = shared / "relayq.db"
    system.touch(mode=0o600)
    answer = find_as_nobody(system, shared / "home")
    assert answer.startswith("refused")
    assert str(system) in answer
    assert not (shared / "home").exists()


def test_a_system_folder_that_cannot_be_searched_is_not_passed_over(shared: Path) -> None:
    (shared / "closed").mkdir(mode=0o700)
    assert find_as_nobody(shared / "closed" / "relayq.db", shared / "home").startswith("refused")


def test_a_system_folder_that_cannot_be_written_leads_home(shared: Path) -> None:
    (shared / "open").mkdir(mode=0o755)
    (shared / "home").mkdir(mode=0o777)
    (shared / "home").chmod(0o777)
    assert find_as_nobody(shared / "open" / "relayq.db", shared / "home") == str(shared / "home" / USER_FILE)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/relayq.db", None),
        ("/mnt/mail queue/relayq.db", "nfs4"),
        ("/mnt/other/relayq.db", None),
        ("/mnt/mail queue/local/relayq.db", None),
    ],
)
def test_network_file_systems_are_recognised(tmp_path: Path, path: str, kind: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "30 22 0:30 / /mnt/mail\\040queue rw,relatime shared:2 master:1 - nfs4 host:/x rw,vers=4.2\n"
        "31 30 0:31 / /mnt/mail\\040queue/local rw - tmpfs tmpfs rw\n"
    )
    assert network_file_system(Path(path), mounts) == kind


def test_without_a_mount_table_nothing_is_said(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "missing") is None
