from __future__ import annotations

import csv
import io
import random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.csv_files import first_fields, read_csv, write_csv


def read(text: str | bytes, *names: str) -> dict[int, dict[str, str]]:
    table = read_csv(text.encode() if isinstance(text, str) else text, names)
    return {int(line): row for line, row in table.to_dict("index").items()}


def test_everything_is_text_and_the_index_is_the_line():
    assert read(" a , b\n01,1.0\n\n,\nNA,\n ,2\n") == {
        2: {"a": "01", "b": "1.0"}, 5: {"a": "NA", "b": ""}, 6: {"a": "", "b": "2"},
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines(encoding, end):
    assert read(f"naïve;b{end}ü;1{end}".encode(encoding)) == {2: {"naïve": "ü", "b": "1"}}
    assert first_fields(f'ü;1{end}"b"; 2{end}c{end}'.encode(encoding)) == ["ü", "b", "c"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters(delimiter):
    text = 'id,"a, b; c",x\n1,"p, q; r\ts",2\n'
    columns = next(csv.reader(io.StringIO(text)))
    packed = io.StringIO()
    csv.writer(packed, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(csv.reader(io.StringIO(text)))
    assert read(packed.getvalue()) == {2: dict(zip(columns, ["1", "p, q; r\ts", "2"], strict=True))}


def test_excels_own_first_line_and_blank_lines_before_the_header():
    assert read("sep=;\na;b,c\n1;2\n") == {3: {"a": "1", "b,c": "2"}}
    assert read("\n \na,b\n1,2\n") == {4: {"a": "1", "b": "2"}}


def test_decimal_commas_where_the_delimiter_is_another():
    assert read("id;x;n;text;many\na,1;10,5;3;1,5 mm;0,9 10 20,25\n;-1,5e3;;x;\nb;nan;4;2,5;1\n") == {
        2: {"id": "a,1", "x": "10.5", "n": "3", "text": "1,5 mm", "many": "0.9 10 20.25"},
        3: {"id": "", "x": "-1.5e3", "n": "", "text": "x", "many": ""},
        4: {"id": "b", "x": "nan", "n": "4", "text": "2,5", "many": "1"},
    }
    # Which of the two is the thousands' sign here, nobody can tell.
    assert read("x;y\n1.024,5;1\n3,5;2\n")[3]["x"] == "3,5"
    assert read('x,y\n"10,5",1\n')[2]["x"] == "10,5"


def test_rows_longer_than_the_header_are_an_error_with_line_and_counts():
    with pytest.raises(ValueError, match=r"line 3 has 9 fields, the header 6: is there a comma, perhaps a decimal"):
        read("patientId,x,y,width,height,Target\np,,,,,0\np,10,5,20,3,30,5,40,2\n")
    assert read("a,b\n1,2,\n3,4, ,\n5,6\n") == {
        2: {"a": "1", "b": "2"},
        3: {"a": "3", "b": "4"},
        4: {"a": "5", "b": "6"},
    }


def test_rows_shorter_than_the_header_are_an_error_where_they_lack_what_is_asked_for():
    text = "a,b,comment\n1,2,x\n3,4\n5\n"
    assert read("a,b,comment\n1,2,x\n3,4\n", "b")[3] == {"a": "3", "b": "4", "comment": ""}
    with pytest.raises(ValueError, match="line 4 has 1 fields, the header 3: is something missing"):
        read(text, "b")
    with pytest.raises(ValueError, match="line 3 has 2 fields, the header 3: is something missing"):
        read(text)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("patientId,X", ["patientId", "x"]),
        ("PATIENTID, x", ["patientId", "x"]),
        ("patientid,patientId,x", ["patientid", "patientId", "x"]),
        ("row,line,PatientId", ["row", "line", "patientId"]),
        (",,patientId", ["Unnamed: 0", "Unnamed: 1", "patientId"]),
        ("other,other,Other", ["other", "other.1", "Other"]),
        ('"Patient\n name",patientId', ["Patient name", "patientId"]),
    ],
)
def test_names_of_columns_in_other_capitals(header, found):
    cells = ",".join("v" for _ in found)
    assert list(read_csv(f"{header}\n{cells}\n".encode(), ["patientId", "x"]).columns) == found


@pytest.mark.parametrize("header", ["x,x", "PatientId,PATIENTID", "patientId,x,patientId"])
def test_names_that_two_columns_could_have(header):
    with pytest.raises(ValueError, match=r"the column (x|patientId) is there 2 times"):
        read(f"{header}\n", "patientId", "x")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b" \n\n", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (b"\xff\xfe\x00", "utf-?16"),
        (b"a,b\n1,\x002\n", "NUL bytes"),
        (b'a,b\n1,2\n1,"2\n3,4\n', "line 3 has a quotation mark that nothing closes"),
        (b'"a,b\n1,2\n', "line 1 has a quotation mark that nothing closes"),
    ],
)
def test_what_is_no_table(data, why):
    with pytest.raises(ValueError, match=why):
        read_csv(data)


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('a,b\nx "y,z",1\n', None),  # the quotation mark is in the middle of a field: three fields
        ('a,b\n"x"y,z\n1,"2"3\n', ["xy", "z", "1", "23"]),
        ('a,b\n5" pipe,2\n6" pipe,3\n', ['5" pipe', "2", '6" pipe', "3"]),
        ('a,b\n "x,y" ,2\n', ["x,y", "2"]),
        ('a,b\n"say ""x, y""",2\n', ['say "x, y"', "2"]),
    ],
)
def test_quotation_marks_in_odd_places(text, cells):
    if cells is None:
        with pytest.raises(ValueError, match="line 2 has 3 fields, the header 2"):
            read(text)
    else:
        assert [cell for row in read(text).values() for cell in row.values()] == cells


