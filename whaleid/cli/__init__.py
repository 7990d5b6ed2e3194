"""The command line: a command for each stage, and commands for people. Heavy imports wait until a command runs."""

from whaleid.cli.app import main

__all__ = ["main"]
