"""Word documents: the words change, formatting moves with them, and hostile files are refused."""

from __future__ import annotations

import io
import struct
import time
import zipfile

import docx
import pytest
from docx.enum.text import WD_BREAK
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls, qn
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from mtgen.documents import DocumentError, open_document
from tests.documents.upper import translated

SPACES = nsdecls("w", "r") + (
    ' xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    ' xmlns:v="urn:schemas-microsoft-com:vml"'
    ' xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c636000"
    "0000020001485450310000000049454e44ae426082"
)


def saved(document) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def of_xml(*paragraphs: str) -> bytes:
    """A document of paragraphs given as the XML inside them."""
    document = docx.Document()
    for inner in paragraphs:
        xml = f"<w:p {SPACES}>{inner}</w:p>"
        document.element.body.insert(len(document.element.body) - 1, parse_xml(xml))
    return saved(document)


def run(text: str, look: str = "") -> str:
    look = f"<w:rPr>{look}</w:rPr>" if look else ""
    return f'<w:r>{look}<w:t xml:space="preserve">{text}</w:t></w:r>'


def shown(paragraph) -> list[tuple[str, str]]:
    """(look, text) of each run: b bold, i italic, h in a hyperlink, + inserted, # an object."""
    found = []
    for element in paragraph._p.iter(qn("w:r")):
        if any(element.iterancestors(qn("w:del"), qn("w:txbxContent"))):
            continue
        look = "".join(
            letter
            for letter in "bi"
            if element.find(f"{qn('w:rPr')}/{qn('w:' + letter)}") is not None
        )
        look += "h" * any(True for _ in element.iterancestors(qn("w:hyperlink")))
        look += "+" * any(True for _ in element.iterancestors(qn("w:ins")))
        text = ""
        for child in element:
            if child.tag == qn("w:t"):
                text += child.text
            elif child.tag in (qn("w:br"), qn("w:tab")):
                text += "\n" if child.tag == qn("w:br") else "\t"
            elif child.tag != qn("w:rPr"):
                text += "#"
        found.append((look, text))
    return found


def written(content: bytes, *translations: str | None):
    return docx.Document(io.BytesIO(open_document("a.docx", content).written(translations)))


@pytest.fixture
def report() -> bytes:
    """A document with most that people put into one."""
    document = docx.Document()
    document.core_properties.title = "Stays"
    document.add_heading("Heading", 1)
    paragraph = document.add_paragraph("Plain and ")
    paragraph.add_run("bold").bold = True
    paragraph.add_run(" text.")
    document.add_paragraph("item", style="List Bullet")
    table = document.add_table(1, 2)
    table.cell(0, 0).text = "left"
    table.cell(0, 1).add_table(1, 1).cell(0, 0).text = "nested"
    document.add_paragraph("First\tSecond").add_run().add_break(WD_BREAK.PAGE)
    document.add_picture(io.BytesIO(PNG))
    document.add_paragraph("")
    document.sections[0].header.paragraphs[0].text = "Header"
    document.sections[0].footer.paragraphs[0].text = "Footer"
    return saved(document)


def test_text_of_body_tables_headers_and_footers_is_translated(report):
    document = open_document("a.DOCX", report)
    assert document.kind == "docx"
    assert document.notes == ()
    assert document.pieces == (
        "Heading", "Plain and <1>bold</1> text.", "item", "left", "nested", "First", "Second",
        "Header", "Footer",
    )  # fmt: skip
    content = translated(document)
    after = docx.Document(io.BytesIO(content))
    assert [paragraph.text for paragraph in after.paragraphs[:4]] == [
        "HEADING", "PLAIN AND BOLD TEXT.", "ITEM", "FIRST\tSECOND",
    ]  # fmt: skip
    assert shown(after.paragraphs[1]) == [("", "PLAIN AND "), ("b", "BOLD"), ("", " TEXT.")]
    assert [p.style.name for p in after.paragraphs[:3]] == ["Heading 1", "Normal", "List Bullet"]
    assert after.tables[0].cell(0, 1).tables[0].cell(0, 0).text == "NESTED"
    assert after.sections[0].header.paragraphs[0].text == "HEADER"
    assert 'w:type="page"' in after.paragraphs[3]._p.xml
    assert len(after.inline_shapes) == 1
    again = open_document("a.docx", content)
    assert len(again.pieces) == len(document.pieces)
    assert translated(again) == content


