"""The command `convert/download.py`, with a stand-in for Kaggle's client and a server of this machine for RSNA's."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.cli import execute
from convert import download
from convert.downloads import http
from convert.downloads import rsna as rsna_download
from convert.parsers import rsna, rsna_release
from convert.sources import places
from convert.sources.places import MAPPING_NAME
from tests.convert.downloads.web import serve

ROOT = Path(__file__).resolve().parents[3]
NAME = "rsna-pneumonia-detection-challenge.zip"


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch):
    monkeypatch.setattr(rsna_download, "ZIP_BYTES", 1)
    monkeypatch.setattr(http, "BACKOFF", 0.0)
    monkeypatch.setattr(http, "WAITS", (0.0,))
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def web():
    with serve() as web:
        yield web


class Kaggle:
    """The stand-in for Kaggle's client, on PATH."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        self.log, self.zip = folder / "log", folder / "kaggle.zip"
        (folder / "bin").mkdir(parents=True)
        program = folder / "bin" / "kaggle"
        source = (ROOT / "tests" / "convert" / "downloads" / "fake_kaggle.py").read_text()
        program.write_text(f"#!{sys.executable} -IS\n{source}")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_LOG", str(self.log))
        monkeypatch.setenv("FAKE_ZIP", str(self.zip))
        self.ends("well")

    def ends(self, how: str) -> None:
        self._monkeypatch.setenv("FAKE_KAGGLE", how)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def kaggle(tmp_path, monkeypatch, good_release) -> Kaggle:
    fake = Kaggle(tmp_path / "fake", monkeypatch)
    good_release.folder = tmp_path / "fake" / "release"
    pack(good_release.write(), fake.zip, leave_out=MAPPING_NAME)
    return fake


@pytest.fixture
def raw(tmp_path) -> Path:
    return tmp_path / "raw"


def pack(folder: Path, target: Path, leave_out: str = "") -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != leave_out:
                archive.write(path, path.relative_to(folder))


def rsna_from_kaggle(raw: Path, *options: str) -> int:
    return execute(download.main, ["rsna", "--no-mapping", "--output", str(raw), *options])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def spoil(path: Path, what: bytes) -> None:
    """Change a byte in the middle of a picture; the size stays."""
    data = bytearray(path.read_bytes())
    data[data.index(what) + 400] ^= 1
    path.write_bytes(data)


# Kaggle


def test_kaggles_zip_and_rsnas_mapping_are_what_the_converter_reads(kaggle, raw, web, capfd):
    web.files[f"/{MAPPING_NAME}"] = (kaggle.folder / "release" / MAPPING_NAME).read_bytes()
    assert execute(download.main, ["rsna", "--output", str(raw), "--url", web.url]) == 0
    said = capfd.readouterr()
    assert kaggle.calls() == [f"competitions download -c rsna-pneumonia-detection-challenge -p {raw}/{NAME}.part"]
    assert files(raw) == [MAPPING_NAME, f"{MAPPING_NAME}.download.json", NAME, f"{NAME}.download.json"]
    assert (raw / NAME).read_bytes() == kaggle.zip.read_bytes()
    record = json.loads((raw / f"{NAME}.download.json").read_text())
    assert record["bytes"] == kaggle.zip.stat().st_size
    assert record["sha256"] == hashlib.sha256(kaggle.zip.read_bytes()).hexdigest()
    assert "60 .dcm files in stage_2_train_images, expected 26,684" in said.err
    assert "5 .dcm files in stage_2_test_images, expected 3,000" in said.err
    assert f"Next: python convert/rsna_to_yolo.py --source {raw / NAME}\n" in said.out
    assert "accepted on Kaggle" in said.out
    parsed = rsna.parse(raw / NAME)
    assert len(parsed.files) == 60
    assert parsed.patients["image-25"] == "00000005"  # from beside the zip


def test_a_second_call_finds_everything_there(kaggle, raw, capfd):
    assert rsna_from_kaggle(raw) == 0
    kaggle.ends("bug")
    capfd.readouterr()
    assert rsna_from_kaggle(raw) == 0
    assert f"{raw / NAME}: already there and whole\n" in capfd.readouterr().out
    os.utime(raw / NAME, ns=(1, 1))  # as a copy does: compared by its hash
    assert rsna_from_kaggle(raw) == 0
    assert "already there and whole" in capfd.readouterr().out
    spoil(raw / NAME, b"image-07.dcm")
    assert rsna_from_kaggle(raw) == 1
    assert re.search(r"its member stage_2_train_images/image-\d\d\.dcm: damaged .* Delete it", capfd.readouterr().err)
    assert len(kaggle.calls()) == 1


