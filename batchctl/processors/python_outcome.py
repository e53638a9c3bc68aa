"""What a child's answer, or its death, means for the item. Pure."""

from __future__ import annotations

from batchctl.masking import Masker
from batchctl.model import Cancelled, Completed, Down, Failed, HandedBack, ItemError, Outcome
from batchctl.processors.python_wire import Frame


def answered(frame: Frame, log: str, masker: Masker, origin: str) -> Outcome:
    """The outcome that the child reports; `log` is what of its text was not passed on yet."""
    if log:
        log = masker(log)
    if frame.kind == "completed":
        result = frame.value if masker.empty else masker.value(frame.value)
        return Completed(result, log, artifacts=frame.artifacts)
    error = ItemError(frame.type, masker(frame.value), frame.permanent)
    if frame.kind == "down":
        return Down(error, origin, frame.after, log)
    return Failed(error, frame.after, log)


def interrupted(why: str, log: str = "") -> Outcome:
    """Somebody wanted its end."""
    return HandedBack(log) if why == "hand_back" else Cancelled(log)


def died(ending: str | None, status: str, timeout: float, log: str) -> Outcome:
    """The child died with the item in hand. `ending` is why we killed it, None where it died by itself."""
    match ending:
        case "timeout":
            return Failed(ItemError("Timeout", f"the function ran longer than {timeout:g} s (timeout)"), log=log)
        case "cancel" | "hand_back":
            return interrupted(ending, log)
    return Failed(ItemError("ProcessDied", f"the function ended its interpreter: {status}"), log=log)
