"""Glossaries, and what a translated file is called."""

from __future__ import annotations

import pytest

from mtgen.documents import DocumentError, read_glossary, translated_name


@pytest.mark.parametrize(
    "content",
    [
        "bank,Ufer\nGradio,Gradio\n",
        "bank;Ufer\r\n\r\nGradio;Gradio",
        "bank\tUfer\nGradio\tGradio\n",
        '\ufeffterm,translation\n bank , Ufer\n,\n"Gradio",Gradio\nbank,Ufer\n',
        "en;de\nbank;Ufer\nGradio;Gradio",
    ],
)
def test_terms_are_read_whatever_sets_them_apart(content):
    terms = read_glossary("terms.csv", content.encode())
    assert terms == (("bank", "Ufer"), ("Gradio", "Gradio"))


def test_a_comma_within_a_cell_stays():
    assert read_glossary("t.csv", b'"well, then";"nun, also"\na;b') == (
        ("well, then", "nun, also"), ("a", "b"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"bank,Ufer\nriver\n", "row 2 of terms.csv must be a term and its translation, got"),
        (b"bank,Ufer\nriver,\n", "row 2 of terms.csv must be a term and its translation, got"),
        (b"a,b\nc,d,e\n", "row 2 of terms.csv must be a term and its translation, got 'c | d | e'"),
        (b"bank,Ufer\nBank,Bank\n", "terms.csv gives 'Bank' two translations; keep one"),
        (b"", "terms.csv holds no terms; write one and its translation in each row"),
        (b"term,translation\n", "terms.csv holds no terms"),
        (b"a,b\n" + b"x" * 101 + b",y", "terms.csv cannot be used: term 2 of the glossary must be"),
        (b"\xff\xfe\x00", "terms.csv is not in UTF-16"),
        (b"caf\xe9,b", "terms.csv is not in UTF-8"),
        ("\n".join(f"w{i},v" for i in range(501)).encode(), "has 501 terms; up to 500 are read"),
    ],
)
def test_what_is_wrong_with_a_glossary_is_one_sentence(content, sentence):
    with pytest.raises(DocumentError) as caught:
        read_glossary("terms.csv", content)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "target", "wanted"),
    [
        ("film.srt", "fr", "film.fr.srt"),
        ("film.en.srt", "fr", "film.fr.srt"),
        ("Film.v2.DOCX", "de", "Film.v2.de.DOCX"),
        ("notes", "es", "notes.es"),
        (".srt", "es", ".srt.es"),
        ("en.txt", "es", "en.es.txt"),
    ],
)
def test_a_translated_file_says_its_language(name, target, wanted):
    assert translated_name(name, target) == wanted