def test_what_was_not_verified_is_verified_when_asked(kaggle, raw, capfd):
    assert rsna_from_kaggle(raw, "--no-verify") == 0
    assert json.loads((raw / f"{NAME}.download.json").read_text())["checked"] is False
    assert rsna_from_kaggle(raw, "--no-verify") == 0
    assert "looking whether" not in capfd.readouterr().out
    assert rsna_from_kaggle(raw) == 0
    assert "already there; looking whether it is whole" in capfd.readouterr().out
    assert json.loads((raw / f"{NAME}.download.json").read_text())["checked"] is True
    assert len(kaggle.calls()) == 1


def test_a_zip_that_a_browser_left_is_checked_and_taken(kaggle, raw, capfd):
    raw.mkdir()
    shutil.copy(kaggle.zip, raw / NAME)
    assert rsna_from_kaggle(raw) == 0
    assert kaggle.calls() == []
    assert files(raw) == [NAME, f"{NAME}.download.json"]


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("no-credentials", 2, r"KAGGLE_API_TOKEN or ~/\.kaggle/access_token"),
        ("old-no-credentials", 2, r"KAGGLE_USERNAME and KAGGLE_KEY or ~/\.kaggle/kaggle\.json"),
        ("rules", 2, "https://www.kaggle.com/competitions/rsna-pneumonia-detection-challenge/rules"),
        ("old-rules", 2, "https://www.kaggle.com/competitions/rsna-pneumonia-detection-challenge/rules"),
        ("unknown", 1, "knows no competition .*pip install --upgrade kaggle"),
        ("requests", 1, "too many requests"),
        ("down", 1, "out of order"),
        ("offline", 1, "lost the connection, or got none"),
        ("proxy", 1, "HTTPS_PROXY: correct it"),
        ("certificate", 1, "certificate cannot be verified"),
        ("full", 1, "the disk is full"),
        ("bug", 1, r"failed with status 1 \(KeyError: 'some_missing_field'\)"),
        ("nothing", 1, "ended without an error, but not there; found nothing"),
    ],
)
def test_failures_of_the_client_say_what_to_do(kaggle, raw, capfd, how, status, said):
    kaggle.ends(how)
    assert rsna_from_kaggle(raw) == status
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(said, errors[0])
    assert files(raw) == []
    kaggle.ends("well")
    assert rsna_from_kaggle(raw) == 0


def test_without_the_client(raw, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(raw))
    monkeypatch.setattr(sys, "executable", str(raw / "python"))
    assert rsna_from_kaggle(raw) == 2
    assert "pip install kaggle" in capfd.readouterr().err
    assert files(raw) == []


@pytest.mark.parametrize(
    ("how", "status", "said"), [("killed", 1, "killed by signal 9"), ("stopped", 130, "stopped by")]
)
def test_half_a_download_is_none_and_goes_on(kaggle, raw, capfd, how, status, said):
    kaggle.ends(how)
    assert rsna_from_kaggle(raw) == status
    assert said in capfd.readouterr().err
    assert not (raw / NAME).exists()
    half = kaggle.zip.stat().st_size // 2
    assert (raw / f"{NAME}.part" / NAME).stat().st_size == half
    kaggle.ends("well")
    assert rsna_from_kaggle(raw) == 0
    assert f"Resuming from {half} bytes" in capfd.readouterr().out
    assert (raw / NAME).read_bytes() == kaggle.zip.read_bytes()
    assert files(raw) == [NAME, f"{NAME}.download.json"]
    assert not (raw / f"{NAME}.part").exists()


def test_half_a_zip_from_the_client_alone_is_taken_up(kaggle, raw, capfd):
    raw.mkdir()
    kaggle.ends("stopped")
    subprocess.run(["kaggle", *f"competitions download -c {Path(NAME).stem} -p {raw}".split()], check=True)
    assert files(raw) == [NAME, f"{NAME}.kaggle-partial"]
    kaggle.ends("well")
    assert rsna_from_kaggle(raw) == 0
    assert "Resuming from" in capfd.readouterr().out
    assert (raw / NAME).read_bytes() == kaggle.zip.read_bytes()
    assert files(raw) == [NAME, f"{NAME}.download.json"]


