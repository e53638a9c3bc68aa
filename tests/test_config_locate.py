"""Which file is the config, and which are not to be trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchctl.config import load
from batchctl.errors import ConfigError
from batchctl.locate import default_store


def write(path: Path, text: str = "", mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_order_of_the_search(tmp_path: Path) -> None:
    home = tmp_path / "home"
    here = home / "work/deep"
    here.mkdir(parents=True)
    environ = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "xdg")}
    outside = write(tmp_path / "batchctl.yaml")
    weakest_first = (
        home / "xdg/batchctl/config.yaml",
        home / "batchctl.yaml",
        home / "work/batchctl.yaml",
        here / "batchctl.yaml",
    )
    assert [load(None, environ, here).path for path in weakest_first if write(path)] == list(weakest_first)
    assert load(None, environ | {"BATCHCTL_CONFIG": str(outside)}, here).path == outside
    assert load(Path("../batchctl.yaml"), environ, here).path == home / "work/batchctl.yaml"


def test_the_search_ends_at_the_home_folder(tmp_path: Path) -> None:
    write(tmp_path / "batchctl.yaml")
    here = tmp_path / "home/work"
    here.mkdir(parents=True)
    environ = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "none")}
    assert load(None, environ, here).path is None


def test_a_folder_that_everybody_may_write_is_passed_over(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    here = shared / "mine"
    here.mkdir(parents=True)
    write(shared / "batchctl.yaml")
    environ = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "none")}
    assert load(None, environ, here).path == shared / "batchctl.yaml"
    shared.chmod(0o1777)
    assert load(None, environ, here).path is None
    assert load(None, environ, shared).path == shared / "batchctl.yaml"


def test_the_default_config_folder_is_in_the_home_folder(tmp_path: Path) -> None:
    path = write(tmp_path / ".config/batchctl/config.yaml")
    (tmp_path / "work").mkdir()
    assert load(None, {"HOME": str(tmp_path)}, tmp_path / "work").path == path


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.yaml \(from --config\) does not exist"):
        load(Path("nope.yaml"), {}, tmp_path)
    with pytest.raises(ConfigError, match=r"\(from BATCHCTL_CONFIG\) is not a file"):
        load(None, {"BATCHCTL_CONFIG": str(tmp_path)}, tmp_path)
    with pytest.raises(ConfigError, match=r"\(from BATCHCTL_CONFIG\) does not exist"):
        load(Path("nope.yaml"), {"BATCHCTL_CONFIG": "nope.yaml"}, tmp_path)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "batchctl.yaml", mode=mode)
    with pytest.raises(ConfigError, match="others may write it") as caught:
        load(path, {}, tmp_path)
    assert caught.value.hint == f"chmod go-w {path}"
    path.chmod(0o644)
    assert load(path, {}, tmp_path).path == path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "batchctl.yaml")
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigError, match="belongs to user id 12345"):
        load(path, {}, tmp_path)


def test_where_the_store_is_by_default() -> None:
    state = {"XDG_STATE_HOME": "/state"}
    assert default_store(state) == Path("/state/batchctl/queue.db")
    assert default_store(state | {"STATE_DIRECTORY": "/var/lib/q:/var/lib/r"}) == Path("/var/lib/q/queue.db")
    assert default_store({"XDG_STATE_HOME": "relative"}).parts[-2:] == ("batchctl", "queue.db")
