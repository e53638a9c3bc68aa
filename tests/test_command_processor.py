"""The `command` processor, with real programs."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from processor_kit import Bench, bench, eventually, file_ref, item

from batchctl.config.structs import CommandSpec, ProcessorConfig
from batchctl.masking import Masker
from batchctl.model import Broken, Cancelled, Completed, Down, Failed, HandedBack, ItemError
from batchctl.processors import spawn

Work = Callable[..., AbstractContextManager[Bench]]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A bench whose processor runs a command in `tmp_path`."""

    def make(*argv: str, timeout: float = 60.0, spec: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        command = CommandSpec(argv, **{"cwd": tmp_path, **(spec or {})})
        return bench(ProcessorConfig("p", "command", command, tmp_path, timeout=timeout), tmp_path, **kwargs)

    return make


def sh(script: str) -> tuple[str, str, str]:
    return "sh", "-c", script


def failed(outcome: object) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


# -- what the command gets


def test_runs_each_item_once_with_its_words(work: Work) -> None:
    with work("printf", "%s|", "{{ n }}", "{{ key }}", "{{ item.payload['a b'] }}", "fix ed", width=3) as at:
        outcomes = at.do(*(item(n, {"n": n, "a b": "$HOME; `x`"}) for n in range(1, 60)))
    assert outcomes == [Completed({"stdout": f"{n}|k{n}|$HOME; `x`|fix ed|"}) for n in range(1, 60)]
    assert all(line.started_at == [None] for line in at.lines.values())


def test_words_of_the_inline_form(work: Work, tmp_path: Path) -> None:
    with work("printf", "%s|", "{}", "a{name}", "{#}", "{{ no jinja }}", spec={"style": "parallel"}) as at:
        assert at.do(item(4, {"name": "x y"})) == [Completed({"stdout": "k4|ax y|4|{{ no jinja }}|"})]
    path = tmp_path / "in put.tar.gz"
    path.write_text("")
    with work("echo", "-n", spec={"style": "parallel"}) as at:
        assert at.do(item(1, file=file_ref(path))) == [Completed({"stdout": str(path)})]
        assert at.do(item(2)) == [Completed({"stdout": "k2"})]


def test_environment_folder_and_standard_input(work: Work, tmp_path: Path) -> None:
    script = "import json, os, sys; print(json.dumps([os.getcwd(), dict(os.environ), json.load(sys.stdin)]))"
    spec = {"env": {"TOKEN": "{{ secrets.erp }}", "FIXED": "yes", "BATCHCTL_WORKER": "{{ key }}"}}
    with work(sys.executable, "-c", script, spec=spec, secrets={"erp": "s3cret!"}, BATCHCTL_ITEM_KEY="outer") as at:
        (outcome,) = at.do(item(7, {"é": [1, None]}, attempt=2))
    assert isinstance(outcome, Completed)
    cwd, environment, payload = outcome.result
    assert cwd == str(tmp_path)
    assert payload == {"é": [1, None]}
    expected = {
        "BATCHCTL_ITEM_ID": "7",
        "BATCHCTL_ITEM_KEY": "k7",
        "BATCHCTL_ITEM_BATCH": "b000000000001",
        "BATCHCTL_ITEM_ATTEMPT": "2",
        "BATCHCTL_ITEM_IDEMPOTENCY_KEY": "idem-7",
        "BATCHCTL_ITEM_ORG": "acme",
        "BATCHCTL_ITEM_USER": "ada",
        "TOKEN": "s3cret!",
        "FIXED": "yes",
        "BATCHCTL_WORKER": "k7",
        "HOME": str(tmp_path),
    }
    assert environment == environment | expected


def test_file_names_reach_the_command_byte_by_byte(work: Work, tmp_path: Path) -> None:
    names = [b"\xff\xfe.txt", b"new\nline", b"'\"{{ x }} $(id)", b"-rf", "é😀".encode()]
    items = []
    for n, name in enumerate(names, 1):
        path = os.fsencode(tmp_path) + b"/" + name
        Path(os.fsdecode(path)).write_bytes(name)
        items.append(item(n, file=file_ref(path)))
    script = "import os, sys; print(open(sys.argv[1], 'rb').read() == os.path.basename(os.fsencode(sys.argv[1])))"
    for style, word in (("jinja", "{{ path }}"), ("parallel", "{}")):
        with work(sys.executable, "-c", script, word, spec={"style": style, "output": "text"}) as at:
            assert at.do(*items) == [Completed({"stdout": "True\n"})] * len(names)


def test_it_leads_its_own_session_with_default_signals_and_no_other_files(work: Work) -> None:
    inherited = 200
    os.dup2(os.open(os.devnull, os.O_RDONLY), inherited, inheritable=True)
    try:
        script = "echo $$; cut -d' ' -f6 /proc/$$/stat; grep SigIgn /proc/$$/status | cut -f2; ls /proc/$$/fd"
        with work(*sh(script), spec={"output": "text"}) as at:
            (outcome,) = at.do(item(1))
    finally:
        os.close(inherited)
    assert isinstance(outcome, Completed)
    pid, session, ignored, *fds = outcome.result["stdout"].split()
    assert session == pid
    assert int(ignored, 16) & (1 << (signal.SIGPIPE - 1)) == 0
    assert str(inherited) not in fds


@pytest.mark.parametrize("payload", [{}, {"n": "a\0b"}])
def test_what_cannot_be_an_argument_fails_its_item(work: Work, payload: dict[str, Any]) -> None:
    with work("echo", "{{ n }}") as at:
        bad, good = at.do(item(1, payload), item(2, {"n": 1}))
    assert failed(bad).error.permanent
    assert failed(bad).error.type in ("TemplateError", "BadArgument")
    assert good == Completed(1)


def test_arguments_that_are_too_long_fail_their_item(work: Work) -> None:
    with work("true", "{{ n }}") as at:
        long, good = at.do(item(1, {"n": "x" * 3_000_000}), item(2, {"n": "x"}))
    assert (failed(long).error.type, failed(long).error.permanent) == ("ArgumentsTooLong", True)
    assert isinstance(good, Completed)


# -- its result


@pytest.mark.parametrize(
    ("output", "written", "result"),
    [
        ("auto", "", {"stdout": ""}),
        ("auto", '{"a": [1, 2.5, null]}\n', {"a": [1, 2.5, None]}),
        ("auto", "42\n", 42),
        ("auto", "hello\n", {"stdout": "hello\n"}),
        ("auto", "{not json}", {"stdout": "{not json}"}),
        ("auto", "NaN", {"stdout": "NaN"}),
        ("json", ' "x"\n', "x"),
        ("text", "[1]", {"stdout": "[1]"}),
    ],
)
def test_output_becomes_the_result(work: Work, output: str, written: str, result: Any) -> None:
    with work("printf", "%s", "{{ text }}", spec={"output": output}) as at:
        assert at.do(item(1, {"text": written})) == [Completed(result)]


def test_output_that_must_be_json_and_is_not_fails_for_good(work: Work) -> None:
    with work("echo", "oops", spec={"output": "json"}) as at:
        (outcome,) = at.do(item(1))
    assert (failed(outcome).error.type, failed(outcome).error.permanent) == ("OutputNotJson", True)


@pytest.mark.parametrize("script", ["head -c 2000 /dev/zero", "exec yes"])
def test_output_over_the_limit_fails(work: Work, script: str) -> None:
    with work(*sh(script), spec={"max_output": 1999}) as at:
        (outcome,) = at.do(item(1))
    assert (failed(outcome).error.type, failed(outcome).error.permanent) == ("OutputTooLarge", True)


def test_output_up_to_the_limit_is_kept(work: Work) -> None:
    with work(*sh("head -c 1999 /dev/zero | tr '\\0' x"), spec={"max_output": 1999}) as at:
        assert at.do(item(1)) == [Completed({"stdout": "x" * 1999})]


def test_standard_error_is_the_log(work: Work) -> None:
    with work(*sh("echo one >&2; echo two > /dev/stderr; echo three >&2; echo out")) as at:
        (outcome,) = at.do(item(1))
    assert isinstance(outcome, Completed)
    assert outcome.result == {"stdout": "out\n"}
    assert outcome.log.endswith("two\nthree\n")


# -- stdout_to


def test_stdout_to_writes_a_file(work: Work, tmp_path: Path) -> None:
    with work("echo", "{{ n }}", spec={"stdout_to": "out/{{ key }}.txt"}) as at:
        outcomes = at.do(item(1, {"n": 1}), item(2, {"n": 2}, key="sub/two"), item(1, {"n": "again"}))[:2]
    path = str(tmp_path / "out/sub/two.txt")
    assert outcomes[1] == Completed({"path": path, "size": 2}, artifacts=(path,))
    assert Path(path).read_text() == "2\n"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["k1.txt", "sub"]


def test_stdout_to_keeps_the_old_file_when_the_command_fails(work: Work, tmp_path: Path) -> None:
    (tmp_path / "k1.txt").write_text("old")
    with work(*sh("echo half; exit 1"), spec={"stdout_to": "{{ key }}.txt"}) as at:
        assert failed(at.do(item(1))[0]).error.type == "ExitCode"
    assert (tmp_path / "k1.txt").read_text() == "old"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("key", ["../../etc/x", "../sibling/x", "..", "a/../../x"])
def test_stdout_to_stays_below_its_folder(work: Work, tmp_path: Path, key: str) -> None:
    for template in ("out/{{ key }}", "{{ key }}", "./{{ key }}"):
        with work("echo", spec={"stdout_to": template}) as at:
            (outcome,) = at.do(item(1, key=f"x/../{key}" if template == "out/{{ key }}" else key))
        assert failed(outcome).error.type == "UnsafePath"
        assert failed(outcome).error.permanent
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inflight", "spool"]


def test_stdout_to_may_lie_beside_the_items_file_but_not_replace_it(work: Work, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.pdf").write_text("pdf")
    one = item(1, file=file_ref(folder / "a.pdf"))
    with work("echo", "x", spec={"stdout_to": "{{ path }}.txt", "cwd": tmp_path / "spool"}) as at:
        assert isinstance(at.do(one)[0], Completed)
    with work("echo", "x", spec={"stdout_to": "{{ path }}"}) as at:
        assert failed(at.do(one)[0]).error.type == "UnsafePath"
    assert (folder / "a.pdf.txt").read_text() == "x\n"
    assert (folder / "a.pdf").read_text() == "pdf"


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


def test_without_the_c_library_popen_does_the_same(work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spawn, "_libc", lambda: None)
    with work(*sh("cat; echo $BATCHCTL_ITEM_ID$0; pwd; exit 0"), spec={"output": "text"}) as at:
        assert at.do(item(5, {"a": 1})) == [Completed({"stdout": json.dumps({"a": 1}) + f"5sh\n{tmp_path}\n"})]
    with work("./missing") as at:
        assert isinstance(at.do(item(1))[0], Broken)