def test_all_other_parts_and_an_untranslated_document_stay(report):
    document = open_document("a.docx", report)
    before = zipfile.ZipFile(io.BytesIO(report))
    for content, changed in (
        (document.written(document.pieces), set()),
        (document.written([None] * 9), set()),
        (document.written(["x", *[None] * 8]), {"word/document.xml"}),
    ):
        after = zipfile.ZipFile(io.BytesIO(content))
        assert after.namelist() == before.namelist()
        for old, new in zip(before.infolist(), after.infolist(), strict=True):
            assert old.date_time == new.date_time
            assert (before.read(old) != after.read(new)) == (old.filename in changed)


def test_what_word_cuts_into_runs_for_proofing_is_one_text():
    inner = (
        run("One ", '<w:lang w:val="en-US"/>') + '<w:proofErr w:type="spellStart"/>' + run("two")
    )
    content = of_xml(inner + run(" three", "<w:noProof/>") + "<w:r><w:br/></w:r>" + run("four"))
    assert open_document("a.docx", content).pieces == ("One two three\nfour",)
    after = written(content, "Eins\nzwei\ndrei")
    assert shown(after.paragraphs[0]) == [("", "Eins\nzwei\ndrei")]


MIXED = (
    run("Note:", "<w:b/>") + run(" see ") + '<w:bookmarkStart w:id="1" w:name="x"/>'
    '<w:hyperlink w:anchor="x">' + run("the link", "<w:i/>") + "</w:hyperlink>"
    '<w:bookmarkEnd w:id="1"/>' + run(" and the note")
    + '<w:r><w:footnoteReference w:id="2"/></w:r>' + run(" here. ")
)  # fmt: skip


def test_formatting_links_and_notes_move_with_the_words():
    content = of_xml(MIXED)
    piece = "<1>Note:</1> see <2>the link</2> and the note<3/> here."
    assert open_document("a.docx", content).pieces == (piece,)
    same_order = written(content, "<1>Nota:</1> ver <2>el enlace</2> y la nota<3/> aquí.")
    assert shown(same_order.paragraphs[0]) == [
        ("b", "Nota:"), ("", " ver "), ("ih", "el enlace"), ("", " y la nota"), ("", "#"),
        ("", " aquí. "),
    ]  # fmt: skip
    names = [child.tag.split("}")[1] for child in same_order.paragraphs[0]._p]
    assert names == ["r", "r", "bookmarkStart", "hyperlink", "bookmarkEnd", "r", "r", "r"]
    other_order = written(content, "Voir <2>le\nlien</2><3/>, <1>note :</1>")
    assert shown(other_order.paragraphs[0]) == [
        ("", "Voir "), ("ih", "le\nlien"), ("", "#"), ("", ", "), ("b", "note :"), ("", " "),
    ]  # fmt: skip
    link = other_order.paragraphs[0]._p.find(qn("w:hyperlink"))
    assert link.get(qn("w:anchor")) == "x"


@pytest.mark.parametrize(
    "damaged",
    [
        "<1>A</1> B",
        "<1>A <2>B</2></1><3/>",
        "<1>A</2> <2>B</1> <3/>",
        "<1>A</1> <1>B</1> <2></2><3/>",
        "<1>A</1> <2>B <3/>",
        "<1/>A <2>B</2> <3/>",
        "<1>A</1> <2/>B <3></3>",
        "<1>A</1> <2>B</2> <3/> <4>",
        "A B",
    ],
)
def test_damaged_tags_put_the_whole_text_in_the_commonest_formatting(damaged):
    after = written(of_xml(MIXED), damaged)
    found = shown(after.paragraphs[0])
    assert [look for look, _ in found] == ["", ""]
    assert found[0][1].split() == ["A", "B"]
    assert found[1] == ("", "#")


