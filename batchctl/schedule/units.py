"""The systemd units of a job, as text. Pure."""

from __future__ import annotations

from batchctl.schedule.job import HOUR, MINUTE, Job, Part, spoken

_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - what PrivateTmp= hides
_LAST_WORDS = 30  # seconds on top of the grace until systemd kills
_WATCHDOG = "3min"  # longer than a commit may wait for the store's lock and for a full disk


def units(job: Job, part: Part) -> dict[str, str]:
    """The units by file name: `check` is a timer with its service, `worker` a service that stays."""
    if part == "worker":
        return {f"{job.name}-worker.service": _worker(job)}
    return {f"{job.name}-check.service": _check(job), f"{job.name}-check.timer": _timer(job)}


def started(job: Job, part: Part) -> str:
    """The unit that is enabled."""
    return f"{job.name}-worker.service" if part == "worker" else f"{job.name}-check.timer"


def _check(job: Job) -> str:
    return f"""\
{job.marker}
[Unit]
Description=batchctl check ({_value(job.about)})
{_unit(job)}
[Service]
Type=oneshot
ExecStart={_command(job, "check")}
# No limit: the time budget ends claims and never work, and each item has its own timeout.
TimeoutStartSec=infinity
{_service(job)}"""


def _worker(job: Job) -> str:
    install = "multi-user.target" if job.scope == "system" else "default.target"
    return f"""\
{job.marker}
[Unit]
Description=batchctl worker ({_value(job.about)})
{_unit(job)}
[Service]
Type=notify
NotifyAccess=main
ExecStart={_command(job, "run", "--forever")}
# The config is read again; what runs goes on.
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec={_WATCHDOG}
Restart=on-failure
RestartSec=10s
# 2: config or usage was refused, starting again would not help.
RestartPreventExitStatus=2
{_service(job)}
[Install]
WantedBy={install}
"""


def _timer(job: Job) -> str:
    return f"""\
{job.marker}
[Unit]
Description=batchctl check every {spoken(job.every)} ({_value(job.about)})

[Timer]
OnCalendar={calendar(job.every)}
# What was missed while the machine was off is made up for, once.
Persistent=true
# Not all machines in the same second.
RandomizedDelaySec={_spread(job.every)}s
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def calendar(every: int) -> str:
    """The interval as OnCalendar= takes it."""
    if every < HOUR:
        return f"*-*-* *:00/{every // MINUTE}:00"
    if every < 24 * HOUR:
        return f"*-*-* 00/{every // HOUR}:00:00"
    return "*-*-* 00:00:00"


def _spread(every: int) -> int:
    """A tenth of the interval, at most five minutes."""
    return min(5 * MINUTE, every // 10)


def _unit(job: Job) -> str:
    lines = []
    if job.scope == "system":
        lines += ["After=network-online.target", "Wants=network-online.target"]
        if job.needed:
            lines += [f"RequiresMountsFor={_paths(job.needed)}"]
    lines += [f"OnFailure={job.on_failure}" if job.on_failure else "#OnFailure=tell-me@%n.service"]
    return "".join(f"{line}\n" for line in lines)


def _service(job: Job) -> str:
    return f"""\
# Stopped by a signal: what was running went back to the queue, at no cost.
SuccessExitStatus=130 143
# TERM for the main process alone: it ends what it started. KILL for whatever is left at last.
KillMode=mixed
TimeoutStopSec={round(job.grace) + _LAST_WORDS}s
# An item that takes too much memory costs itself, not the service.
OOMPolicy=continue

{_who(job)}{_secrets(job)}
{_hardening(job)}"""


def _who(job: Job) -> str:
    lines = [f"User={job.user}"] if job.scope == "system" and job.user else []
    lines += [f"Environment={_quoted('PATH=' + job.path)}"]
    if job.state and job.scope == "system":
        lines += [f"StateDirectory={job.state}", "StateDirectoryMode=0700"]
    return "".join(f"{line}\n" for line in lines)


def _secrets(job: Job) -> str:
    """`${NAME}` in the config reads the credential of that name."""
    lines = [f"LoadCredential={name}:{_value(path)}" for name, path in job.credentials]
    if job.absent:
        lines += ["# The config wants these, and nothing provides them: env_file, or a file with the value alone."]
        lines += [f"#LoadCredential={name}:{_value(path)}" for name, path in job.absent]
    return "".join(f"{line}\n" for line in lines)


def _hardening(job: Job) -> str:
    in_home = any(_below(path, _HOMES) for path in (*job.needed, *job.writable))
    in_tmp = any(_below(path, _TEMPORARY) for path in (*job.needed, *job.writable))
    users = "" if job.scope == "system" else "PrivateUsers=true\n"  # without it a user's manager may not do the rest
    # A user may not touch these anyway, and not every kernel lets a user's manager cover them.
    kernel = "".join(f"ProtectKernel{what}=true\n" for what in ("Logs", "Modules", "Tunables"))
    kernel = kernel if job.scope == "system" else ""
    return f"""\
# What the work may write to. Add folders with --write, or with `systemctl edit`.
{_writable(job)}\
NoNewPrivileges=true
{users}\
ProtectSystem=strict
ProtectHome={"read-only" if in_home else "true"}
PrivateTmp={"false" if in_tmp else "true"}
PrivateDevices=true
DevicePolicy=closed
ProtectClock=true
ProtectControlGroups=true
ProtectHostname=true
{kernel}\
ProtectProc=invisible
CapabilityBoundingSet=
AmbientCapabilities=
LockPersonality=true
RemoveIPC=true
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
# Compilers at run time (Java, Node.js, PyPy) need this; set it where no processor uses one.
MemoryDenyWriteExecute=false
"""


def _writable(job: Job) -> str:
    return "".join(f"ReadWritePaths=-{_quoted(path)}\n" for path in job.writable)


def _below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def _command(job: Job, *command: str) -> str:
    """An ExecStart= line: `$` and `%` are the shell's and systemd's, so they are doubled."""
    return " ".join(_quoted(word, dollar=True) for word in job.words(*command))


def _paths(paths: tuple[str, ...]) -> str:
    return " ".join(_quoted(path) for path in paths)


def _value(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str, *, dollar: bool = False) -> str:
    text = _value(text)
    if dollar:
        text = text.replace("$", "$$")
    if not any(char in text for char in " \t\"'\\;#"):
        return text
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'
