"""The `command` processor: what programs get, and what becomes of their output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processor_kit import Work, command_work, failed, file_ref, item, sh

from batchctl.model import Broken, Completed
from batchctl.processors import spawn


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return command_work(tmp_path)


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


def test_what_nohup_ignores_stays_ignored_and_nothing_else() -> None:
    script = """if True:
        import os, signal
        from batchctl.processors.spawn import Environment, spawn
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        argv, out = [b"grep", b"SigIgn", b"/proc/self/status"], os.dup(1)
        os.waitpid(spawn(b"/bin/grep", argv, Environment([]), [], b"/", (out, out, out)), 0)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    ignored = int(done.stdout.split()[1], 16)
    assert {number for number in signal.valid_signals() if ignored >> number - 1 & 1} == {signal.SIGHUP}


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


def test_without_the_c_library_popen_does_the_same(work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spawn, "_libc", lambda: None)
    with work(*sh("cat; echo $BATCHCTL_ITEM_ID$0; pwd; exit 0"), spec={"output": "text"}) as at:
        assert at.do(item(5, {"a": 1})) == [Completed({"stdout": json.dumps({"a": 1}) + f"5sh\n{tmp_path}\n"})]
    with work("./missing") as at:
        assert isinstance(at.do(item(1))[0], Broken)
