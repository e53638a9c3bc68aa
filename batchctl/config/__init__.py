"""The config file: found, read, checked, and turned into frozen structs."""

from batchctl.config.inline import inline
from batchctl.config.load import examine, load, ping_of_refused
from batchctl.config.problems import Problem
from batchctl.config.schema import json_schema
from batchctl.config.structs import (
    Accept,
    AlertRules,
    CheckConfig,
    CommandSpec,
    Config,
    HttpSpec,
    Notification,
    Ping,
    PlannedSpec,
    ProcessorConfig,
    PythonSpec,
    StepConfig,
    StepsSpec,
    WorkerConfig,
)
from batchctl.retry import Backoff

__all__ = [
    "Accept",
    "AlertRules",
    "Backoff",
    "CheckConfig",
    "CommandSpec",
    "Config",
    "HttpSpec",
    "Notification",
    "Ping",
    "PlannedSpec",
    "Problem",
    "ProcessorConfig",
    "PythonSpec",
    "StepConfig",
    "StepsSpec",
    "WorkerConfig",
    "examine",
    "inline",
    "json_schema",
    "load",
    "ping_of_refused",
]
