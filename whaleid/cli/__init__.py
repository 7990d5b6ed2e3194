"""The command line: one command per pipeline stage, and tools. Heavy packages are imported when a command runs."""

from whaleid.cli.app import main

__all__ = ["main"]
