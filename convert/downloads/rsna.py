"""The RSNA 2018 data from where they are published: Kaggle's release, RSNA's own, and the image-to-patient mapping."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.cli import confirm, console, is_interactive, print_warning
from common.errors import UserError, WorkError
from common.files import PART, make_folder
from common.locks import locked
from common.paths import shown
from convert.downloads.checks import (
    Check,
    DamagedError,
    NotWholeError,
    check_annotations,
    check_mapping,
    check_zip,
    is_zip,
)
from convert.downloads.record import hexdigests, is_known, write_record
from convert.sources.places import (
    ANNOTATIONS,
    CHALLENGE_IMAGES,
    CLASSES,
    LABELS,
    MAPPING_NAME,
    PICTURES,
    RAW,
    RSNA_FOLDER,
    RSNA_ZIP,
    TRAIN_IMAGES,
)

COMPETITION = "rsna-pneumonia-detection-challenge"
ZIP_BYTES = 4_000_000_000
"""About what Kaggle's zip has, for the check of the free space."""

BUCKET = "https://s3.amazonaws.com/east1.public.rsna.org/AI/2018"
"""RSNA's public bucket, as several projects give it after RSNA's page of the challenge; not tried here."""

PICTURES_SHA256 = "96b97d81eb042c6513196e01079a060a980d5e62502c3266527dd9c0b2a63b50"
"""Of RSNA's zip of pictures (3,978,753,654 bytes), as one who downloaded it in 2026 published it: a hint, no law."""


def download_kaggle(folder: Path = RAW, *, verify: bool = True) -> Path:
    """Download Kaggle's release with Kaggle's client.

    It gathers in a folder of its own and is moved when it is whole, so that no converter meets half a zip.

    Args:
        folder: Where the zip goes.
        verify: Read every member and compare its checksum.

    Returns:
        The zip.

    Raises:
        UserError: No client, no credentials, or rules that were not accepted.
        WorkError: The download failed, or what came is not what was expected.
    """
    if not folder.is_dir():
        _make_folder(folder)
    with _alone(folder / RSNA_ZIP.name):
        return _download_kaggle(folder, verify=verify)


def _download_kaggle(folder: Path, *, verify: bool) -> Path:
    from convert.downloads import kaggle
    from convert.downloads.http import need_space

    check = functools.partial(
        check_zip, tables=[LABELS, CLASSES], pictures={TRAIN_IMAGES: 26_684, CHALLENGE_IMAGES: 3_000}
    )
    target = folder / RSNA_ZIP.name
    gathering = target.with_name(target.name + PART)
    begun = gathering / target.name
    marker = begun.with_name(begun.name + kaggle.MARKER)
    if target.exists() and not is_zip(target):
        _take_up(target, begun)
    if _is_there(target, check, verify=verify):
        return target

    if not is_zip(begun):  # else an earlier call was stopped between the last byte and the checks
        kaggle.find_client()  # before anything is made
        _make_folder(gathering)
        need_space(gathering, ZIP_BYTES - (begun.stat().st_size if begun.is_file() else 0))
        console().print(f"With Kaggle's client; the competition's rules: {kaggle.rules_page(COMPETITION)}")
        try:
            kaggle.download_competition(COMPETITION, gathering)
        finally:
            if not any(gathering.iterdir()):
                gathering.rmdir()
    if not is_zip(begun):
        if marker.exists():
            raise WorkError(f"{shown(begun)}: Kaggle's client ended early. Run the same command again to go on.")
        begun.unlink()
        raise WorkError(
            f"{shown(begun)}: Kaggle's client ended without an error, but what it left is no whole zip, and was "
            "deleted. Run the same command again."
        )
    try:
        _accept(begun, target, check, verify=verify, source=f"kaggle competitions download -c {COMPETITION}")
    except DamagedError as error:
        begun.unlink()
        raise WorkError(f"{shown(begun)}: damaged, and deleted: {error}. Run the same command again.") from error
    except NotWholeError as error:
        raise WorkError(
            f"{shown(begun)}: a zip, but not the challenge's: {error}. Look into it, and delete it to begin anew."
        ) from error
    marker.unlink(missing_ok=True)
    try:
        gathering.rmdir()
    except OSError:  # a .DS_Store, an .nfs... of a file that is still open: no reason to fail now
        print_warning(f"{shown(gathering)}: not empty, so it stays; it is needed no more.")
    return target


def download_mapping(folder: Path = RAW, base: str = BUCKET) -> Path:
    """Download RSNA's image-to-patient mapping.

    Args:
        folder: Where it goes; the converter looks beside its zip or folder, too.
        base: The address of the folder that has it.

    Raises:
        UserError: The address is none.
        WorkError: The download failed, or what came is not what was expected.
    """
    return _download_file(folder, base, MAPPING_NAME, check_mapping, verify=True)


def download_release(folder: Path, base: str = BUCKET, *, verify: bool = True) -> None:
    """Download RSNA's own release: mapping, annotations and pictures.

    Args:
        folder: Where the files go.
        base: The address of the folder that has them.
        verify: Read every member of the pictures' zip and compare its checksum.

    Raises:
        UserError: The address is none.
        WorkError: The download failed, or what came is not what was expected.
    """
    download_mapping(folder, base)
    _download_file(folder, base, ANNOTATIONS, check_annotations, verify=True)
    known = PICTURES_SHA256 if base == BUCKET else None
    check = functools.partial(check_zip, tables=[], pictures={"": 30_000})
    _download_file(folder, base, PICTURES, check, verify=verify, known=known)


