"""The way from a source to a data set as a notebook goes it: one call."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from convert import rsna_to_yolo
from convert.parsers import rsna
from convert.yolo_set import Splitting, conversion, convert

ROOT = Path(__file__).resolve().parents[3]


def test_one_call_makes_what_the_command_makes(good_release, tree):
    source = good_release.write()
    by_command, by_call = source.parent / "command", source.parent / "call"
    options = ["--test", "0.2", "--folds", "2", "--negatives", "1", "--size", "32", "--seed", "3"]
    rsna_to_yolo.main(["--source", str(source), "--output", str(by_command), *options])
    data = convert(rsna.parse(source), by_call, Splitting(test=0.2, folds=2, negatives=1, seed=3), size=32)
    assert tree(by_call) == tree(by_command)
    assert data == by_call / "data.yaml"
    assert yaml.safe_load(data.read_text())["train"] == "train.txt"


def test_what_is_there_is_done_anew_only_on_demand(good_release):
    parsed, output = rsna.parse(good_release.write()), good_release.folder.parent / "out"
    convert(parsed, output)
    before = (output / "manifest.csv").stat().st_mtime_ns
    assert convert(parsed, output) == output / "data.yaml"
    assert (output / "manifest.csv").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="seed was 0, now 1"):
        convert(parsed, output, Splitting(seed=1))
    convert(parsed, output, Splitting(seed=1), overwrite=True)
    assert (output / "manifest.csv").stat().st_mtime_ns > before


def test_a_second_conversion_into_the_same_folder_leaves_the_first_alone(good_release, tree, monkeypatch):
    parsed, folder = rsna.parse(good_release.write()), good_release.folder.parent
    convert(parsed, folder / "alone")
    command = [sys.executable, "convert/rsna_to_yolo.py", "--source", good_release.folder, "--output", folder / "out"]
    convert_plan, seen = conversion.convert_plan, []

    def meanwhile(*arguments, **options):
        part = folder / "out" / "images" / "train" / "a.jpg.77.part"
        part.write_text("of the first")
        seen.extend(
            subprocess.run([*map(str, command), *more], capture_output=True, text=True, cwd=ROOT)
            for more in ([], ["--overwrite"])
        )
        assert part.exists()
        return convert_plan(*arguments, **options)

    monkeypatch.setattr(conversion, "convert_plan", meanwhile)
    convert(parsed, folder / "out")
    assert [done.returncode for done in seen] == [1, 1]
    assert all(re.fullmatch(r"error: .*another conversion is at work in it.*\n", done.stderr) for done in seen)
    assert tree(folder / "out") == tree(folder / "alone")


def test_a_lock_that_a_killed_process_left_does_not_bar_the_way(good_release):
    parsed, output = rsna.parse(good_release.write()), good_release.folder.parent / "out"
    output.mkdir()
    (output / "conversion.lock").touch()
    convert(parsed, output)
    assert not list(output.glob("*.lock"))


def test_where_nothing_can_be_locked_a_finished_data_set_is_still_found(good_release, monkeypatch):
    parsed, output = rsna.parse(good_release.write()), good_release.folder.parent / "out"
    convert(parsed, output)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    assert convert(parsed, output) == output / "data.yaml"


def test_splitting_is_what_the_command_does_by_default():
    options = vars(rsna_to_yolo.build_parser().parse_args([]))
    assert vars(Splitting()) == {name: options[name] for name in vars(Splitting())}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"val": 0.6, "test": 0.4}, "--val 0.6 and --test 0.4 leave nothing to train on"),
        ({"val": 1.0, "test": 0.0}, "leave nothing to train on"),
        ({"val": -0.1}, "val -0.1"),
        ({"test": 1.5}, "test 1.5"),
        ({"folds": 1}, "folds 1"),
        ({"folds": -2}, "folds -2"),
        ({"negatives": -1}, "negatives -1"),
    ],
)
def test_splittings_that_cannot_be(values, said):
    with pytest.raises(UserError, match=said):
        Splitting(**values)


def test_the_package_alone_is_light():
    code = "import sys, convert.yolo_set; print(*{'numpy', 'pandas', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == ""


def test_a_page_names_the_command_that_was_given(good_release, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(sys, "argv", ["pytest", "--of-another-program"])
    source, output = good_release.write(), good_release.folder.parent / "out"
    rsna_to_yolo.main(["--source", str(source), "--output", str(output), "--report"])
    page = (output / "data.html").read_text()
    assert f"python convert/rsna_to_yolo.py --source {source} --output {output} --report" in page
    assert "--of-another-program" not in page
