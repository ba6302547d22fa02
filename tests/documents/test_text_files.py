"""Text, Markdown and subtitles: only the words change."""

from __future__ import annotations

import pytest

from mtgen.documents import DocumentError, open_document
from tests.documents.upper import through, translated

TXT = "Title  \n\n\tindented line \n- a list\n\n12 34\nhttps://example.org\nlast line"
MD = """---
title: Stays
---
# Head *one* #

First line
  second line, `code` and [a link](https://example.org "tip").
With a break  
after it\\
and another.

> [!NOTE]
> A quote
lazily goes on

1. one
   - [ ] two [shortcut] and [two words][]

     ```python
     stays = 1
     ```

         stays too
* three ![alt text](stays.png)

| Name | Cut \\| here |
|:-----|------:|
| dog  | `a` |
| x | |

<div class="stays">stays</div>

Setext head
-----------

Text[^1] with <b>tags</b> and a note.

[^1]: The footnote
    goes on.

    Its second paragraph.

Term
: Meaning

$$
stays
$$

:::tip
In a container
:::

[shortcut]: https://example.org "Stays"
[two words]: <stays>
"""
SRT = """1
00:00:01,000 --> 00:00:02,500 X1:10 Y1:20
{\\an8}<i>Hello</i>
there.

2
00:00:03,000 --> 00:00:04,000
- Who?
- Me.
3
00:00:05,000 --> 00:00:06,000
No blank line before.

after a blank line

14
00:00:07,000 -> 00:00:08,000
Broken.

15
00:00:09,000 --> 00:00:10,000

16
00:00:11,000 --> 00:00:12,000
1984
"""
VTT = """WEBVTT - Stays
Kind: captions

STYLE
::cue { color: red }

NOTE stays
over lines

REGION
id:stays

intro
00:01.000 --> 00:02.500 align:start position:10%
<v Anna>Salt &amp; pepper &lt;3

00:00:03.000 --> 00:00:04.000
<c.loud>Second</c> <00:03.500>line
"""
ALL = {"a.txt": TXT, "a.md": MD, "a.srt": SRT, "a.vtt": VTT, "a.csv": 'Text\n"a ""b"""\n\nc d\n'}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ALL)
def test_an_untranslated_file_comes_back_to_the_byte(name, line_break, encoding):
    text = (ALL[name] + "Höhe 猫 🍏").replace("\n", line_break)
    content = text.encode(encoding)
    if encoding == "utf-16-be":
        content = b"\xfe\xff" + content
    document = open_document(name, content)
    assert document.pieces
    assert document.kind == name[2:]
    assert document.written(document.pieces) == content
    assert document.written([None] * len(document.pieces)) == content
    assert document.written([" "] * len(document.pieces)) == content
    changed = translated(document)
    assert changed[:2].lower() == content[:2].lower()
    again = open_document(name, changed)
    assert len(again.pieces) == len(document.pieces)
    assert translated(again) == changed
    if name != "a.md":  # which joins the lines of a paragraph
        assert changed.decode(encoding).lower() == content.decode(encoding).lower()


def test_a_line_of_text_is_a_piece_without_the_blanks_around_it():
    document = open_document("a.TXT", TXT.encode())
    assert document.pieces == ("Title", "indented line", "- a list", "last line")
    changed = document.written(["Titel", "zwei\nZeilen ", None, "x\0\x1b\ud800y"]).decode()
    assert changed == TXT.replace("Title", "Titel").replace("indented line", "zwei Zeilen").replace(
        "last line", "xy"
    )