def test_text_that_looks_like_a_tag_is_text():
    content = of_xml(
        run("a <1>", "").replace("<1>", "&lt;1&gt;") + run(" bold", "<w:b/>") + run("c")
    )
    assert open_document("a.docx", content).pieces == ("a <1> boldc",)
    assert written(content, "x <1> y").paragraphs[0].text == "x <1> y"


def test_deleted_text_comments_and_fields_are_left():
    field = (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText> PAGE </w:instrText></w:r>'
        '<w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>seven</w:t></w:r>'
        '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    inner = (
        run("Page ") + field + run(" of ") + '<w:fldSimple w:instr="NUMPAGES">' + run("nine")
        + "</w:fldSimple>" + run(" is") + '<w:del w:id="1"><w:r><w:delText>gone</w:delText></w:r>'
        '</w:del><w:ins w:id="2">' + run(" new") + "</w:ins>"
        "<m:oMath><m:r><m:t>x</m:t></m:r></m:oMath>" + run(" end")
    )  # fmt: skip
    content = of_xml(inner)
    document = open_document("a.docx", content)
    assert document.pieces == ("Page <1/> of <2/> is <3>new</3><4/> end",)
    assert document.notes == (
        "Fields, such as a table of contents or page numbers, were left as they are; Word updates "
        "them with F9.",
        "Tracked deletions were left as they are.",
    )
    after = written(content, "<2/> Seiten, <1/> <3>neue</3> x <4/>")
    xml = etree.tostring(after.paragraphs[0]._p, encoding="unicode")
    order = ["NUMPAGES", "Seiten", "PAGE ", "seven", "gone", "neue", "oMath"]
    assert [xml.index(part) for part in order] == sorted(xml.index(part) for part in order)
    assert ("+", "neue") in shown(after.paragraphs[0])


def test_a_field_over_several_paragraphs_is_left():
    begin = '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>TOC</w:instrText></w:r>'
    end = '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    content = of_xml(
        run("before") + begin + run("one"), run("two"), run("three") + end + run("after")
    )
    assert open_document("a.docx", content).pieces == ("before", "after")
    after = written(content, "x", "y")
    assert [paragraph.text for paragraph in after.paragraphs] == ["xone", "two", "threey"]


def test_a_run_with_text_tabs_and_a_note_is_cut_where_it_must_be():
    inner = (
        "<w:r><w:rPr><w:b/></w:rPr><w:t>A</w:t><w:tab/><w:t>B</w:t><w:footnoteReference w:id='2'/>"
        "<w:t>C</w:t><w:tab/><w:lastRenderedPageBreak/><w:t>D</w:t></w:r>"
    )
    content = of_xml(inner)
    assert open_document("a.docx", content).pieces == ("A", "B<1/>C", "D")
    after = written(content, None, "x<1/>y", "z")
    text = "".join(text for _, text in shown(after.paragraphs[0]))
    assert text == "A\tx#y\t#z"


def test_a_link_that_holds_a_tab_keeps_its_order():
    inner = "<w:hyperlink w:anchor='x'>" + run("A") + "<w:r><w:tab/></w:r>" + run("B")
    content = of_xml(inner + "</w:hyperlink>" + run(" and more"))
    assert open_document("a.docx", content).pieces == ("A", "<1>B</1> and more")
    after = written(content, "x", "<1>y</1> z")
    assert "".join(text for _, text in shown(after.paragraphs[0])) == "x\ty z"


