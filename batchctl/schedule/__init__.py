"""systemd units and crontab lines for a config: made as text, put in place, taken away."""

from batchctl.schedule.job import Job, Kind, Part, Scope

__all__ = ["Job", "Kind", "Part", "Scope"]