def offer(argv: Sequence[str] | None = None) -> None:
    """Ask whether to download Kaggle's release, where it is missing and somebody is there to answer.

    Args:
        argv: Nothing: there are no arguments. It is called as a command is.

    Raises:
        UserError: See `download_kaggle`.
    """
    if RSNA_FOLDER.exists() or RSNA_ZIP.exists() or not is_interactive():
        return
    from convert.downloads.kaggle import rules_page

    console().print(
        f"No RSNA data in {shown(RAW)} yet. Kaggle's client can download them (about 4 GB), once you have accepted the "
        f"rules on {rules_page(COMPETITION)}"
    )
    if confirm("Download them now?"):
        download_kaggle()
        add_mapping()


def add_mapping(folder: Path = RAW, base: str = BUCKET) -> None:
    """Download the mapping as a part of something larger: without it, that is only worth a warning."""
    try:
        download_mapping(folder, base)
    except UserError as error:
        print_warning(
            f"{error} RSNA's image-to-patient mapping is still missing, and without it the converter cannot keep "
            "patients apart: python convert/download.py rsna-mapping"
        )


def _download_file(folder: Path, base: str, name: str, check: Check, *, verify: bool, known: str | None = None) -> Path:
    """Download one file of RSNA's: fetched, compared with what the server says, looked into, put in its place."""
    if not folder.is_dir():
        _make_folder(folder)
    with _alone(folder / name):
        return _download_file_alone(folder, base, name, check, verify=verify, known=known)


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other downloads of the same file out: two would write into one part.

    Raises:
        WorkError: There is one.
    """
    busy = f"{shown(target)}: another download of it is under way. Wait until it ends, or choose another --output."
    with locked(target.with_name(f"{target.name}{PART}.lock"), busy):
        yield


def _download_file_alone(folder: Path, base: str, name: str, check: Check, *, verify: bool, known: str | None) -> Path:
    from convert.downloads.http import discard, fetch, part_path

    target = folder / name
    if _is_there(target, check, verify=verify):
        return target
    _make_folder(folder)
    part = part_path(target)
    url = f"{base.rstrip('/')}/{name}"
    remote = fetch(url, part)
    if remote.md5 and verify:
        found = hexdigests(part, ["md5"])["md5"]
        if found != remote.md5:
            discard(part)
            raise WorkError(
                f"{url}: damaged on its way (MD5 {found}, the server's {remote.md5}), and deleted. Run the same "
                "command again."
            )
    try:
        _accept(part, target, check, verify=verify, source=url, known=known)
    except NotWholeError as error:
        discard(part)
        raise WorkError(
            f"{url}: what has come is not what was expected, and was deleted: {error}. Run the same command again; if "
            "it stays so, look at the address in a browser."
        ) from error
    discard(part)
    return target


def _is_there(target: Path, check: Check, *, verify: bool) -> bool:
    """Whether the file is there and whole; one that nothing is known of yet is looked into."""
    if not target.exists():
        return False
    if is_known(target, verify=verify):
        console().print(f"{shown(target)}: already there" + (" and whole" if verify else ""))
        return True
    console().print(f"{shown(target)}: already there" + ("; looking whether it is whole" if verify else ""))
    try:
        check(target, verify=verify)
    except NotWholeError as error:
        raise WorkError(f"{shown(target)}: {error}. Delete it and run the same command again.") from error
    with contextlib.suppress(WorkError):  # a folder that is only to be read: it is looked into again the next time
        write_record(target, "found there", hexdigests(target, ["sha256"])["sha256"] if verify else None)
    return True


def _accept(got: Path, target: Path, check: Check, *, verify: bool, source: str, known: str | None = None) -> None:
    """Look into what has come, move it to its place and write down what it is.

    Raises:
        NotWholeError: It is broken, or something else.
    """
    check(got, verify=verify)
    sha256 = hexdigests(got, ["sha256"])["sha256"] if verify else None
    if known and sha256 and sha256 != known:
        print_warning(
            f"{shown(target)}: SHA-256 {sha256}, others had {known}. Every member's checksum is right, so its "
            "publisher may have renewed it."
        )
    os.replace(got, target)
    write_record(target, source, sha256)
    console().print(
        f"{shown(target)}: {target.stat().st_size / 1e6:,.1f} MB" + (f", whole, SHA-256 {sha256}" if sha256 else "")
    )


def _take_up(target: Path, begun: Path) -> None:
    """Make a broken zip in the zip's place, as the client leaves it when it is stopped, a download that goes on."""
    from convert.downloads.kaggle import MARKER

    if begun.exists():
        raise UserError(
            f"{shown(target)}: not a whole zip, and another download is under way in {shown(begun.parent)}. Delete one "
            "of them."
        )
    _make_folder(begun.parent)
    console().print(f"{shown(target)}: not a whole zip; going on with it in {shown(begun.parent)}")
    os.replace(target, begun)
    marker = target.with_name(target.name + MARKER)
    if marker.exists():
        os.replace(marker, begun.with_name(begun.name + MARKER))


def _make_folder(folder: Path) -> None:
    make_folder(folder, remedy="Choose another folder with --output.")