def test_a_text_box_that_is_there_twice_is_one_piece():
    box = f"<w:txbxContent><w:p>{run('boxed')}</w:p></w:txbxContent>"
    inner = (
        run("Around ") + '<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing>'
        f"{box}</w:drawing></mc:Choice><mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict>"
        "</mc:Fallback></mc:AlternateContent></w:r>" + run(" it")
    )
    content = of_xml(inner)
    document = open_document("a.docx", content)
    assert document.pieces == ("Around <1/> it", "boxed")
    after = written(content, "um <1/> es", "im Kasten")
    xml = etree.tostring(after.paragraphs[0]._p, encoding="unicode")
    assert xml.count("im Kasten") == 2
    assert shown(after.paragraphs[0]) == [("", "um "), ("", "#"), ("", " es")]


def test_footnotes_and_content_controls_are_read():
    inner = "<w:sdt><w:sdtPr><w:id w:val='7'/></w:sdtPr><w:sdtContent>" + run("name", "<w:b/>")
    document = docx.Document(io.BytesIO(of_xml(run("Dear ") + inner + "</w:sdtContent></w:sdt>")))
    from docx.opc.packuri import PackURI
    from docx.opc.part import Part

    notes = f"<w:footnotes {SPACES}><w:footnote w:id='2'><w:p>{run('A note')}</w:p></w:footnote>"
    part = Part(
        PackURI("/word/footnotes.xml"),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml",
        (notes + "</w:footnotes>").encode(),
        document.part.package,
    )
    document.part.relate_to(part, RELATIONSHIP_TYPE.FOOTNOTES)
    content = saved(document)
    assert open_document("a.docx", content).pieces == ("Dear <1>name</1>", "A note")
    written_content = open_document("a.docx", content).written(["<1>Name</1>, hallo", "Notiz"])
    archive = zipfile.ZipFile(io.BytesIO(written_content))
    assert "Notiz" in archive.read("word/footnotes.xml").decode()
    after = docx.Document(io.BytesIO(written_content))
    assert shown(after.paragraphs[0]) == [("b", "Name"), ("", ", hallo")]
    assert after.paragraphs[0]._p.find(f"{qn('w:sdt')}/{qn('w:sdtPr')}") is not None


def test_characters_that_xml_refuses_are_dropped():
    assert written(of_xml(run("a")), "x\0\x0b\ud800\ufffe<&>").paragraphs[0].text == "x<&>"


def test_a_document_without_words_has_a_note():
    document = open_document("a.docx", saved(docx.Document()))
    assert document.pieces == ()
    assert document.notes == ("There is no text to translate in this file.",)
    assert docx.Document(io.BytesIO(document.written([]))).paragraphs == []


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def with_body(body: bytes, **others: bytes) -> bytes:
    """A document whose body is these bytes."""
    source = zipfile.ZipFile(io.BytesIO(saved(docx.Document())))
    entries = {name: source.read(name) for name in source.namelist()}
    return zipped(entries | {"word/document.xml": body} | others)


def lying(content: bytes, size: int) -> bytes:
    """A zip file whose last entry claims another unpacked size, in both of its headers."""
    directory = content.rindex(b"PK\1\2")
    (local,) = struct.unpack_from("<I", content, directory + 42)
    changed = bytearray(content)
    struct.pack_into("<I", changed, directory + 24, size)
    struct.pack_into("<I", changed, local + 22, size)
    return bytes(changed)


BOMB = zipped({"a": b"\0" * 40_000_000})
LAUGHS = b"<!DOCTYPE w [<!ENTITY a 'ha'>" + b"".join(
    b"<!ENTITY %c '%s'>" % (char, b"&%c;" % (char - 1) * 10) for char in b"bcdefghij"
)
BODY = (
    b"<w:document xmlns:w='%s'><w:body><w:p><w:r><w:t>&j;</w:t></w:r></w:p></w:body></w:document>"
)
BODY %= qn("w:p")[1:-2].encode()

