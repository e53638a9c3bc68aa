"""The `command` processor: exit codes, programs that can't run, timeouts, cancels."""

from __future__ import annotations

from pathlib import Path

import pytest
from processor_kit import Work, command_work, eventually, failed, file_ref, item, sh

from batchctl.masking import Masker
from batchctl.model import Broken, Cancelled, Completed, Down, HandedBack, ItemError


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return command_work(tmp_path)


# -- how it fails


@pytest.mark.parametrize(
    ("script", "kind", "message", "permanent"),
    [
        ("echo oh no >&2; exit 3", "ExitCode", "exit code 3: oh no", False),
        ("exit 1", "ExitCode", "exit code 1", False),
        ("echo only here; exit 1", "ExitCode", "exit code 1: only here", False),
        ("echo bad row >&2; exit 65", "ExitCode", "exit code 65: bad row", True),
        ("exit 75", "ExitCode", "exit code 75", False),
        ("exit 44", "ExitCode", "exit code 44", True),
        ("kill -9 $$", "Killed", "killed by SIGKILL (out of memory?)", False),
        ("kill -SEGV $$", "Killed", "killed by SIGSEGV", False),
    ],
)
def test_exit_codes(work: Work, script: str, kind: str, message: str, permanent: bool) -> None:
    with work(*sh(script), spec={"permanent_exit_codes": frozenset({44})}) as at:
        assert failed(at.do(item(1))[0]).error == ItemError(kind, message, permanent)


def test_exit_69_means_that_the_receiver_is_down(work: Work) -> None:
    with work(*sh("echo '::retry-after 120' >&2; echo closed >&2; exit 69")) as at:
        assert at.do(item(1)) == [Down(ItemError("Unavailable", "exit code 69: closed"), "sh", 120.0, "closed\n")]


def test_the_error_message_is_the_end_of_a_long_standard_error(work: Work) -> None:
    with work(*sh("seq 200000 >&2; echo the end >&2; exit 1")) as at:
        outcome = failed(at.do(item(1))[0])
    assert outcome.error.message.startswith("exit code 1: ")
    assert outcome.error.message.endswith("200000\nthe end")
    assert 1_900 < len(outcome.error.message) < 2_100


@pytest.mark.parametrize(
    ("script", "kind"), [("exit 126", "NotExecutable"), ("exit 127", "NotFound"), ("batchctl-no-such-tool", "NotFound")]
)
def test_exit_126_and_127_break_the_processor(work: Work, script: str, kind: str) -> None:
    with work(*sh(script)) as at:
        (outcome,) = at.do(item(1))
    assert isinstance(outcome, Broken)
    assert outcome.error.type == kind


@pytest.mark.parametrize(
    ("program", "mode", "text", "kind"),
    [
        ("batchctl-no-such-tool", None, "", "NotFound"),
        ("./missing", None, "", "NotFound"),
        ("./tool", 0o600, "#!/bin/sh\n", "NotExecutable"),
        ("./tool", 0o700, "#!/no/such/interpreter\n", "NotFound"),
        ("./tool", 0o700, "\0\0\0", "NotExecutable"),
    ],
)
def test_a_program_that_cannot_be_executed_breaks_the_processor(
    work: Work, tmp_path: Path, program: str, mode: int | None, text: str, kind: str
) -> None:
    if mode is not None:
        (tmp_path / "tool").write_text(text)
        (tmp_path / "tool").chmod(mode)
    with work(program) as at:
        for outcome in at.do(item(1), item(2)):
            assert isinstance(outcome, Broken), outcome
            assert outcome.error.type == kind
            assert program in outcome.error.message


def test_a_program_that_an_item_names_fails_only_that_item(work: Work) -> None:
    with work("{{ tool }}") as at:
        bad, good = at.do(item(1, {"tool": "batchctl-no-such-tool"}), item(2, {"tool": "true"}))
    assert (failed(bad).error.type, failed(bad).error.permanent) == ("NotFound", True)
    assert isinstance(good, Completed)


def test_a_missing_folder_breaks_the_processor(work: Work, tmp_path: Path) -> None:
    with work("true", spec={"cwd": tmp_path / "gone"}) as at:
        (outcome,) = at.do(item(1))
    assert isinstance(outcome, Broken)
    assert "gone" in outcome.error.message


def test_files_that_changed_are_noticed(work: Work, tmp_path: Path) -> None:
    refs = []
    for name in ("gone", "longer", "other", "same"):
        (tmp_path / name).write_text("content")
        refs.append(file_ref(tmp_path / name))
    (tmp_path / "gone").unlink()
    (tmp_path / "longer").write_text("content!")
    (tmp_path / "other").write_text("CONTENT")
    with work("cat", "{{ path }}") as at:
        *wrong, same = at.do(*(item(n, file=ref) for n, ref in enumerate(refs, 1)))
    assert [failed(o).error.type for o in wrong] == ["FileMissing", "FileChanged", "FileChanged"]
    assert all(failed(o).error.permanent for o in wrong)
    assert same == Completed({"stdout": "content"})
    assert at.lines[1].started_at == []


