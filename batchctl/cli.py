"""The Typer app: commands by name, imported when used; one place that turns errors into exit codes."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from typing import cast

import typer

from batchctl import console
from batchctl.commands.common import Globals
from batchctl.commands.registry import LazyGroup, ReaderLeft, take_global
from batchctl.errors import BatchctlError, UsageError

# Older Typers raise Click's own class, newer ones their copy of it; both stand above BadParameter.
_TyperError = cast(type[Exception], typer.BadParameter.__mro__[2])
# Files that are opened by name tell that name in the error; standard output has none.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def run(args: Sequence[str]) -> int:
    """Run one command line (without the program's name); the exit code of the contract. Never raises."""
    console.reset()
    console.make_safe_streams()
    shared = Globals()
    try:
        code = _run(list(args), shared)
        sys.stdout.flush()
    except (BrokenPipeError, ReaderLeft):
        code = _reader_left()
    except OSError as error:  # standard output sits on a full disk
        code = _report(BatchctlError(f"cannot write the answer: {error.strerror or error}"))
        _silence_stdout()
    return code


def _run(args: list[str], shared: Globals) -> int:
    try:
        code = main_command().main(args or ["--help"], prog_name="batchctl", standalone_mode=False, obj=shared)
        return code if isinstance(code, int) else 0
    except (BrokenPipeError, ReaderLeft):
        raise
    except SystemExit:  # how Typer ends where nobody reads its help
        raise ReaderLeft from None
    except BatchctlError as error:
        return _explain(error, args, shared)
    except _TyperError as error:
        return _explain(_usage(error), args, shared)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except RecursionError as error:
        return _explain(BatchctlError(f"nested too deeply: {error}"), args, shared)
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            raise
        return _internal(error, args, shared)
    except Exception as error:  # noqa: BLE001 - the last resort: a person gets a sentence, not a traceback
        return _internal(error, args, shared)
    finally:
        shared.close()


def main_command() -> LazyGroup:
    """The whole command line as a Typer group; its commands are imported when they are asked for."""
    app = typer.Typer(cls=LazyGroup, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.callback()(_batchctl)
    group = typer.main.get_command(app)
    return cast(LazyGroup, group)


def _batchctl() -> None:
    """A durable queue for piles of files and orders: enqueue, drain, and nothing gets lost."""


def _usage(error: BaseException) -> UsageError:
    """Typer's refusal of the command line as one of ours."""
    message = str(getattr(error, "format_message", lambda: error)()).strip().rstrip(".")
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "batchctl"
    first, _, rest = message.partition("\n")
    return UsageError(
        first[:1].lower() + first[1:],
        details=[line.strip() for line in rest.splitlines() if line.strip()],
        hint=f"see `{path} --help`",
    )


def _explain(error: BatchctlError, args: Sequence[str], shared: Globals) -> int:
    _settle(args, shared)
    if shared.verbose > 1:
        _show_traceback(error, shared)
    return _report(error)


def _internal(error: Exception, args: Sequence[str], shared: Globals) -> int:
    _settle(args, shared)
    if shared.verbose > 1:
        _show_traceback(error, shared)
    what = shared.mask(f"{type(error).__name__}: {error}")
    hint = None if shared.verbose > 1 else "this is a fault in batchctl; run again with -vv for its traceback"
    return _report(BatchctlError(f"internal error: {what}", hint=hint))


def _show_traceback(error: Exception, shared: Globals) -> None:
    sys.stderr.write(shared.mask("".join(traceback.format_exception(error))))


def _settle(args: Sequence[str], shared: Globals) -> None:
    """A command line that was refused half-way may not have come to its --json yet."""
    before = list(args)[: args.index("--")] if "--" in args else args
    if "--json" in before and not shared.json:
        take_global(shared, "json", True)


def _report(error: BatchctlError) -> int:
    console.error(error)
    return error.code


def _reader_left() -> int:
    """Whoever read our output had enough (`| head`): that is no failure, and not a word about it."""
    _silence_stdout()
    return 0


def _silence_stdout() -> None:
    """Let the interpreter's last flush go nowhere."""
    import os

    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
