"""Tables and catalogues: one column, and the messages that lack a translation."""

from __future__ import annotations

import csv
import io

import polib
import pytest

from mtgen.documents import DocumentError, columns, open_document
from mtgen.documents.table import _delimiter, _rows
from tests.documents.upper import through, translated

CSV = 'id,Text,"Note, long"\n1,"Say ""hi"", now",x\n2, plain ,y\n\n3\n4,"two\nlines",z\n5,12,\n'
PO = r"""# Translators' comment
# of two lines
msgid ""
msgstr ""
"Project-Id-Version: x 1.0\n"
"Language: pl\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=3; plural=(n==1 ? 0 : n%10>=2 ? 1 : 2);\n"

#. Extracted
#: src/a.c:1 src/b.c:2
#, c-format
msgctxt "menu"
msgid "Open %s"
msgstr ""

msgid "Done"
msgstr "Gotowe"

#, fuzzy, python-format
#| msgid "Old %(name)s"
msgid ""
"\n"
"New %(name)s\n"
msgstr "Stare %(name)s"

#, c-format
msgid "%d file"
msgid_plural "%d files"
msgstr[0] ""
msgstr[1] ""
msgstr[2] "%d plików"

msgid "..."
msgstr ""

#~ msgid "Gone"
#~ msgstr "Nie ma"
"""


@pytest.mark.parametrize("column", ["Text", "2", " 2 "])
def test_one_column_is_translated_and_the_rest_stays_to_the_byte(column):
    document = open_document("a.csv", CSV.encode(), column=column)
    assert document.pieces == ('Say "hi", now', "plain", "two\nlines")
    assert document.notes == (
        "The first row was taken as the columns' names and left as it is.",
        "Row 5 has no cell in that column and was left as it is.",
    )
    assert document.written(document.pieces) == CSV.encode()
    changed = document.written(['"a"', "b, c", "x\ny\nz"]).decode()
    assert changed == CSV.replace('Say ""hi"", now', '""a""').replace(
        " plain ", '" b, c "'
    ).replace("two\nlines", "x\ny\nz")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter):
    text = "a{0}b{0}c\nx, y; z{0}two{0}three\n".replace("{0}", delimiter)
    if delimiter in ",;":
        text = text.replace("x, y; z", '"x, y; z"')
    assert columns("a.csv", text.encode()) == ["a", "b", "c"]
    assert through("a.csv", text, column="b") == text.replace("two", "TWO")


def test_a_single_column_needs_no_name_and_keeps_commas_unquoted():
    text = "Text\r\nHello, you\r\nbye\r\n"
    document = open_document("a.csv", text.encode())
    assert document.pieces == ("Hello, you", "bye")
    changed = document.written(["Hallo, du", "tschüs, du"]).decode()
    assert changed == 'Text\r\nHallo, du\r\n"tschüs, du"\r\n'


def test_columns_without_a_name_of_their_own_go_by_number():
    assert columns("a.csv", b"a,,a, b \n1,2,3,4") == ["a", "2", "3", "b"]
    assert columns("a.csv", b"sep=;\na;b\n1;x") == ["a", "b"]
    assert through("a.csv", "sep=;\na;b\n1;x", column="b") == "sep=;\na;b\n1;X"
    assert columns("a.txt", b"a,b") == []


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        'a,b\n"x"y,z\n,\n"",""\n" q ",r"s"\n',
        'a;b\r\n"1;2";"3\r\n4"\r\n\r\n5;6',
        "a\rb\r",
        ",\n,,\n",
    ],
)
def test_cells_are_those_of_the_csv_module(text):
    delimiter = _delimiter(text) or ","
    expected = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    assert [[cell.value for cell in row] for row in _rows(text, delimiter)] == expected


def test_cells_with_text_after_a_quotation_mark_stay():
    document = open_document("a.csv", b'a,b\n"x"y,z\nw,v\n', column="a")
    assert document.pieces == ("w",)
    assert document.notes[1] == (
        "Row 2 has text after a closing quotation mark and was left as it is."
    )


@pytest.mark.parametrize(
    ("text", "column", "sentence"),
    [
        ("a,b\n1,2", None, r"^a.csv has 2 columns; choose one of 1 'a', 2 'b'$"),
        ("a,b\n1,2", " ", r"has 2 columns"),
        ("a,b\n1,2", "c", r"^a.csv has no column 'c'; choose one of 1 'a', 2 'b'$"),
        ("a,b\n1,2", "0", r"has no column '0'"),
        ("a,b\n1,2", "3", r"has no column '3'"),
        ("a,b\n1,2", "9" * 5000, r"has no column '9"),
        ("a,b\n1,2", "²", r"has no column '²'"),
        ('a,b\n1,"2\n3,4', "a", r"opens a quotation mark in row 2 that never closes; close it"),
        ("a" + "," * 500_001, "1", r"a.csv has more than 500,000 cells, which is the most that"),
        ("\n\n", None, r"a.csv holds no row; its first row must name the columns"),
    ],
)
def test_tables_that_cannot_be_read_are_one_sentence(text, column, sentence):
    with pytest.raises(DocumentError, match=sentence):
        open_document("a.csv", text.encode(), column=column)