TYPES = "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'>"
TYPES += "".join(
    f"<Override PartName='/{number}.xml' ContentType='application/vnd.openxmlformats-officedocument"
    f".wordprocessingml.document.main+xml'/>"
    for number in range(30)
)
STORED = {f"{number}.xml": b"<w/>" + b" " * 700_000 for number in range(30)}
STORED["[Content_Types].xml"] = f"{TYPES}</Types>".encode()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\0\1\2\3" * 99, r"a.docx is no Word document; give a file that was saved as .docx"),
        (b"hello", r"a.docx is no Word document"),
        (of_xml(run("x"))[:-200], r"a.docx is damaged or was cut off; save it again, or send it"),
        (of_xml(run("x"))[:5000], r"a.docx is damaged or was cut off"),
        (b"PK\3\4", r"a.docx is damaged or was cut off"),
        (zipped({"a.txt": b"x"}), r"a.docx is a zip file but no Word document; give a file that"),
        (zipped({"[Content_Types].xml": b"<Types/>"}), r"is a zip file but no Word document"),
        (zipped({"[Content_Types].xml": b"<Types"}), r"a.docx is damaged: its XML cannot be read"),
        (with_body(b"<w:document"), r"a.docx is damaged: its XML cannot be read; save it anew in"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            r"a.docx is protected by a password; save it without one and give it again",
        ),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 Word", r"a.docx is of an older Office format; save i"),
        (BOMB, r"a.docx unpacks to more than 50 MB, or far more than documents do; cut it into"),
        (zipped({str(n): b"\0" * 900_000 for n in range(60)}), r"unpacks to more than 50 MB"),
        (lying(BOMB, 1000), r"a.docx is damaged"),
        (zipped({str(n): b"" for n in range(2001)}), r"a.docx has 2,001 parts and up to 2,000 ar"),
        (zipped({"a": b"x"}, zipfile.ZIP_LZMA), r"a.docx is packed in a way that Word does not"),
        (with_body(LAUGHS + b"]>" + BODY), r"a.docx holds a DOCTYPE, which can hide attacks and"),
        (
            with_body((LAUGHS + b"]>" + BODY).decode().encode("utf-16")),
            r"a.docx holds a DOCTYPE",
        ),
        (
            with_body(b"<!DOCTYPE w [<!ENTITY j SYSTEM 'file:///etc/hostname'>]>" + BODY),
            r"a.docx holds a DOCTYPE",
        ),
        (with_body(BODY), r"a.docx is damaged: its XML cannot be read"),
        (zipped(STORED), r"a.docx holds 21 MB of text with its formatting and up to 20 MB are"),
        (of_xml(run("word " * 40_001)), r"a.docx has more than 200,000 characters of text"),
    ],
)
def test_files_that_are_no_sound_document_are_one_sentence(content, sentence):
    started = time.process_time()
    with pytest.raises(DocumentError, match=sentence):
        open_document("a.docx", content)
    assert time.process_time() - started < 2


def test_an_encrypted_entry_and_a_name_twice_are_refused():
    content = bytearray(zipped({"a": b"x"}))
    content[content.rindex(b"PK\1\2") + 8] |= 1
    with pytest.raises(DocumentError, match=r"a.docx is protected by a password"):
        open_document("a.docx", bytes(content))
    content = zipped({"aa": b"x", "ab": b"y"}).replace(b"ab", b"aa")
    with pytest.raises(DocumentError, match=r"a.docx is damaged"):
        open_document("a.docx", content)


def test_deep_nesting_is_refused():
    deep = BODY.replace(b"&j;", b"x").replace(b"<w:p>", b"<w:p>" * 5000)
    with pytest.raises(DocumentError, match=r"a.docx is damaged: its XML cannot be read"):
        open_document("a.docx", with_body(deep.replace(b"</w:p>", b"</w:p>" * 5000)))


def test_a_long_document_takes_no_long_time():
    paragraphs = [run("one ") + run("two", "<w:b/>") + run(" three")] * 3000
    started = time.process_time()
    document = open_document("a.docx", of_xml(*paragraphs))
    assert len(document.pieces) == 3000
    translated(document)
    assert time.process_time() - started < 8
