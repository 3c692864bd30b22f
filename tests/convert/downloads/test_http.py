from __future__ import annotations

import errno
import io
import json
import random
import socket
from pathlib import Path

import pytest

from common.errors import UserError, WorkError
from convert.downloads import http
from convert.downloads.http import fetch, need_space
from tests.convert.downloads.web import serve

CONTENT = random.Random(0).randbytes(3_000_000)
ETAG, DATE = '"one"', "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.fixture
def web():
    with serve() as web:
        web.files["/a.zip"] = CONTENT
        web.headers["ETag"] = ETAG
        yield web


@pytest.fixture
def part(tmp_path) -> Path:
    return tmp_path / "a.zip.part"


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch):
    monkeypatch.setattr(http, "BACKOFF", 0.0)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def get(web, part, drops_to_bear: int = 0):
    return fetch(f"{web.url}/a.zip", part, [0.0] * drops_to_bear)


def test_a_file_arrives_with_what_is_known_of_it(web, part):
    remote = get(web, part)
    assert part.read_bytes() == CONTENT
    assert (remote.bytes, remote.validator, remote.md5) == (len(CONTENT), ETAG, None)
    assert "Range" not in web.asked[0]
    assert web.asked[0]["Accept-Encoding"] == "identity"


def test_dropped_connections_are_taken_up_where_they_broke(web, part, capsys):
    web.drops = [1_000_000, 0, 1, 1_500_000]
    get(web, part, drops_to_bear=2)
    assert part.read_bytes() == CONTENT
    begins = [request.get("Range") for request in web.asked]
    assert begins == [None, "bytes=1000000-", "bytes=1000000-", "bytes=1000001-", "bytes=2500001-"]
    assert {request.get("If-Range") for request in web.asked} == {None, ETAG}
    assert web.sent == len(CONTENT)  # nothing came twice
    assert (
        "connection lost at 1,000,000 bytes; going on in 0 s (Connection broken: IncompleteRead("
        in capsys.readouterr().err
    )


def test_what_came_before_a_failure_is_used_by_the_next_call(web, part):
    web.drops = [700_000, 0, 0]
    with pytest.raises(WorkError, match=r"lost 3 times without anything new .* 700,000 bytes are kept; run the same"):
        get(web, part, drops_to_bear=2)
    assert part.read_bytes() == CONTENT[:700_000]
    web.asked.clear()
    get(web, part)
    assert part.read_bytes() == CONTENT
    assert [request["Range"] for request in web.asked] == ["bytes=700000-"]


def test_a_part_that_was_whole_is_not_asked_for_again(web, part):
    first = get(web, part)
    web.answers = (500, "text/plain")
    assert get(web, part) == first
    assert len(web.asked) == 1


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    """The seconds that were waited."""
    seconds: list[float] = []
    monkeypatch.setattr(http.time, "sleep", seconds.append)
    return seconds


def test_a_file_that_is_shorter_than_the_server_says_is_given_up(web, part, slept):
    web.headers["Content-Length"] = "3500000"  # and then: nothing after the 3,000,000th byte
    with pytest.raises(WorkError, match=r"answers do not fit together .*3,000,000 bytes are kept.*--url"):
        fetch(f"{web.url}/a.zip", part, [1.0, 2.0, 4.0, 8.0])
    assert part.read_bytes() == CONTENT
    assert len(web.asked) <= 8
    assert max(slept) > 1
    assert len(slept) >= 5


@pytest.mark.parametrize("said", ["bytes 0-2999999/3000000", "bytes 700000-2999999/9000000", "nonsense"])
def test_parts_that_are_not_what_was_asked_for_are_given_up(web, part, slept, said):
    web.content_range, web.drops = said, [700_000] * 100
    with pytest.raises(WorkError, match=r"answers do not fit together .*700,000 bytes are kept"):
        fetch(f"{web.url}/a.zip", part, [1.0, 2.0, 4.0, 8.0])
    assert part.read_bytes() == CONTENT[:700_000]
    assert len(web.asked) <= 8
    web.drops, web.content_range = [], ""
    get(web, part)
    assert part.read_bytes() == CONTENT


