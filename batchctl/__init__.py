"""batchctl: a durable queue for piles of files and orders."""

__version__ = "0.1.0"
