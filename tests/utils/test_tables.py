"""Records to and from CSV."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lgm.utils.tables import read_records, write_records


@dataclass(frozen=True)
class Row:
    text: str
    number: int
    flag: bool = False


# What a file name may hold, bytes that are no UTF-8 among it.
NAMES = st.binary(max_size=12).map(lambda name: name.replace(b"\0", b"").decode("utf-8", "surrogateescape"))


@given(rows=st.lists(st.builds(Row, NAMES, st.integers(), st.booleans()), max_size=4))
def test_records_come_back(rows: list[Row], tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    write_records(path, Row, rows)
    assert list(read_records(path, Row)) == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text\nx\n", "expected the columns number, text, found none of number"),
        ("text,number\nx\n", "row 2: expected 2 cells, found 1"),
        ("text,number\nx,y\n", "invalid literal"),
        ("text,number,flag\nx,1,maybe\n", "expected True or False"),
        (f'text,number\n"{"x" * 200_000}",1\n', "field larger than field limit"),
    ],
)
def test_other_tables_are_refused(content: str, said: str, tmp_path: Path):
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(ValueError, match=said):
        list(read_records(tmp_path / "rows.csv", Row))


def test_columns_with_a_default_may_be_missing_and_others_are_passed_over(tmp_path: Path):
    (tmp_path / "rows.csv").write_text("more,number,text\nz,1,x\n")
    assert list(read_records(tmp_path / "rows.csv", Row)) == [Row("x", 1)]