def test_secrets_are_masked_everywhere(work: Work) -> None:
    script = "echo out $TOKEN; echo err $TOKEN >&2; exit ${CODE}"
    spec = {"env": {"TOKEN": "{{ secrets.token }}", "CODE": "{{ code }}"}}
    with work(*sh(script), spec=spec, secrets={"token": "hunter22"}, masker=Masker(["hunter22"])) as at:
        good, bad = at.do(item(1, {"code": 0}), item(2, {"code": 1}))
    assert good == Completed({"stdout": "out ***\n"}, "err ***\n")
    assert "hunter22" not in repr(bad)
    assert failed(bad).error.message == "exit code 1: err ***"
    assert failed(bad).log == "err ***\nout ***\n"


# -- while it runs


def test_progress_and_log_are_seen_while_it_runs(work: Work, tmp_path: Path) -> None:
    script = "echo ::progress 45 >&2; echo working >&2; while ! test -e go; do sleep 0.02; done; echo ::progress 90 >&2"
    with work(*sh(script)) as at:
        line = at.start(item(1))
        line.wait(lambda line: line.percents == [45.0] and line.text == "working\n")
        (tmp_path / "go").touch()
        assert at.end(1) == Completed({"stdout": ""})
    assert "::progress" not in line.text


def test_a_timeout_ends_the_whole_group(work: Work, tmp_path: Path) -> None:
    script = "echo $$ > group; sleep 987 & sleep 986; echo not reached"
    with work(*sh(script), timeout=0.4) as at:
        outcome = failed(at.do(item(1))[0])
    assert outcome.error == ItemError("Timeout", "it ran longer than 0.4 s (timeout)")
    assert not members(int((tmp_path / "group").read_text()))


def members(group: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(") ", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_who_ignores_term_is_killed(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchctl.processors.command_run.KILL_AFTER", 0.3)
    script = "trap '' TERM; echo $$ > group; touch ready; while :; do sleep 0.05; done"
    with work(*sh(script)) as at:
        at.start(item(1))
        eventually((tmp_path / "ready").exists)
        at.processor.cancel(1, hand_back=False)
        assert isinstance(at.end(1), Cancelled)
    assert not members(int((tmp_path / "group").read_text()))


def test_what_a_command_leaves_in_the_background_is_ended(work: Work, tmp_path: Path) -> None:
    with work(*sh("echo $$ > group; sleep 987 & echo done")) as at:
        assert at.do(item(1)) == [Completed({"stdout": "done\n"})]
        assert not members(int((tmp_path / "group").read_text()))


def test_a_daemon_that_keeps_the_output_open_keeps_nobody_waiting(work: Work, tmp_path: Path) -> None:
    daemon = "setsid sh -c 'echo $$ > daemon; while ! test -e go; do sleep 0.02; done; touch ended'"
    with work(*sh(f"{daemon} & echo done")) as at:
        assert at.do(item(1)) == [Completed({"stdout": "done\n"})]
    (tmp_path / "go").touch()
    if (tmp_path / "daemon").exists():  # it may have been ended before it had its session
        eventually((tmp_path / "ended").exists)


def test_cancel_and_hand_back(work: Work, tmp_path: Path) -> None:
    with work(*sh("touch running-$BATCHCTL_ITEM_ID; exec sleep 987"), width=2) as at:
        for n in (1, 2, 3, 4):
            at.start(item(n))
        eventually(lambda: (tmp_path / "running-1").exists() and (tmp_path / "running-2").exists())
        at.processor.cancel(99, hand_back=False)
        at.processor.cancel(4, hand_back=False)
        assert at.end(4) == Cancelled()
        at.processor.cancel(1, hand_back=False)
        at.processor.cancel(2, hand_back=True)
        assert at.end(1) == Cancelled()
        assert at.end(2) == HandedBack()
        eventually((tmp_path / "running-3").exists)
        assert not (tmp_path / "running-4").exists()
    assert at.end(3) == HandedBack()  # by close


def test_withdraw_and_resize(work: Work, tmp_path: Path) -> None:
    script = "touch running-$BATCHCTL_ITEM_ID; while ! test -e go-$BATCHCTL_ITEM_ID; do sleep 0.02; done"
    with work(*sh(script), width=2) as at:
        for n in range(1, 7):
            at.start(item(n))
        eventually(lambda: (tmp_path / "running-1").exists() and (tmp_path / "running-2").exists())
        assert at.processor.withdraw() == [3, 4, 5, 6]
        at.processor.resize(1)
        for n in (7, 8):
            at.start(item(n))
        for n in (1, 2):
            (tmp_path / f"go-{n}").touch()
            at.end(n)
        eventually((tmp_path / "running-7").exists)
        assert not (tmp_path / "running-8").exists()
        at.processor.resize(2)
        eventually((tmp_path / "running-8").exists)
        for n in (7, 8):
            (tmp_path / f"go-{n}").touch()
            at.end(n)
