"""The config file: found, read, checked, and turned into frozen structs."""

from batchctl.config.structs import (
    Accept,
    Backoff,
    CommandSpec,
    Config,
    HttpSpec,
    PlannedSpec,
    ProcessorConfig,
    PythonSpec,
    WorkerConfig,
)

__all__ = [
    "Accept",
    "Backoff",
    "CommandSpec",
    "Config",
    "HttpSpec",
    "PlannedSpec",
    "ProcessorConfig",
    "PythonSpec",
    "WorkerConfig",
]
