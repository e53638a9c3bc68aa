"""What can be told of a database server that a store lies on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Server:
    """As the login of the store's URL sees it. Times in seconds, versions as 160002 for 16.2.

    lacks         privileges that the login has not: "INSERT on items"
    unguarded     tables without row level security, where others have it
    connections   how many there are; most: how many there may be for such as us; ours: those of batchctl
    dead          tables whose dead rows nobody clears away: name to (dead, living)
    oldest        how long the oldest transaction has been open, which keeps dead rows from being cleared
    remote, tls   whether it is reached over a network, and encrypted; checked: whether its certificate was checked
    shared        a pooler gives our session to others between two transactions
    offset        by how much its clock is ahead of ours
    """

    version: int
    superuser: bool = False
    lacks: Sequence[str] = ()
    unguarded: Sequence[str] = ()
    connections: int = 0
    most: int = 0
    ours: int = 0
    autovacuum: bool = True
    dead: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    oldest: float = 0.0
    standby: bool = False
    standbys: int = 0
    fsync: bool = True
    synchronous: bool = True
    remote: bool = False
    tls: bool = False
    checked: bool = False
    shared: bool = False
    offset: float = 0.0
