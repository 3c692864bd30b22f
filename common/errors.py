"""Errors that are the user's to mend: one message, no traceback."""

from __future__ import annotations


class UserError(Exception):
    """Wrong use: an argument, a path or a file that the user can put right. Ends a command with status 2.

    The message names the file or argument, what was found, what was expected and what to do.
    """

    status = 2


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came, from a supervisor, a batch system or `kill`: everything ends as after Ctrl-C, with status 143."""


class WorkError(UserError):
    """Work that was asked for rightly but failed: a full disk, no usable image. Ends a command with status 1."""

    status = 1


class UnreadableError(OSError):
    """A file's content cannot be had; the message says why in one line, without the file's name."""