def test_a_table_without_rows_has_its_columns():
    table = read_csv(b"a,b")
    assert list(table.columns) == ["a", "b"]
    assert len(table) == 0


_CELL = st.text(alphabet="ab1.,;\" \n\té'", max_size=6)


@given(
    st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(_CELL, min_size=width, max_size=width), max_size=6)),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_pythons_writer_has_written(rows, quoting, end):
    """Against the table that was written; lines are counted in the text."""
    width = len(rows[0]) if rows else 2
    packed = io.StringIO()
    writer = csv.writer(packed, quoting=quoting, lineterminator=end)
    writer.writerow([f"c{place}" for place in range(width)])
    expected = {}
    for row in rows:
        line = packed.getvalue().replace("\r\n", "\n").count("\n") + 1
        writer.writerow(row)
        cells = [cell.strip() for cell in row]
        if any(cells):
            expected[line] = {f"c{place}": cell for place, cell in enumerate(cells)}
    assert read(packed.getvalue()) == expected


def test_the_fast_way_and_the_slow_one_agree():
    rng = random.Random(1)
    lines = [f'{number},{rng.random()},"t, {number}"' for number in range(300)]
    regular = "a,b,c\n" + "\n".join(lines) + "\n"
    ragged = regular + "x,y,z,\n"  # one row with an empty field too many: all are read by Python's csv
    found = read(ragged)
    assert found.pop(302) == {"a": "x", "b": "y", "c": "z"}
    assert found == read(regular)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-HYPERLINK(1)", "'-HYPERLINK(1)"),
        ("'=1", "''=1"),
        ("-5.5", "-5.5"),
        ("-0004cfab-86", "-0004cfab-86"),
        ("+", "+"),
        ("'quoted'", "'quoted'"),
        ("a=b", "a=b"),
    ],
)
def test_formulas_are_written_as_text_and_read_as_they_were(tmp_path, cell, written):
    table = pd.DataFrame({"text": [cell, "x", None], "number": [-1.5, 2, float("nan")], "mixed": [cell, -3, pd.NA]})
    write_csv(tmp_path / "t.csv", table)
    with open(tmp_path / "t.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["text", "number", "mixed"], [written, "-1.5", written], ["x", "2.0", "-3"], ["", "", ""],
        ]  # fmt: skip
    read = read_csv((tmp_path / "t.csv").read_bytes())
    assert read["text"].tolist() == read["mixed"].replace("-3", "x").tolist() == [cell, "x"]
    assert table["text"][0] == cell


def test_what_cannot_be_printed_is_written_escaped(tmp_path):
    table = pd.DataFrame({"a": pd.Series(["x\x1b[2J\r\udce9\0", "two\nlines", "é"], dtype=object)})
    write_csv(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_bytes().decode() == 'a\nx\\x1b[2J\\x0d\\xe9\\x00\n"two\nlines"\né\n'