def test_a_file_without_a_size_is_taken_as_far_as_the_disk_can_bear(web, part, monkeypatch):
    web.headers = {"Content-Length": ""}
    assert get(web, part).bytes is None
    assert part.read_bytes() == CONTENT
    free = iter([5 * 10**9, 10**9, 10**9 - 1])
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _folder: type("Usage", (), {"free": next(free)}))
        with pytest.raises(WorkError, match=r"does not say how large .*1\.00 GB free on this disk\. Deleted"):
            get(web, part)
    assert not list(part.parent.iterdir())
    monkeypatch.setattr(http, "MOST_UNSTATED", 2_000_000)
    with pytest.raises(WorkError, match=r"after 0\.00 GB there is no end"):
        get(web, part)
    assert not list(part.parent.iterdir())


@pytest.mark.parametrize("honours_if_range", [True, False])
@pytest.mark.parametrize("size", [3_000_000, 3_500_000, 100_000])
def test_a_file_that_changed_begins_anew(web, part, honours_if_range, size, capsys):
    web.drops = [700_000]
    with pytest.raises(WorkError):
        get(web, part)
    new = random.Random(1).randbytes(size)
    web.files["/a.zip"], web.headers["ETag"], web.honours_if_range = new, '"two"', honours_if_range
    get(web, part)
    assert part.read_bytes() == new
    # A server that honours If-Range sends the new file whole; of another, the client itself has to notice.
    warned = "the server begins at the first byte again" if honours_if_range else "beginning anew"
    assert warned in capsys.readouterr().err


def test_a_part_of_another_address_begins_anew(web, part):
    web.drops = [700_000]
    with pytest.raises(WorkError):
        get(web, part)
    web.files["/mirror.zip"] = new = random.Random(1).randbytes(3_000_000)
    fetch(f"{web.url}/mirror.zip", part, [])
    assert part.read_bytes() == new


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        ({"ETag": 'W/"weak"', "Last-Modified": DATE}, DATE),  # a weak tag must not be used (RFC 9110, 13.1.5)
        ({"Last-Modified": DATE}, DATE),
        ({"ETag": 'W/"weak"'}, None),
        ({}, None),
    ],
)
def test_only_a_safe_validator_continues_a_part(web, part, headers, asked):
    web.headers = headers
    web.drops = [700_000]
    with pytest.raises(WorkError):
        get(web, part)
    get(web, part)
    assert part.read_bytes() == CONTENT
    assert web.asked[1].get("If-Range") == asked
    assert ("Range" in web.asked[1]) == (asked is not None)


def test_a_server_without_ranges(web, part):
    web.ranges = False
    web.drops = [700_000]
    get(web, part, drops_to_bear=1)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("headers", "md5"),
    [
        ({"ETag": '"900150983cd24fb0d6963f7d28e17f72"', "x-amz-request-id": "1"}, "900150983cd24fb0d6963f7d28e17f72"),
        ({"ETag": '"900150983cd24fb0d6963f7d28e17f72-475"', "x-amz-request-id": "1"}, None),  # uploaded in parts
        ({"ETag": '"900150983cd24fb0d6963f7d28e17f72"'}, None),  # some other server's own number
        (
            {
                "ETag": '"900150983cd24fb0d6963f7d28e17f72"',
                "x-amz-request-id": "1",
                "x-amz-server-side-encryption": "aws:kms",
            },
            None,
        ),
        ({"x-goog-hash": "crc32c=n03x6A==,md5=kAFQmDzST7DWlj99KOF/cg=="}, "900150983cd24fb0d6963f7d28e17f72"),
        ({"x-goog-hash": "crc32c=n03x6A=="}, None),
    ],
)
def test_md5_where_a_server_says_it(web, part, headers, md5):
    web.headers = headers  # RFC 1321: the MD5 of "abc"
    assert get(web, part).md5 == md5


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, "text/html; charset=utf-8"), "a web page came instead of the file"),
        ((403, "application/xml"), r"answers 403 Forbidden: access refused.*--url"),
        ((404, "application/xml"), r"answers 404 Not Found: no such file.*--url"),
        ((407, "text/html"), r"The proxy wants a name"),
        ((503, "text/plain"), r"answers 503 .*busy or out of order"),
        ((418, "text/plain"), r"answers 418 .*expected the file"),
    ],
)
def test_refusals_say_what_to_do_and_spoil_no_part(web, part, answer, said):
    for have in (0, 700_000):
        if have:
            web.answers, web.drops = None, [have]
            with pytest.raises(WorkError):
                get(web, part)
        web.answers = answer
        with pytest.raises(WorkError, match=said):
            get(web, part)
        assert (part.stat().st_size if part.exists() else 0) == have


