"""What is done to an item: commands, HTTP calls, Python functions."""

from batchctl.processors.make import make as make