def test_an_old_client_that_skips_half_a_zip_is_forced(kaggle, raw):
    raw.mkdir()
    (raw / NAME).write_bytes(kaggle.zip.read_bytes()[:5000])
    kaggle.ends("skipping")
    assert rsna_from_kaggle(raw) == 0
    assert [call.endswith(" --force") for call in kaggle.calls()] == [False, True]
    assert (raw / NAME).read_bytes() == kaggle.zip.read_bytes()


def test_a_whole_zip_that_was_not_checked_yet_needs_no_client(kaggle, raw):
    (raw / f"{NAME}.part").mkdir(parents=True)
    shutil.copy(kaggle.zip, raw / f"{NAME}.part" / NAME)
    assert rsna_from_kaggle(raw) == 0
    assert kaggle.calls() == []
    assert files(raw) == [NAME, f"{NAME}.download.json"]


def test_wrong_content_never_takes_the_zips_place(kaggle, raw, capfd):
    good = kaggle.zip.read_bytes()
    with zipfile.ZipFile(kaggle.zip, "w") as archive:
        archive.writestr("train.csv", "id\n")
    assert rsna_from_kaggle(raw) == 1
    said = capfd.readouterr().err
    assert "no stage_2_train_labels.csv and no stage_2_detailed_class_info.csv in it; found train.csv" in said
    assert files(raw) == [f"{NAME}.part/{NAME}"]
    (raw / f"{NAME}.part" / NAME).unlink()

    kaggle.zip.write_bytes(b"<html>maintenance</html>")
    assert rsna_from_kaggle(raw) == 1
    assert "is no whole zip, and was deleted" in capfd.readouterr().err
    assert files(raw) == []

    kaggle.zip.write_bytes(good)
    spoil(kaggle.zip, b"image-07.dcm")
    assert rsna_from_kaggle(raw) == 1
    assert re.search(r"damaged, and deleted: its member stage_2_train_images/image-\d\d", capfd.readouterr().err)
    assert files(raw) == []


def test_a_second_download_ends_at_once(kaggle, raw, web, capfd, monkeypatch):
    web.files[f"/{MAPPING_NAME}"] = (kaggle.folder / "release" / MAPPING_NAME).read_bytes()
    arguments = [["rsna", "--no-mapping"], ["rsna-mapping", "--url", web.url]]
    commands = [[sys.executable, "convert/download.py", *some, "--output", str(raw)] for some in arguments]
    seen = []

    def meanwhile(*given, **options):
        seen.append(subprocess.run(commands.pop(0), cwd=ROOT, capture_output=True, text=True))
        return write_record(*given, **options)

    write_record = rsna_download.write_record
    monkeypatch.setattr(rsna_download, "write_record", meanwhile)
    for some in arguments:
        assert execute(download.main, [*some, "--output", str(raw)]) == 0
    assert [done.returncode for done in seen] == [1, 1]
    for done, name in zip(seen, (NAME, MAPPING_NAME), strict=True):
        assert done.stderr == (
            f"error: {raw / name}: another download of it is under way. Wait until it ends, or choose another "
            "--output.\n"
        )
    assert len(kaggle.calls()) == 1
    assert len(web.asked) == 1
    assert not list(raw.glob("*.lock"))


def test_what_the_system_leaves_beside_the_zip_is_no_fault(kaggle, raw, capfd):
    (raw / f"{NAME}.part").mkdir(parents=True)
    (raw / f"{NAME}.part" / ".DS_Store").touch()
    assert rsna_from_kaggle(raw) == 0
    assert f"{raw / NAME}.part: not empty, so it stays" in capfd.readouterr().err
    assert files(raw) == [NAME, f"{NAME}.download.json", f"{NAME}.part/.DS_Store"]


