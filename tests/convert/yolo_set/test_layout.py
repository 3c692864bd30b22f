"""What lies in a data set."""

from __future__ import annotations

import importlib
import zipfile

import pytest

CSV = ["--columns", "image=file,x_min=left,y_min=top,x_max=right,y_max=bottom,label=finding", "--classes", "opacity"]


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(
    ("source", "command", "options"),
    [
        ("vindr", "vindr", []),
        ("siim", "siim_covid", []),
        ("nih", "nih", []),
        ("coco", "coco", []),
        ("csv", "csv", [*CSV, "--boxes", "{raw}/boxes.csv"]),
    ],
)
def test_nothing_tells_where_on_a_machine_it_was_made(request, tmp_path, source, command, options, zipped):
    raw = request.getfixturevalue(f"{source}_source")(tmp_path / "raw")
    damaged, gone = [path for path in sorted(raw.rglob("*")) if path.suffix in (".png", ".dicom", ".dcm")][:2]
    damaged.write_bytes(b"nothing of the kind")
    if not zipped:
        gone.unlink()
        gone.symlink_to(tmp_path / "nowhere")
    given = raw
    if zipped:
        given = tmp_path / "raw.zip"
        with zipfile.ZipFile(given, "w") as archive:
            for path in sorted(raw.rglob("*")):
                archive.write(path, path.relative_to(raw))
    words = [option.format(raw=raw) for option in options]
    arguments = ["--source", str(given), "--output", str(tmp_path / "out"), "--workers", "1", "--folds", "2", *words]
    assert not importlib.import_module(f"convert.{command}_to_yolo").main(arguments)
    reasons = (tmp_path / "out" / "rejected.csv").read_text()
    assert zipped or "cannot be read" in reasons
    assert reasons.count("\n") > 1
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path
