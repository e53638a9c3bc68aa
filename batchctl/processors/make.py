"""From a processor's config to the processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchctl.errors import ConfigError

if TYPE_CHECKING:  # every child interpreter loads this package, and must start fast
    from batchctl.config.structs import ProcessorConfig
    from batchctl.masking import Masker
    from batchctl.processors.base import Processor, Runtime


def make(config: ProcessorConfig, runtime: Runtime, secrets: Mapping[str, Any], masker: Masker) -> Processor:
    """A processor that is ready to start items; close it when no more come.

    Raises ConfigError where a template of it is wrong, or where this version can't execute its kind.
    """
    match config.kind:
        case "command":
            from batchctl.processors.command import CommandProcessor

            return CommandProcessor(config, runtime, secrets, masker)
        case "http":
            from batchctl.processors.http import HttpProcessor

            return HttpProcessor(config, runtime, secrets, masker)
        case "python":
            from batchctl.processors.python import PythonProcessor

            return PythonProcessor(config, runtime, secrets, masker)
        case "steps":
            from batchctl.processors.steps import StepsProcessor

            return StepsProcessor(config, lambda part: make(part, runtime, secrets, masker), runtime.width)
    raise ConfigError(
        f"processor {config.name}: this version of batchctl cannot run `{config.kind}`",
        hint="upgrade batchctl, or let a newer worker drain it",
    )
