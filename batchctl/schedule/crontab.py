"""The crontab lines of a job, as text, and their place among those of others. Pure."""

from __future__ import annotations

import shlex

from batchctl.schedule.job import HOUR, MINUTE, Job, spoken

LONGEST = 990  # cron cuts longer commands


def lines(job: Job) -> str:
    """The job's part of a crontab (scope `user`), or a whole file of /etc/cron.d (scope `system`).

    Raises ValueError where cron would cut the line.
    """
    command = _command(job)
    if len(command) > LONGEST:
        raise ValueError(f"the command has {len(command)} characters, and cron cuts after {LONGEST}: use shorter paths")
    user = f"{job.user}  " if job.scope == "system" else ""
    return f"""\
{job.marker}
# Every {spoken(job.every)} all that is due is done. It says nothing unless something is wrong: then cron sends a mail.
{when(job.every, job.offset)}  {user}{command}
{_end(job)}
"""


def when(every: int, offset: int) -> str:
    """The five fields. `offset` moves the minute, so that not all machines start in the same one."""
    minutes = every // MINUTE
    if every < HOUR:
        start = offset % minutes
        fields = "*" if minutes == 1 else f"*/{minutes}" if start == 0 else f"{start}-59/{minutes}"
        return f"{fields} * * * *"
    hours = every // HOUR
    return f"{offset % 60} {'*' if hours == 1 else f'*/{hours}' if hours < 24 else 0} * * *"


def _command(job: Job) -> str:
    """A line of sh. `%` ends a command in a crontab, so it is escaped."""
    words = shlex.join(job.words("check"))
    return f"PATH={shlex.quote(job.path)} {words}".replace("%", "\\%")


def _end(job: Job) -> str:
    return f"# End of what `batchctl schedule` made for {job.about}"


def with_job(table: str, job: Job) -> str:
    """The crontab with this job in it: in its old place where it was there, else at the end."""
    before, found, after = _split(table, job)
    head = before if found or not before or before.endswith("\n") else before + "\n"
    return head + lines(job) + after


def without_job(table: str, job: Job) -> str:
    """The crontab without this job."""
    before, _, after = _split(table, job)
    return before + after


def has_job(table: str, job: Job) -> bool:
    return _split(table, job)[1]


def _split(table: str, job: Job) -> tuple[str, bool, str]:
    before: list[str] = []
    after: list[str] = []
    state = "before"
    for line in table.splitlines(keepends=True):
        text = line.rstrip("\n")
        if state == "before" and text == job.marker:
            state = "inside"
        elif state == "inside":
            state = "after" if text == _end(job) else state
        else:
            (before if state == "before" else after).append(line)
    return "".join(before), state != "before", "".join(after)