def test_markdown_keeps_all_but_the_words():
    document = open_document("a.md", MD.encode())
    assert document.notes == ()
    assert document.pieces == (
        "Head *one*",
        'First line second line, `code` and [a link](https://example.org "tip"). With a break\n'
        "after it\nand another.",
        "A quote lazily goes on",
        "one",
        "two [shortcut][shortcut] and [two words][two words]",
        "three ![alt text](stays.png)",
        "Name",
        "Cut \\| here",
        "dog",
        "x",
        "Setext head",
        "Text[^1] with <b>tags</b> and a note.",
        "The footnote goes on.",
        "Its second paragraph.",
        "Term",
        "Meaning",
        "In a container",
    )
    changed = through("a.md", MD)
    assert MD.count("tays") == changed.count("tays")
    for part in (
        "# HEAD *ONE* #\n",
        'FIRST LINE SECOND LINE, `code` AND [A LINK](https://example.org "tip"). WITH A BREAK  \n'
        "AFTER IT\\\nAND ANOTHER.\n",
        "> [!NOTE]\n> A QUOTE LAZILY GOES ON\n",
        "1. ONE\n   - [ ] TWO [SHORTCUT][shortcut] AND [TWO WORDS][two words]\n\n     ```python\n",
        "* THREE ![ALT TEXT](stays.png)\n",
        "| NAME | CUT \\| HERE |\n|:-----|------:|\n| DOG  | `a` |\n| X | |\n",
        "SETEXT HEAD\n-----------\n",
        "TEXT[^1] WITH <b>TAGS</b> AND A NOTE.\n\n[^1]: THE FOOTNOTE GOES ON.\n\n    ITS SECOND",
        "TERM\n: MEANING\n",
        ":::tip\nIN A CONTAINER\n:::\n",
    ):
        assert part in changed


@pytest.mark.parametrize(
    ("source", "translation", "written"),
    [
        ("In 1990 it began.", "1990. begann es.", "1990\\. begann es."),
        ("Minus two", "- zwei", "\\- zwei"),
        ("Sharp", "# Kreuz", "\\# Kreuz"),
        ("> So", "> so", "> \\> so"),
        ("One  \ntwo", "Eins\n---", "Eins  \n\\---"),
        ("> One  \n> two", "Eins\nzwei\ndrei", "> Eins  \n> zwei  \n> drei"),
        ("One\ntwo", "Eins\nzwei", "Eins zwei"),
        ("> | a | b |\n> |---|---|\n", "x | y\nz", "> | x \\| y z | b |\n> |---|---|\n"),
        ("- | a | b |\n  |--|--|\n", "x", "- | x | b |\n  |--|--|\n"),
    ],
)
def test_a_translation_begins_no_block_of_its_own(source, translation, written):
    document = open_document("a.md", source.encode())
    given = [translation, *[None] * (len(document.pieces) - 1)]
    assert document.written(given).decode() == written


def test_subtitles_keep_all_but_the_words_and_name_broken_cues():
    document = open_document("a.srt", SRT.encode())
    assert document.notes == ("Cue 14 has a broken time line and was left as it is.",)
    assert document.pieces == (
        "{\\an8}<i>Hello</i>\nthere.",
        "- Who?\n- Me.",
        "No blank line before.",
        "after a blank line",
    )
    changed = document.written(["Hallo\n\n \n-->", None, "x", "y"]).decode()
    assert changed == SRT.replace("{\\an8}<i>Hello</i>\nthere.", "Hallo\n->").replace(
        "No blank line before.", "x"
    ).replace("after a blank line", "y")


def test_broken_cues_between_good_ones_swallow_none_of_them():
    times = "00:00:01,000 --> 00:00:02,000"
    broken = "".join(f"{n}\n00:00:0x --> oh\nbad\n\n{n + 1}\n{times}\ngood\n" for n in (1, 3, 5))
    document = open_document("a.srt", broken.encode())
    assert document.pieces == ("good",) * 3
    assert document.notes == ("Cues 1, 3 and 5 have a broken time line and were left as they are.",)