@pytest.mark.parametrize("when", ["opened", "read through"])
def test_a_disk_that_fails_is_not_taken_for_damage(kaggle, raw, capfd, monkeypatch, when):
    read = io.BufferedReader.read

    def failing(self, *size):
        if str(self.name).endswith(NAME) and (when == "opened" or self.tell() < kaggle.zip.stat().st_size // 3):
            raise OSError(errno.EIO, "Input/output error")
        return read(self, *size)

    def opened(path, mode="r", *more):
        return type("Failing", (io.BufferedReader,), {"read": failing})(io.FileIO(path, "r"))

    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "io", SimpleNamespace(**vars(io) | {"open": opened}))
        assert rsna_from_kaggle(raw) == 1
    assert re.search(
        rf"error: {raw}.*: cannot be read \(Input/output error\)\. .*nothing was deleted", capfd.readouterr().err
    )
    assert files(raw) == [f"{NAME}.part/{NAME}"]
    assert rsna_from_kaggle(raw) == 0
    assert len(kaggle.calls()) == 1


def test_a_member_that_cannot_be_unpacked_is_said_and_the_zip_kept(kaggle, raw, capfd):
    data = bytearray(kaggle.zip.read_bytes())
    for place in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):  # the first member's flags
        data[place] |= 1
    kaggle.zip.write_bytes(data)
    assert rsna_from_kaggle(raw) == 1
    assert "encrypted in the zip" in capfd.readouterr().err
    assert files(raw) == [f"{NAME}.part/{NAME}"]


def test_free_space_is_looked_at_before_the_client_runs(kaggle, raw, monkeypatch, capfd):
    monkeypatch.setattr(rsna_download, "ZIP_BYTES", 10**18)
    assert rsna_from_kaggle(raw) == 1
    assert "GB are still to come" in capfd.readouterr().err
    assert kaggle.calls() == []


def test_ctrl_c_ends_the_client_and_its_words_come_at_once(kaggle, raw):
    kaggle.ends("waiting")
    code = (
        "from common.cli import run; from convert import download; from convert.downloads import rsna\n"
        "rsna.ZIP_BYTES = 1\n"
        "run(download.main, download.STOPPED)\n"
    )
    command = [sys.executable, "-c", code, "rsna", "--no-mapping", "--output", str(raw)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        said = []
        while not said or said[-1] not in ("", "WAITING\n"):  # the client is still running when this comes
            said.append(process.stdout.readline())
        assert any(line.startswith(f"Downloading {NAME}") for line in said), said
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    assert "User cancelled operation" in out
    assert "403M/3.71G" in error
    assert error.rstrip().endswith("stopped by the user; run the same command again to go on")
    assert sorted(files(raw)) == [f"{NAME}.part/{NAME}", f"{NAME}.part/{NAME}.kaggle-partial"]


def test_a_missing_mapping_is_worth_a_warning_only(kaggle, raw, web, capfd):
    assert execute(download.main, ["rsna", "--output", str(raw), "--url", web.url]) == 0
    said = capfd.readouterr()
    assert "answers 404" in said.err
    assert "python convert/download.py rsna-mapping" in said.err
    assert "Next: " in said.out


# RSNA


@pytest.fixture
def bucket(tmp_path, web):
    """A synthetic release as RSNA's bucket has it; its content by name."""
    from convert import sample

    folder = tmp_path / "release"
    options = "--layout release --images 12 --test-images 4 --size 64 --workers 1 --odd-encodings 0"
    sample.main([*options.split(), "--output", str(folder)])
    zipped = tmp_path / "zip"
    pack(next(folder.glob("mdai*")), zipped)
    content = {places.PICTURES: zipped.read_bytes()}
    content |= {name: (folder / name).read_bytes() for name in (places.ANNOTATIONS, MAPPING_NAME)}
    web.files = {f"/AI/2018/{name}": data for name, data in content.items()}
    web.headers = {"ETag": '"one"'}
    return content


def rsna_release_from(web, raw: Path, *options: str) -> int:
    return execute(download.main, ["rsna-release", "--output", str(raw), "--url", f"{web.url}/AI/2018/", *options])


def test_rsnas_release_is_what_the_converter_reads(bucket, web, raw, capfd):
    web.drops = [100, 5000, 1]
    assert rsna_release_from(web, raw) == 0
    assert {path.name: path.read_bytes() for path in raw.iterdir() if ".download." not in path.name} == bucket
    for name, data in bucket.items():
        assert json.loads((raw / f"{name}.download.json").read_text())["sha256"] == hashlib.sha256(data).hexdigest()
    assert web.sent == sum(map(len, bucket.values()))
    said = capfd.readouterr()
    assert re.search(r"\d\d \.dcm files in it, expected 30,000", said.err)
    assert f"Next: python convert/rsna_release_to_yolo.py --source {raw} --test-ids" in said.out
    assert len(rsna_release.parse(raw).files) >= 16

    web.answers = (500, "text/plain")
    asked = len(web.asked)
    assert rsna_release_from(web, raw) == 0
    assert capfd.readouterr().out.count("already there and whole") == 3
    assert len(web.asked) == asked


def test_a_hash_that_is_not_the_servers_is_refused(bucket, web, raw, capfd):
    right = hashlib.md5(bucket[MAPPING_NAME]).hexdigest()
    wrong = "0" * 32
    command = ["rsna-mapping", "--output", str(raw), "--url", f"{web.url}/AI/2018"]
    web.headers = {"ETag": f'"{wrong}"', "x-amz-request-id": "1"}
    assert execute(download.main, command) == 1
    assert f"damaged on its way (MD5 {right}, the server's {wrong}), and deleted" in capfd.readouterr().err
    assert files(raw) == []
    web.headers["ETag"] = f'"{right}"'
    assert execute(download.main, command) == 0
    assert f"Next: python convert/rsna_to_yolo.py --nih-mapping {raw / MAPPING_NAME}\n" in capfd.readouterr().out
    assert (raw / MAPPING_NAME).read_bytes() == bucket[MAPPING_NAME]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (MAPPING_NAME, b"[{", "not a readable JSON file"),
        (MAPPING_NAME, b'{"a": 1}', "no list of records with subset_img_id, img_id"),
        (MAPPING_NAME, b'[{"img_id": "1.png"}]', "its records have no subset_img_id; found img_id"),
        (places.ANNOTATIONS, b"[]", "no MD.ai export: no labelGroups and no datasets in it"),
        (places.PICTURES, b"<Error/>", r"not a readable zip .* found 8 bytes"),
    ],
)
def test_something_else_is_deleted_and_fetched_again(bucket, web, raw, capfd, name, content, said):
    web.files[f"/AI/2018/{name}"] = content
    assert rsna_release_from(web, raw) == 1
    assert re.search(f"not what was expected, and was deleted: {said}", capfd.readouterr().err)
    assert not [file for file in files(raw) if file.startswith(name)]
    web.files[f"/AI/2018/{name}"] = bucket[name]
    assert rsna_release_from(web, raw) == 0


