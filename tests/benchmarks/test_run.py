from __future__ import annotations

from benchmarks.conversion import measure
from benchmarks.results import RESULTS, write_rows

ROW = {"what": "convert one file", "seconds": 0.0005, "ratio": 52.3, "against": "something slow"}


def test_every_way_of_conversion_is_timed_in_one_run():
    rows = measure(images=3, naive_images=2, repeats=1, whole=False)
    assert [row["against"] for row in rows] == [
        "pydicom pixel_array + cv2.imwrite to PNG",
        "pydicom pixel_array + cv2.imwrite to JPEG",
        "shutil.copyfile of the DICOM",
    ]
    assert all(row["ratio"] > 0 and row["seconds"] > 0 for row in rows)


def test_results_keep_what_stands_around_the_table(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text(RESULTS.read_text() + "\n## By hand\n\nkept\n")
    for _ in range(2):  # the second time replaces the first
        write_rows([ROW], path)
    text = path.read_text()
    assert text.startswith("# Results\n")
    assert text.endswith("\n## By hand\n\nkept\n")
    assert text.count("| convert one file | 0.00050 | 52 | something slow |") == 1
    assert "Command: `make bench`" in text