def test_a_part_that_was_not_asked_for_is_refused(web, part):
    web.answers = (206, "application/zip")
    with pytest.raises(WorkError, match=r"answers 206 .*expected the file"):
        get(web, part)
    assert not part.exists()


def test_a_busy_server_is_asked_again(web, part):
    web.answers = (503, "text/plain")
    with pytest.raises(WorkError):
        get(web, part)
    assert len(web.asked) == 5


def test_no_connection(part, monkeypatch):
    with socket.socket() as taken:  # and kept, so that nobody else can listen there meanwhile
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(WorkError, match=r"no connection \(.*refused.*HTTPS_PROXY"):
            fetch(f"{nobody}/a.zip", part)
        monkeypatch.setenv("http_proxy", nobody)
        with pytest.raises(WorkError, match="the proxy does not let it through"):
            fetch("http://example.invalid/a.zip", part)
    assert not list(part.parent.iterdir())


@pytest.mark.parametrize("url", ["a.zip", "ftp://example.invalid/a.zip", "http:///a.zip"])
def test_an_address_that_is_none(part, url):
    with pytest.raises(UserError, match="not an address of a file") as caught:
        fetch(url, part)
    assert caught.value.status == 2


def test_free_space_is_looked_at_before(web, part, monkeypatch):
    web.drops = [700_000]
    with pytest.raises(WorkError):
        get(web, part)
    free = {"now": 2_299_999}
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: type("Usage", (), {"free": free["now"]}))
    with pytest.raises(WorkError, match=r"0\.00 GB are still to come, but only 0\.00 GB are free"):
        get(web, part)
    assert part.read_bytes() == CONTENT[:700_000]
    free["now"] = 2_300_000  # just what is missing
    get(web, part)
    assert part.read_bytes() == CONTENT
    with pytest.raises(WorkError, match=r"4\.00 GB are still to come"):
        need_space(part.parent, 4_000_000_000)


def test_a_disk_that_fills_keeps_what_it_holds(web, part, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > 1_500_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode, buffering=0: Full(self, mode))
        with pytest.raises(WorkError, match=r"the disk is full at [\d,]+ bytes, which are kept"):
            get(web, part)
    kept = part.stat().st_size
    assert 0 < kept <= 1_500_000
    get(web, part)
    assert part.read_bytes() == CONTENT
    assert web.asked[-1]["Range"] == f"bytes={kept}-"


def test_a_folder_that_cannot_be_written(web, tmp_path):
    with pytest.raises(WorkError, match="cannot be written"):
        fetch(f"{web.url}/a.zip", tmp_path / "no-folder" / "a.zip.part", [])


def test_an_unreadable_note_of_a_part_begins_anew(web, part):
    web.drops = [700_000]
    with pytest.raises(WorkError):
        get(web, part)
    note = part.with_name(part.name + ".json")
    assert json.loads(note.read_text())["validator"] == ETAG
    note.write_text("{")
    get(web, part)
    assert part.read_bytes() == CONTENT
    assert "Range" not in web.asked[1]