def test_members_are_read_through(bucket, web, raw, tmp_path, capfd):
    spoiled = tmp_path / "spoiled"
    spoiled.write_bytes(bucket[places.PICTURES])
    spoil(spoiled, b"PK\x03\x04")
    web.files[f"/AI/2018/{places.PICTURES}"] = spoiled.read_bytes()
    assert rsna_release_from(web, raw) == 1
    assert re.search(r"deleted: its member .*\.dcm: damaged in the zip \(Bad CRC-32", capfd.readouterr().err)
    assert rsna_release_from(web, raw, "--no-verify") == 0  # looks at the directory only
    assert rsna_release_from(web, raw) == 1
    assert re.search(r": damaged .* Delete it and run the same command again", capfd.readouterr().err)


def test_another_file_than_others_had_is_worth_a_warning(bucket, web, raw, monkeypatch, capfd):
    monkeypatch.setattr(rsna_download, "BUCKET", f"{web.url}/AI/2018")
    assert execute(download.main, ["rsna-release", "--output", str(raw)]) == 0
    sha256 = hashlib.sha256(bucket[places.PICTURES]).hexdigest()
    assert f"SHA-256 {sha256}, others had 96b97d81" in capfd.readouterr().err


def test_rsnas_bucket_is_the_default():
    assert rsna_download.BUCKET == "https://s3.amazonaws.com/east1.public.rsna.org/AI/2018"


def test_places_are_those_of_the_converters():
    from convert import rsna_release_to_yolo, rsna_to_yolo

    raw = ROOT / "datasets" / "raw"
    assert rsna_to_yolo.CONVERTER.default_sources == (raw / "rsna", raw / NAME)
    assert raw / NAME == places.RAW / f"{rsna_download.COMPETITION}.zip"
    assert rsna_release_to_yolo.CONVERTER.default_sources == (places.RELEASE_FOLDER,) == (raw / "rsna-release",)
