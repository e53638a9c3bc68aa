"""What a command's end means for its item. Pure."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any, Literal

from batchctl.config.structs import CommandSpec
from batchctl.model import Broken, Cancelled, Down, Failed, HandedBack, ItemError, Outcome
from batchctl.processors.processes import describe

_JSON_STARTS = frozenset(b"%c" % char for char in b'{["tfn-0123456789')

Why = Literal["timeout", "too_large", "cancel", "hand_back"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    status    exit code, or minus the signal
    why       why we ended it; None where it ended by itself
    tail      the end of what it wrote to standard error (or else to standard output)
    log       what it wrote and `logs` does not have yet
    """

    status: int
    why: Why | None = None
    tail: str = ""
    retry_after: float | None = None
    log: str = ""


def failure(ended: Ended, spec: CommandSpec, name: str, timeout: float) -> Outcome | None:
    """None where it succeeded."""
    match ended.why:
        case "cancel":
            return Cancelled(ended.log)
        case "hand_back":
            return HandedBack(ended.log)
        case "timeout":
            return _failed("Timeout", f"it ran longer than {timeout:g} s (timeout)", ended)
        case "too_large":
            return too_large(spec, ended.log)
    return None if ended.status == 0 else _by_status(ended, spec, name)


def _by_status(ended: Ended, spec: CommandSpec, name: str) -> Outcome:
    status, said = ended.status, describe(ended.status)
    if status in spec.permanent_exit_codes:
        return _failed("ExitCode", said, ended, permanent=True)
    match status:
        case 65:
            return _failed("ExitCode", said, ended, permanent=True)
        case 69:
            error = ItemError("Unavailable", _message(said, ended))
            return Down(error, name, ended.retry_after, ended.log)
        case 126:
            said += " (a program may not be executed)"
            return Broken(ItemError("NotExecutable", _message(said, ended)), ended.log)
        case 127:
            said += " (a program was not found)"
            return Broken(ItemError("NotFound", _message(said, ended)), ended.log)
    return _failed("ExitCode" if status > 0 else "Killed", said, ended)


def _failed(kind: str, said: str, ended: Ended, *, permanent: bool = False) -> Failed:
    return Failed(ItemError(kind, _message(said, ended), permanent), ended.retry_after, ended.log)


def _message(said: str, ended: Ended) -> str:
    tail = ended.tail.strip()
    return f"{said}: {tail}" if tail else said


def too_large(spec: CommandSpec, log: str = "") -> Failed:
    message = f"it wrote more than {spec.max_output} bytes to standard output (max_output)"
    return Failed(ItemError("OutputTooLarge", message, permanent=True), log=log)


def not_started(error: OSError, name: str, *, found: bool, same_for_all: bool) -> Outcome:
    """The program could not be executed. `found`: its file is there."""
    match error.errno:
        case errno.E2BIG:
            return Failed(ItemError("ArgumentsTooLong", f"{name}: the arguments are too long", permanent=True))
        case errno.ENOENT | errno.ENOTDIR if found:
            kind, message = "NotFound", f"{name}: the interpreter that its first line names was not found"
        case errno.ENOENT | errno.ENOTDIR:
            kind, message = "NotFound", f"{name}: no such program" + ("" if "/" in name else " in any folder of PATH")
        case errno.EACCES | errno.EPERM:
            kind, message = "NotExecutable", f"{name}: may not be executed"
        case errno.ENOEXEC:
            kind, message = "NotExecutable", f"{name}: is no program; a script needs a first line like #!/bin/sh"
        case _:
            return Failed(ItemError("StartFailed", f"{name}: can't be started: {error.strerror}"))
    if same_for_all:
        return Broken(ItemError(kind, message))
    return Failed(ItemError(kind, message, permanent=True))


def result(raw: bytes, output: Literal["auto", "json", "text"]) -> Any:
    """The result that standard output holds. Raises ValueError where it must be JSON and is not."""
    if output == "text" or (output == "auto" and not _may_be_json(raw)):
        return {"stdout": raw.decode("utf-8", "replace")}
    import msgspec

    try:
        return msgspec.json.decode(raw)
    except msgspec.MsgspecError as error:
        if output == "auto":
            return {"stdout": raw.decode("utf-8", "replace")}
        raise ValueError(f"standard output is no JSON: {error}") from error


def _may_be_json(raw: bytes) -> bool:
    return raw.lstrip()[:1] in _JSON_STARTS