def test_web_subtitles_keep_settings_styles_and_notes():
    document = open_document("a.vtt", VTT.encode())
    assert document.pieces == (
        "<v Anna>Salt & pepper &lt;3",
        "<c.loud>Second</c> <00:03.500>line",
    )
    changed = document.written(["<v Anna>Q&A --> &lt;\u00a0x", None]).decode()
    assert changed == VTT.replace("Salt &amp; pepper &lt;3", "Q&amp;A --&gt; &lt;&nbsp;x")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.srt", b"Just text\n\nwithout cues", r"a.srt has no cue that can be read; its time li"),
        ("a.srt", b"1\n00:00:01 -> 2\nx", r"must look like 00:00:01,000 --> 00:00:02,500"),
        ("a.vtt", b"1\n00:01.000 --> 00:02.000\nx", r"a.vtt does not start with WEBVTT, as every"),
        ("a.vtt", b"WEBVTT\n\nNOTE x", r"must look like 00:01.000 --> 00:02.500"),
        ("a.txt", b"", r"a.txt is empty; give a file that holds text"),
        ("a.txt", b"a\0b", r"a.txt holds binary data; give a text in UTF-8, or in UTF-16"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0", r"a.txt holds binary data"),
        ("a.txt", "a".encode("utf-32"), r"a.txt holds binary data"),
        ("a.txt", "Größe".encode("latin-1"), r"not in UTF-8 \(byte 2 does not fit\); save it as"),
        ("a.txt", b"\xff\xfea", r"a.txt is not in UTF-16, as its first bytes say \(byte 2 does"),
        ("a.txt", b"\xff\xfe\x00\xd8a\0", r"a.txt is not in UTF-16"),
        ("a.txt", b"x" * 5_000_001, r"a.txt has 5.0 MB and up to 5 MB are read; cut it into"),
        ("a.txt", b"x " * 100_001, r"a.txt has more than 200,000 characters of text, which is th"),
        ("a.srt", b"\n" * 4_900_000, r"a.srt has more than 200,000 lines, which is the most that"),
        ("a.po", b"\r\n" * 200_000, r"a.po has more than 200,000 lines"),
        ("a.md", b"`x` \n" * 50_000, r"a.md has more than 200,000 characters of text"),
        ("a.pdf", b"x", r"a.pdf is of a type that cannot be translated; give .txt, .md, .srt, .v"),
        ("README", b"x", r"README has no suffix that says its type; name it .txt, .md, .* or .do"),
        ("C:\\x\\a\n.pdf", b"x", r"^a\?.pdf is of a type"),
        ("", b"x", r"the file has no suffix"),
        ("x" * 300 + ".pdf", b"x", r"^x{40}…x{15}\.pdf is of"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(name, content, sentence):
    with pytest.raises(DocumentError, match=sentence):
        open_document(name, content)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.csv"])
def test_a_file_without_words_has_no_pieces_and_a_note(name):
    document = open_document(name, b"12\n\n34\n")
    assert document.pieces == ()
    assert document.notes[-1] == "There is no text to translate in this file."
    assert document.written([]) == b"12\n\n34\n"


def test_lines_with_control_characters_stay_and_are_named():
    text = "one\n" + "t\x1bwo\n" * 6 + "\fthree"
    document = open_document("a.txt", text.encode())
    assert document.pieces == ("one", "three")
    assert document.notes == (
        "Lines 2, 3, 4, 5 and 2 more have a control character and were left as they are.",
    )
    assert document.written(["ONE", "THREE"]).decode() == text.replace("one", "ONE").replace(
        "three", "THREE"
    )


def test_one_translation_for_each_piece_is_demanded():
    document = open_document("a.txt", b"one\ntwo")
    with pytest.raises(DocumentError, match="1 translations were given for 2 pieces; give one"):
        document.written(["eins"])
    assert document.written(["eins", None]) == b"eins\ntwo"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "[" * 190_000),
        ("a.md", "`" * 190_000),
        ("a.md", "`a ``b ```c " * 15_000),
        ("a.md", "[a][" * 40_000 + "\n\n[a]: b"),
        ("a.md", "$a " * 60_000),
        ("a.md", "<a " * 60_000),
        ("a.md", ">" * 190_000),
        ("a.md", "|a" * 40_000 + "\n" + "|-" * 40_000),
        ("a.csv", 't\n' + '"' * 150_001),
        ("a.csv", 'a,b\n' + ',"' * 90_000),
        ("a.csv", ("a\x1b" + "x" * 40 + "\n") * 90_000),
        ("a.csv", "," * 4_900_000),
        ("a.csv", "x" * 4_900_000),
        ("a.csv", 'a\n' * 90_000),
        ("a.po", 'msgid "%d"\nmsgstr "a"\n' * 60_000),
        ("a.srt", "1\n00:01 --> 00:02\n\n" * 60_000),
        ("a.srt", "1\n" * 90_000),
        ("a.srt", "00:00:01 --> " * 15_000),
        ("a.txt", "{\\" * 90_000),
    ],
)  # fmt: skip
def test_hostile_text_takes_no_long_time(name, text):
    import time

    started = time.process_time()
    try:
        document = open_document(name, text.encode(), column="1")
        written = document.written(document.pieces)
        assert written == text.encode() or name == "a.po"
    except DocumentError:
        pass
    assert time.process_time() - started < 6