def entries(content: bytes) -> list:
    catalogue = polib.pofile("\n" + content.decode("utf-8-sig"))
    assert catalogue.header
    return [
        (e.msgctxt, e.msgid, e.msgstr, e.msgid_plural, e.msgstr_plural, e.comment, e.tcomment,
         e.flags, e.occurrences, e.obsolete)
        for e in catalogue
    ] + [catalogue.metadata, catalogue.header]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_an_untranslated_catalogue_means_the_same(line_break, encoding):
    content = PO.replace("\n", line_break).encode(encoding)
    document = open_document("a.po", content)
    written = document.written([None] * len(document.pieces))
    assert entries(written) == entries(content)
    assert written.startswith(content[:3])
    assert written.count(b"\r\n") == (written.count(b"\n") if line_break == "\r\n" else 0)


def test_what_lacks_a_translation_is_filled_and_no_longer_fuzzy():
    document = open_document("a.po", PO.encode())
    assert document.pieces == ("Open %s", "New %(name)s", "%d file", "%d files")
    assert document.notes == ("1 entry was already translated and kept.",)
    catalogue = polib.pofile("\n" + translated(document).decode())
    opened, done, new, files, dots, gone = catalogue
    assert (opened.msgctxt, opened.msgstr, opened.flags) == ("menu", "OPEN %s", ["c-format"])
    assert opened.occurrences == [("src/a.c", "1"), ("src/b.c", "2")]
    assert (opened.comment, done.msgstr, dots.msgstr) == ("Extracted", "Gotowe", "")
    assert (new.msgstr, new.flags) == ("\nNEW %(name)s\n", ["python-format"])
    assert new.previous_msgid is None
    assert files.msgstr_plural == {0: "%d FILE", 1: "%d FILES", 2: "%d plików"}
    assert gone.obsolete
    assert catalogue.metadata == polib.pofile("\n" + PO).metadata


def test_a_translation_equal_to_its_message_counts_and_none_leaves_an_entry_alone():
    document = open_document("a.po", PO.encode())
    catalogue = polib.pofile("\n" + document.written(["Open %s", None, "x", None]).decode())
    opened, _, new, files, *_ = catalogue
    assert opened.msgstr == "Open %s"
    assert (new.msgstr, new.fuzzy, new.previous_msgid) == ("Stare %(name)s", True, "Old %(name)s")
    assert files.msgstr_plural == {0: "", 1: "", 2: "%d plików"}


@pytest.mark.parametrize(
    ("header", "pieces", "forms"),
    [
        ("Plural-Forms: nplurals=1; plural=0;", ("%d files",), {0: "%d FILES"}),
        ("Plural-Forms: nplurals=2; plural=(n != 1);", ("%d file", "%d files"), None),
        ("Language: de", ("%d file", "%d files"), None),
        ("Plural-Forms: nplurals=999; plural=0;", ("%d file", "%d files"), None),
    ],
)
def test_plural_forms_follow_the_header(header, pieces, forms):
    text = f'msgid ""\nmsgstr "{header}\\n"\n\nmsgid "%d file"\nmsgid_plural "%d files"\n'
    forms = forms or {0: "%d FILE", 1: "%d FILES"}
    text += "".join(f'msgstr[{key}] ""\n' for key in forms)
    document = open_document("a.po", text.encode())
    assert document.pieces == pieces
    assert polib.pofile("\n" + translated(document).decode())[0].msgstr_plural == forms
    if "nplurals" not in header:
        assert document.notes == (
            "The header gives no number of plural forms, so two were filled.",
        )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hello", r"a.po cannot be read as a catalogue of messages \(line 1\); check it with msgf"),
        ('msgid "a"\nmsgstr "b"\nmsgid "c"d"\n', r"a.po cannot be read as .* \(line 3\)"),
        ("# only a comment\n", r"a.po holds no message; a .po file has lines of msgid and msgstr"),
    ],
)
def test_catalogues_that_cannot_be_read_are_one_sentence(text, sentence):
    with pytest.raises(DocumentError, match=sentence):
        open_document("a.po", text.encode())


def test_a_path_in_a_catalogue_is_not_opened(tmp_path):
    (tmp_path / "secret.po").write_text('msgid "secret"\nmsgstr ""\n', "utf-8")
    with pytest.raises(DocumentError, match=r"a.po cannot be read"):
        open_document("a.po", str(tmp_path / "secret.po").encode())
