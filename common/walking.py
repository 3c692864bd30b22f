r"""Which files lie below a folder: the one walk of the whole project, and names that can be shown and written anywhere.

A name is a path relative to the folder, with `/`. What UTF-8 has no character for (a file's name is bytes) and control
characters are escaped in it, as `caf\xe9.dcm`, so that it can be printed and written to a CSV; `path_of` goes back.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from common.errors import UserError

_CLUTTER = frozenset(("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"))
"""Folders that macOS, Synology's drives, Windows and Linux keep for themselves."""

# A backslash before what looks like an escape is escaped itself, or two names could become one.
_TO_ESCAPE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]|\\\\(?=x[0-9a-f]{2})")
_ESCAPED = re.compile(r"(?:\\x[0-9a-f]{2})+")


def files_below(folder: Path | str, *, deep: bool = True) -> list[str]:
    """The names of the files below a folder, sorted.

    Linked folders are followed; every folder is entered once, by its own name where it has one here, so links cannot
    lead in circles. Hidden files and folders, and what systems leave (`__MACOSX`, `._x`), are left out, and so is
    what is no file: pipes, sockets and devices. A link that leads nowhere is listed: reading it says so.

    Args:
        folder: Where to look; it may be a link, or hidden.
        deep: Look into its subfolders, too.

    Returns:
        Names, see the module; what to open is `path_of(folder, name)`.

    Raises:
        UserError: A folder cannot be listed.
    """
    root = os.fspath(folder)
    names: list[str] = []
    entered, links = _enter(root, "", names, set(), deep)
    # Only links can lead to a folder twice, so without them no folder needs to be looked up.
    known = {_identity(root, prefix) for prefix in entered} if links else set()
    while links:
        later: list[str] = []
        for prefix in sorted(links):
            later += _enter(root, prefix, names, known, deep)[1]
        links = later
    return sorted(map(escape, names))


def path_of(folder: Path | str, name: str) -> str:
    """The path to open, of a name that `files_below` has given."""
    return f"{os.fspath(folder)}/{unescape(name)}"


def is_clutter(name: str) -> bool:
    """Whether a name with `/` is of a hidden file, or of one in a folder that a system keeps for itself."""
    if name.isalnum():
        return False
    return any(part[:1] == "." or part in _CLUTTER for part in name.split("/"))


def escape(text: str) -> str:
    r"""A path as text that can be printed and encoded: bytes that are no UTF-8 and control characters as `\xe9`."""
    if text.isprintable() and "\\x" not in text:
        return text
    return _TO_ESCAPE.sub(_escaped, text)


def unescape(text: str) -> str:
    """The path that `escape` has made a text of."""
    if "\\x" not in text:
        return text
    return _ESCAPED.sub(lambda run: bytes.fromhex(run[0].replace("\\x", "")).decode("utf-8", "surrogateescape"), text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    # Half a character of UTF-16, as JSON can have, is in no file's name, but in what a table says of one.
    is_byte = "\udc80" <= character <= "\udcff"
    data = character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in data)


def _enter(
    root: str, start: str, names: list[str], known: set[tuple[int, int]], deep: bool
) -> tuple[list[str], list[str]]:
    """List a folder and the real ones below it, but for known ones, and add their files to `names`.

    Returns:
        The folders that were entered, and the linked ones that were not, as prefixes of names.
    """
    entered: list[str] = []
    links: list[str] = []
    waiting = [start]
    while waiting:
        prefix = waiting.pop()
        if known:
            identity = _identity(root, prefix)
            if identity in known:
                continue
            known.add(identity)
        entered.append(prefix)
        try:
            with os.scandir(f"{root}/{prefix}") as entries:
                for entry in entries:
                    name = entry.name
                    if name[0] == "." or name in _CLUTTER:
                        continue
                    kind = _kind(entry)
                    if kind == "file":
                        names.append(prefix + name)
                    elif kind == "folder" and deep:
                        (links if entry.is_symlink() else waiting).append(f"{prefix}{name}/")
        except OSError as error:
            raise _cannot_list(root, prefix, error) from error
    return entered, links


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_file():
            return "file"
        if entry.is_dir():
            return "folder"
        is_nothing = not os.path.exists(entry.path)
    except OSError:  # a link to itself, or to where one may not look
        is_nothing = True
    return "file" if is_nothing else "other"


def _identity(root: str, prefix: str) -> tuple[int, int]:
    try:
        found = Path(root, prefix).stat()
    except OSError as error:
        raise _cannot_list(root, prefix, error) from error
    return found.st_dev, found.st_ino


def _cannot_list(root: str, prefix: str, error: OSError) -> UserError:
    where = escape(f"{root}/{prefix}".rstrip("/"))
    return UserError(
        f"{where}: this folder cannot be listed ({error.strerror}). Make it readable, or take it out of {escape(root)}."
    )
