"""CSV files: what is read, and what is refused in one line that names the file and the line."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmsim.csv_table import Rules, parse_csv, read_csv
from nmsim.errors import SpecError


@pytest.mark.parametrize("data", ["a,b\n1,x\n", "\ufeffa,b\r\n1,x\r\n", " a ,b\n\n1,x"])
def test_a_table_is_read_however_it_was_saved(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data.encode())
    table = read_csv(tmp_path / "t.csv", Rules(columns=("a", "b"), rows="row"))
    assert (table.header, table.rows) == (("a", "b"), [["1", "x"]])
    assert table.columns() == {"a": ["1"], "b": ["x"]}


def test_lines_are_those_that_an_editor_shows():
    table = parse_csv("t.csv", 'a,b\n\n"1\n2",x\n3,"y"\n', Rules())
    assert table.lines == [4, 5]
    assert table.rows == [["1\n2", "x"], ["3", "y"]]
    assert table.records[0] == "a,b"
    assert table.records[-1] == '3,"y"'
    assert str(table.fault(1, "too small")) == "t.csv: line 5: too small"


def test_rows_may_be_filled_and_equal_texts_are_one():
    table = parse_csv("t.csv", "a,b,c\n1,same\n2,same\n", Rules(filled=True))
    assert [row[2] for row in table.rows] == ["", ""]
    assert table.rows[0][1] is table.rows[1][1]
    assert parse_csv("t.csv", "a,b\n", Rules()).columns() == {"a": [], "b": []}


@pytest.mark.parametrize(
    ("text", "rules", "said"),
    [
        ("", {}, "empty, expected a header and rows: column 'a' is missing"),
        ("\n \n", {}, "empty, expected a header and rows: column 'a' is missing"),
        ("b,b\n", {}, "line 1: column 'b' stands there twice"),
        ("\nb\n", {}, "line 2: column 'a' is missing"),
        ("b\n", {"missing": "no column {!r}"}, "line 1: no column 'a'"),
        ("a\n", {"rows": "GEMM"}, "no rows, expected at least one GEMM"),
        ("a,b\n1,2\n3\n", {}, "line 3: 1 fields, the header has 2"),
        ("a,b\n1,2,3\n", {}, "line 2: 3 fields, the header has 2"),
        ("a,b\n1,2,3\n", {"filled": True}, "line 2: more fields than the header has columns"),
        ('a\n"1\n', {}, "line 2: not CSV (unexpected end of data)"),
        ('a\n"1"2\n', {}, "line 2: not CSV (',' expected after '\"')"),
        ("a\n1", {"ended": True}, "line 2: cut short, no end of line"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text, rules, said):
    with pytest.raises(SpecError) as error:
        parse_csv("t.csv", text, Rules(columns=("a",), **rules))
    assert str(error.value) == f"t.csv: {said}"


def test_what_cannot_be_read_is_told(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(SpecError, match=r"t\.csv: cannot be read \(No such file or directory\)$"):
        read_csv(path, Rules())
    path.write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(SpecError, match=r"expected a CSV text file: not UTF-8 \(byte 4\)$"):
        read_csv(path, Rules())


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n))))
def test_what_was_written_is_read(rows):
    rows = [row for row in rows if row != [""]]  # a row of one empty cell is a blank line
    width = len(rows[0]) if rows else 1
    names = [f"c{number}" for number in range(width)]
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    table = parse_csv("t.csv", out.getvalue(), Rules(columns=names, ended=True))
    assert table.rows == rows
    assert len(table.lines) == len(table.records) - 1 == len(rows)
