"""The errors that a user can meet. Each class carries the exit code of the contract.

BatchctlError
├── UsageError            2   options, config or input were refused
│   ├── ConfigError
│   ├── InvalidInput
│   ├── DuplicateBatch
│   └── LimitReached          it may work later
├── NotFound              4   no such batch or item
│   └── StoreMissing          there is no store yet, so nothing is in it
└── StoreError            5   the store cannot be used
    ├── StoreLocked
    ├── StoreInterrupted      nothing was changed, and the same may work if done again
    ├── StoreReadOnly
    ├── StoreFull
    ├── StoreCorrupt
    ├── StoreGone             a store was here, and is not any more
    ├── StoreTooNew
    └── StoreTooOld
"""

from __future__ import annotations

from collections.abc import Sequence


class BatchctlError(Exception):
    """Something went wrong that the user can act on.

    `message` is one sentence; `details` are the single reasons (file and line first); `hint` names the next step.
    None of them may hold a secret.
    """

    code = 1

    def __init__(self, message: str, *, details: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = list(details)
        self.hint = hint

    @property
    def type(self) -> str:
        return type(self).__name__


class UsageError(BatchctlError):
    """What was asked for was refused; nothing was changed."""

    code = 2


class ConfigError(UsageError):
    """The config file has problems; `details` holds each with its line and column."""


class InvalidInput(UsageError):
    """Files, orders or options were refused; `details` holds every reason with its file and line."""


class DuplicateBatch(UsageError):
    """The same content is in the queue already, or an idempotency key was used for other content."""


class LimitReached(UsageError):
    """A user or an organization has brought in as many batches as it may for now."""


class NotFound(BatchctlError):
    """No batch, item or attempt has that name."""

    code = 4


class StoreMissing(NotFound):
    """There is no store where the options and the config look for one."""


class StoreError(BatchctlError):
    """The store cannot be used."""

    code = 5


class StoreLocked(StoreError):
    """Another process held the write lock for longer than the busy wait."""


class StoreInterrupted(StoreError):
    """The transaction was ended from outside (connection, server, deadlock, time limit), and nothing of it is stored:
    the same may work if it is done again.

    within   it came out of a part of that transaction: only who began it can do it again
    """

    within = False


class StoreReadOnly(StoreError):
    """The store or its folder may not be written by this user."""


class StoreFull(StoreError):
    """No space is left on the store's disk."""


class StoreCorrupt(StoreError):
    """The file is not a store, or it is damaged."""


class StoreGone(StoreError):
    """A store was here, and is not any more."""


class StoreTooNew(StoreError):
    """The store was made by a newer version of batchctl."""


class StoreTooOld(StoreError):
    """The store was made by an older version of batchctl, and is not brought forward by itself."""
