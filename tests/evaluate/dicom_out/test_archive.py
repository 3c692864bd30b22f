"""A real archive takes what is written: Orthanc, started for the test, reached from this machine only."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time

import pytest
import requests

from tests.evaluate.dicom_out.conftest import STUDY, objects, program


@pytest.fixture
def orthanc(tmp_path):
    """The address of an empty archive."""
    command = program("Orthanc")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "Name": "test",
        "StorageDirectory": str(tmp_path / "storage"),
        "IndexDirectory": str(tmp_path / "index"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    address = f"http://127.0.0.1:{port}"
    with (
        open(tmp_path / "log", "wb") as log,
        subprocess.Popen([command, str(tmp_path / "orthanc.json")], stdout=log, stderr=log) as server,
        requests.Session() as session,
    ):
        session.trust_env = False
        try:
            end = time.monotonic() + 60
            while True:
                with contextlib.suppress(requests.ConnectionError):
                    if session.get(f"{address}/system", timeout=10).ok:
                        break
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < end, (tmp_path / "log").read_text()
                time.sleep(0.05)
            yield address, session
        finally:
            server.terminate()


def test_orthanc_stores_finds_and_gives_back_unchanged(written, orthanc):
    address, session = orthanc

    def post(path: str, **content: object) -> object:
        answer = session.post(f"{address}/{path}", timeout=30, **content)
        assert answer.ok, answer.text
        return answer.json()

    originals, made = sorted(written.glob("*.dcm")), objects(written)
    assert (len(originals), len(made)) == (4, 8)
    ids = {}
    for path in [*originals, *made]:
        answer = post("instances", data=path.read_bytes())
        assert answer["Status"] == "Success"
        ids[path] = answer["ID"]

    (study,) = post("tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": STUDY}, "Expand": True})
    assert study["PatientMainDicomTags"]["PatientID"] == "p-17"
    found = post("tools/find", json={"Level": "Instance", "Query": {"StudyInstanceUID": STUDY}})
    assert set(found) == set(ids.values())
    series = post("tools/find", json={"Level": "Series", "Query": {"StudyInstanceUID": STUDY}, "Expand": True})
    of = [(one["MainDicomTags"]["Modality"], len(one["Instances"])) for one in series]
    assert sorted(one for one in of if one[0] in ("SR", "OT")) == [("OT", 4), ("SR", 4)]

    for path, instance in ids.items():
        back = session.get(f"{address}/instances/{instance}/file", timeout=30)
        assert back.content == path.read_bytes(), path.name
    assert post("instances", data=made[0].read_bytes())["Status"] == "AlreadyStored"
