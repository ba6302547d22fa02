"""Sentences of a text, what lies between them, and what a translation must keep."""

import random
import threading
import time

import pytest

from mtgen.errors import UnknownNameError
from mtgen.model.language import LANGS
from mtgen.tasks import segments
from mtgen.tasks.segments import MAX_SEGMENT, Segment, added, apart, lost, protected, split


def translated(text, lang="en"):
    return [segment.text for segment in split(text, lang) if segment.translate]


def kept(text, lang="en"):
    return [segment.text for segment in split(text, lang) if not segment.translate]


def check(text, lang="en"):
    """What holds for any text."""
    found = split(text, lang)
    assert "".join(segment.text for segment in found) == text
    assert all(segment.text for segment in found)
    for one, other in zip(found, found[1:], strict=False):
        assert one.translate or other.translate, "two untranslated ones in a row"
    for segment in found:
        if segment.translate:
            assert segment.text == segment.text.strip()
            assert len(segment.text) <= MAX_SEGMENT
            assert len(segment.text.splitlines()) == 1
    return found


NASTY = [
    "",
    " ",
    "\n",
    " \t \n \r\n \r \u2028 \u2029 \x0b \x0c \x85 ",
    "One.\r\nTwo.\rThree.\nFour.\u2028Five.",
    "No line break at the end. Two  spaces.   Three.",
    "   Indented, with spaces behind.   \n\tAnd a tab.\t\n",
    "Hello 👋🏽! Family 👩‍👩‍👧. Flag 🇩🇪. 1️⃣ first.",
    "مرحبا بالعالم. كيف حالك؟ He said «مرحبا». Fine.",
    "שלום עולם. \u202bHello. World.\u202c Done.",
    "Bell\x07 here. Null\x00 there. Escape\x1b[0m. Done\x1e now.",
    "Lone \ud83d surrogate. And \udc4b another. Fine.",
    "\ufeffByte order mark. Zero\u200bwidth. Soft\u00adhyphen.",
    "pysbd's own signs: ∯ ȸ ᓴ ☉ ȹ &ᓷ& ♬ ♭. They stay. All of them ∯∯.",
    "Fig. ?? And then. ?! Fig. 20 ??",
    "Yes. Yes. Yes. Yes. No. Yes. No.",
    "1) The first item. 2) The second item. a) Third. 3) The first item.",
    "Maissen se chargea du reste .. Logiquement, .... Et puis ... non.",
    "See b(a. And c(d. e(g. i(e. Ph(d. Then (((. Now [[[. Or \\1 \\g<0>.",
    "Count .[1111111111111111111111111111111111 Then. A.[1 2, 3-4 5 6 7 8 9 1 1 1 1 1 1 1 1 B. C.",
    '"He said \'no\'. Then ("yes"). "Unclosed. Quote. Here.',
    '`code. With. Stops` and <a title="A. B. C.">link</a>. End. `Open. Code.',
    "| a. B | c. D |\n|---|---|\n| `x | y` | z \\| w |\n",
    "...\n!!!\n???\n---\n***\n___\n|||\n>>>\n###\n```",
    "x" * 5000,
    "word " * 3000,
    "one, two; three: " * 500,
    "Sentence one is here. " * 400,
    "Dr. " * 2000,
    "“" * 3000 + "Word. Then" + "”" * 10,
    "ab" + " " * 5000 + "cd. Ef",
    "ab" * 900 + " Word. " + "cd" * 900 + " Next. One two three",
]


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text[:20]))
def test_segments_join_to_the_text_whatever_it_is(text, lang):
    check(text, lang)
    assert "".join(segment.text for segment in apart(text)) == text
    assert lost(text, text) == added(text, text) == ()


@pytest.mark.parametrize("seed", range(20))
def test_segments_join_for_random_mixtures(seed):
    choose = random.Random(seed)
    parts = [
        *"abcXYZ .,;:!?…\"'“”«»()[]{}<>|*_~`#@$%&/\\-–—0123456789é¿",
        *"\n\r\t\u2028\xa0\u202f\x00∯😀\ud800",
        *(
            "Dr. ",
            "z. B. ",
            "e.g. ",
            "p.m. ",
            "https://a.b/c. ",
            "Word. Then ",
            "](",
            "```",
            "U.S. ",
        ),
    ]
    for _ in range(100):
        text = "".join(choose.choices(parts, k=choose.randint(1, 80)))
        check(text, choose.choice(LANGS))
        assert "".join(segment.text for segment in apart(text)) == text
        assert lost(text, text) == ()


def test_segments_join_when_pysbd_fails_or_tells_nonsense(monkeypatch):
    text = "He arrived at 5 p.m. Then he left. It was (so they say) 1990. Nobody knew."
    whole = translated(text)

    def fails(self):
        raise IndexError("list index out of range")

    for process in (fails, lambda self: ["nonsense", "", "He"], lambda self: list(self.text)):
        monkeypatch.setattr("pysbd.processor.Processor.process", process)
        check(text)
        assert "Nobody knew." in translated("It was over. Nobody knew.")
    assert whole[-1] == "Nobody knew."


def test_an_unknown_language_is_refused():
    with pytest.raises(UnknownNameError, match="no language named 'xx'"):
        split("Text.", "xx")


def prose(sentences_per_line):
    """1 MB of lines that differ."""
    choose = random.Random(0)
    words = "the house was near him and they saw it when she went out to see if all would come"
    text, size = [], 0
    while size < 10**6:
        sentences = []
        for _ in range(sentences_per_line):
            chosen = choose.choices(words.split(), k=choose.randint(4, 16))
            if choose.random() < 0.1:
                chosen.insert(2, choose.choice(["Dr. Smith", "3.5 km", "e.g.", "(or so)"]))
            sentences.append(" ".join(chosen).capitalize() + choose.choice("...!?"))
        text.append(" ".join(sentences) + "\n")
        size += len(text[-1])
    return "".join(text)


@pytest.mark.parametrize(
    ("lang", "sentences_per_line"), [("en", 1), ("fr", 4), ("de", 4), ("es", 50)]
)
def test_a_megabyte_of_lines_takes_a_second_or_two(lang, sentences_per_line):
    text = prose(sentences_per_line)
    split("Warm. Up e.g. this.", lang)
    started = time.process_time()
    found = split(text, lang)
    assert time.process_time() - started < 5  # much for slow machines
    assert "".join(segment.text for segment in found) == text


UNITS = [
    "a",
    " ",
    "\n",
    ".",
    "ab ",
    "ab\n",
    "Ab. ",
    "Him. ",
    '"',
    '"Ab. ',
    "`",
    "<",
    "<a ",
    "](",
    "[",
]
UNITS += [
    "*",
    "_",
    "1",
    "1 ",
    "@",
    "a@",
    "www.",
    "{",
    "|",
    "ab | ",
    "/a",
    "a-",
    "😀",
    "> ",
    "- ",
    "%",
]
UNITS += [
    "```a\n",
    "ab, ",
    "ab.",
    "\ud800",
    "<!--",
    ".[1",
    "«",
    "e.g. a ",
    "111 ",
    "1.",
    "~",
    ":a",
    "&a",
]


@pytest.mark.parametrize("unit", ["a", " ", "\n", "ab "], ids=ascii)
def test_a_megabyte_of_the_same_takes_under_five_seconds(unit):
    text = unit * (10**6 // len(unit))
    started = time.process_time()
    found = split(text, "en")
    assert time.process_time() - started < 5
    assert "".join(segment.text for segment in found) == text


@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_time_grows_with_the_length_and_no_faster(unit):
    text = unit * (100_000 // len(unit))
    started = time.process_time()
    found = split(text, "en")
    protected(text[:20_000])
    apart(text[:20_000])
    assert time.process_time() - started < 3
    assert "".join(segment.text for segment in found) == text


def test_long_gaps_take_no_time():
    started = time.process_time()
    assert translated("ab" + " " * 10**6 + "cd") == ["ab", "cd"]
    assert translated("ab." + "\xa0" * 10**6 + "Cd.")[0] == "ab."
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("lang", "sentences"),
    [
        ("en", ["Dr. Smith went to Washington.", "He arrived at 5 p.m. and left."]),
        ("en", ["The U.S. is big.", "Mr. J. R. Tolkien wrote it."]),
        ("en", ["It costs $3.50 (approx. 3 euros).", "See Fig. 3, e.g. this.", "Right?"]),
        ("en", ["Pi is 3.14 and more.", "Version 2.0.1 is out!", "Is it?", "It is."]),
        ("en", ["He met Sen. Brown, vs. Jones Inc. of Ohio.", "They talked."]),
        ("fr", ["M. Dupont et Mme. Durand sont là.", "Il pleut."]),
        ("fr", ["Voir p. ex. la page.", "C'est bien.", "Fin."]),
        ("fr", ["J'aime les fruits, c.-à-d. les pommes, etc.", "Et toi ?", "Moi aussi !"]),
        ("de", ["Das ist z. B. gut.", "Z. B. hier.", "Am 3. Oktober kam er.", "Dann ging er."]),
        ("de", ["Im 19. Jahrhundert war alles anders.", "Prof. Dr. Weber war 1. Vorsitzender."]),
        ("de", ["3. Oktober 1990 war ein Mittwoch.", "Das steht u. a. auf S. 5 und bzw. hier."]),
        ("de", ["Der Preis inkl. Frühstück ist fest.", "Das gilt zzgl. Steuer.", "Ja."]),
        ("es", ["Los EE. UU. son grandes.", "El Sr. Pérez vive allí.", "¿Qué tal?", "¡Bien!"]),
        ("es", ["La Sra. López vino con Ud. ayer.", "Véase pág. 3, p. ej. aquí."]),
    ],
)
def test_sentences_end_at_stops_and_not_at_abbreviations(lang, sentences):
    assert translated(" ".join(sentences), lang) == sentences


@pytest.mark.parametrize(
    ("lang", "sentences"),
    [
        ("en", ['He said "Go away!" and left.', "Then what?"]),
        ("en", ['He said "I am tired. Let me go." and left.', "She saw it."]),
        ("en", ["“Is it?” she asked.", "“It is.”", "They went."]),
        ("fr", ["Il a dit : « Va-t'en ! »", "Puis il partit."]),
        ("de", ["Er sagt: „Nein!“", "Dann ging er.", "»Halt!« rief sie."]),
        ("en", ["Nothing...", "Maybe.", "Well... perhaps not."]),
        ("de", ["Das ist ... gut so.", "Wirklich?!", "Nein!!!", "Doch."]),
        ("en", ["She was **very tired.**", "*He* was not.", "(They were.)", "We are."]),
    ],
)
def test_quotes_and_ellipses_stay_with_their_sentence(lang, sentences):
    assert translated(" ".join(sentences), lang) == sentences


def test_a_stop_before_a_no_break_space_ends_nothing():
    assert translated("Das ist z.\xa0B.\xa0Wasser. Gut.", "de") == [
        "Das ist z.\xa0B.\xa0Wasser.",
        "Gut.",
    ]


def test_nothing_is_cut_within_code_links_and_tags():
    for sentence in (
        "Run `a.b. Then. Stop` now.",
        'See [this](http://x.org "One. Two.") now.',
        'A <b title="One here. Two here.">word</b> here.',
        "Take {a. B} away.",
    ):
        assert translated(sentence + " Done well.") == [sentence, "Done well."]


def test_line_breaks_separate_and_are_kept():
    text = "One line\nTwo line\r\nThree line\rFour line\u2028Five line\n\n  Six line  \n"
    assert translated(text) == [f"{n} line" for n in ("One", "Two", "Three", "Four", "Five", "Six")]
    assert kept(text) == ["\n", "\r\n", "\r", "\u2028", "\n\n  ", "  \n"]


@pytest.mark.parametrize(
    ("line", "markup"),
    [
        ("# A title", "# "),
        ("###   A title", "###   "),
        ("- an item", "- "),
        ("    * an item", "    * "),
        ("\t• an item", "\t• "),
        ("12. an item", "12. "),
        ("3) an item", "3) "),
        ("b) an item", "b) "),
        ("> a quote", "> "),
        (">> > a quote", ">> > "),
        ("> - [ ] to do", "> - [ ] "),
        ("- [x] is done", "- [x] "),
        ("— Bonjour à tous", "— "),
    ],
)
def test_markup_in_front_of_a_line_is_not_translated(line, markup):
    assert split(line, "fr") == [Segment(markup, False), Segment(line[len(markup) :], True)]


@pytest.mark.parametrize("line", ["#tag is here", "-5 degrees", "**Bold** words", "*so* be it"])
def test_what_only_looks_like_markup_stays_in_the_sentence(line):
    assert translated(line) == [line]


def test_cells_of_tables_are_segments():
    text = "| Name | Age \\| years |\n|:-----|---:|\n| Ann Lee | 42 |\nleft cell | right cell\n"
    assert translated(text) == ["Name", "Age \\| years", "Ann Lee", "left cell", "right cell"]
    assert translated("Use `a | b` or a||b here") == ["Use `a | b` or a||b here"]


@pytest.mark.parametrize(
    "line",
    [
        "12 345,67",
        "😀 👍🏽!",
        "---",
        "A. 1) b",
        "https://example.com/a/page",
        "jane@example.com",
        "`some code here`",
        "<br> <hr class='wide'>",
        "{name}: %s",
        "@someone #sometag",
        "src/main.py",
    ],
)
def test_what_has_no_words_is_not_translated(line):
    assert split(line, "en") == [Segment(line, False)]


def test_code_between_fences_is_untouched():
    code = "```python\n# A comment. Two.\n~~~\nprint('hello')\n```\n"
    assert split(f"Before it.\n{code}After it.", "en") == [
        Segment("Before it.", True),
        Segment("\n" + code, False),
        Segment("After it.", True),
    ]
    assert translated("~~~~\nsome code\n~~~\nmore code\n~~~~~\nThe end") == ["The end"]
    assert translated("A word\n```\nopen to the end\n") == ["A word"]
    assert translated("```not a fence``` here\nA word") == ["```not a fence``` here", "A word"]


def test_long_sentences_are_cut_at_clauses_into_parts_of_like_length():
    clause = "and then they went on for a while without a stop"
    parts = translated(", ".join([clause] * 12))
    assert all(part.endswith((",", "stop")) for part in parts)
    assert len(parts) == 2
    assert max(map(len, parts)) <= MAX_SEGMENT
    assert min(map(len, parts)) > MAX_SEGMENT / 2
    words = translated("word " * 200)
    assert {word for part in words for word in part.split()} == {"word"}
    assert max(map(len, words)) <= MAX_SEGMENT


def test_what_no_space_divides_is_not_translated_beyond_the_limit():
    blob = "QUJD" * 200
    assert translated(f"Here it is: {blob} and more words.") == ["Here it is:", "and more words."]


def test_texts_are_split_alike_in_many_threads():
    text = (
        "He came at 5 p.m. Then he left e.g. by car. (It was so.) It was 1990. Nobody knew. " * 20
    )
    whole, results = split(text, "en"), []
    threads = [threading.Thread(target=lambda: results.append(split(text, "en"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [whole] * 4


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("See https://a.org/b?c=d&e=f#g, now.", ["https://a.org/b?c=d&e=f#g"]),
        ("(http://a.org/x_(y)) or ftp://b.c/d!", ["http://a.org/x_(y)", "ftp://b.c/d"]),
        ("go to www.example.fr.", ["www.example.fr"]),
        ("« https://a.fr » and <https://b.fr>", ["https://a.fr", "https://b.fr"]),
        ("write to jane.doe+x@mail.example.com.", ["jane.doe+x@mail.example.com"]),
        ("{name} {{ name }} ${name} $name", ["{name}", "{{ name }}", "${name}", "$name"]),
        ("%s %d %1$s %(name)s %@ %n %5.2f", ["%s", "%d", "%1$s", "%(name)s", "%@", "%n", "%5.2f"]),
        ("a :smile: and :+1: at 10:30: no", [":smile:", ":+1:", "10:30"]),
        ("<b>x</b> <br/> <a href='u v' id=1>", ["<b>", "</b>", "<br/>", "<a href='u v' id=1>"]),
        ("a < b > c, 1 &nbsp;2 &#39; &amp", ["1", "&nbsp;", "2", "&#39;"]),
        ("<!-- a note -->", ["<!-- a note -->"]),
        ("run `a b` and ``c ` d``", ["`a b`", "``c ` d``"]),
        ('[a](b_(c) "d") ![e](f.png)', ["[", '](b_(c) "d")', "![", "](f.png)"]),
        ("**a b** *c* __d__ _e_ ~~f~~ ***g***", [*"** ** * * __ __ _ _ ~~ ~~ *** ***".split()]),
        ("2 * 3, a_b_c, x*y, *(z)*, «_q_»", ["2", "3", "*", "*", "_", "_"]),
        ("a 👩‍👩‍👧 b👍🏽 🇩🇪🇫🇷 1️⃣ ❤️ ©", [*"👩‍👩‍👧 👍🏽 🇩🇪 🇫🇷 1️⃣ ❤️ ©".split()]),
        ("@jane_d says #news, not a#b or #5", ["@jane_d", "#news", "5"]),
        ("/usr/bin/env ~/x.txt ../a C:\\x\\y.z", ["/usr/bin/env", "~/x.txt", "../a", "C:\\x\\y.z"]),
        ("src/main.py, README.md. and/or km/h", ["src/main.py", "README.md"]),
        ("v2.0 v3 1.2.3-beta.1 10.0.0.1", ["v2.0", "v3", "1.2.3-beta.1", "10.0.0.1"]),
        ("2024-05-01 2024-05-01T10:00Z", ["2024-05-01", "2024-05-01T10:00Z"]),
        ("at 9:40 or 9 h 40 or 9 Uhr 40", ["9:40", "9 h 40", "9 Uhr 40"]),
        (
            "1,234.56 1.234,56 1\u202f234,56 1 234",
            ["1,234.56", "1.234,56", "1\u202f234,56", "1 234"],
        ),
        (
            "3.14, 50%, 50 %, -5. 3-5 24/12/2025",
            ["3.14", "50%", "50 %", "-5", "3", "5", "24/12/2025"],
        ),
        ("$5 5€ €3.50 US$7", ["5", "5€"[0], "3.50", "7"]),
        ("the 3rd, 1er, 2ème, 3º, 5km, 3D", ["3rd", "1er", "2ème", "3º", "5km", "3D"]),
        ("MP3 F-16 H2O", []),
        ("Plain words. Nothing here! Isn't it?", []),
    ],
)
def test_protected_items_are_found_in_order(text, items):
    assert protected(text) == items


@pytest.mark.parametrize(
    ("source", "translation"),
    [
        ("It costs 1,234.56 euros.", "Cela coûte 1 234,56 euros."),
        ("It costs 1,234.56 euros.", "Es kostet 1.234,56 Euro."),
        ("It costs 12,000 euros.", "Es kostet 12000 Euro."),
        ("At 9:40 or 10:00.", "À 9 h 40 ou 10 h."),
        ("At 9:40.", "Um 9.40 Uhr."),
        ("At 09:40.", "A las 9:40."),
        ("On the 3rd.", "Am 3. Mai."),
        ("The 3rd one.", "El 3º de ellos."),
        ("The 1st of 20.", "Le 1er de 20."),
        ("It is 50% or 0.5.", "Es sind 50 % oder 0,5."),
        ("It is 5km at -5.", "Es sind 5 km bei −5."),
        ("On 24.12.2025.", "Le 24/12/2025."),
        ("{a} then %s", "%s puis {a}"),
        ("**One** <b>two</b> https://a.org.", "**Un** <b>deux</b> https://a.org !"),
        ("I ❤️ it", "Ich ❤ es"),
        ("", ""),
    ],
)
def test_nothing_is_lost_in_a_good_translation(source, translation):
    assert lost(source, translation) == ()
    assert added(source, translation) == ()


@pytest.mark.parametrize(
    ("source", "translation", "missing", "extra"),
    [
        ("12 cats", "13 Katzen", ("12",), ("13",)),
        ("12 cats", "Katzen", ("12",), ()),
        ("cats", "3 Katzen", (), ("3",)),
        ("3.14", "31.4", ("3.14",), ("31.4",)),
        ("-5 degrees", "5 Grad", ("-5",), ("5",)),
        ("15:30", "3:30 p.m.", ("15:30",), ("3:30",)),
        ("5 and 5", "5", ("5",), ()),
        ("5", "5 und 5", (), ("5",)),
        (
            "see https://a.org/b",
            "siehe https://a.org/c",
            ("https://a.org/b",),
            ("https://a.org/c",),
        ),
        ("{name} and {name}", "{nom} et {name}", ("{name}",), ("{nom}",)),
        ("<b>one</b>", "<b>ein", ("</b>",), ()),
        ("**one** two", "eins zwei", ("**", "**"), ()),
        ("1.2.3", "1.2.4", ("1.2.3",), ("1.2.4",)),
        ("2024-05-01", "2024-01-05", ("2024-05-01",), ("2024-01-05",)),
        ("hi 👍🏽", "hallo 👍", ("👍🏽",), ("👍",)),
        ("@jane #news", "@Jane #news", ("@jane",), ("@Jane",)),
    ],
)
def test_what_a_translation_lost_and_added_is_named(source, translation, missing, extra):
    assert lost(source, translation) == missing
    assert added(source, translation) == extra


def test_a_sentence_is_cut_around_what_is_protected():
    assert apart("Please call **Ann Lee** at 9:40, or see https://a.org.") == [
        Segment("Please call", True),
        Segment(" **", False),
        Segment("Ann Lee", True),
        Segment("** ", False),
        Segment("at", True),
        Segment(" 9:40", False),
        Segment(", or see", True),
        Segment(" https://a.org.", False),
    ]
    assert apart("{a} %s 5") == [Segment("{a} %s 5", False)]
    assert apart("") == []
    assert apart("Only words.") == [Segment("Only words.", True)]


def test_short_words_alone_are_translated_and_units_are_not():
    assert [s.text for s in apart("**Pan** y **vino**, 5 m") if s.translate] == ["Pan", "y", "vino"]
    assert [s.text for s in apart("I <b>saw</b> 5 g") if s.translate] == ["I", "saw"]


@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text[:20]))
def test_words_translated_apart_lose_nothing(text):
    shouted = "".join(s.text.swapcase() if s.translate else s.text for s in apart(text[:500]))
    assert lost(text[:500], shouted) == ()


def test_the_module_gives_what_it_names():
    assert all(hasattr(segments, name) for name in segments.__all__)


def test_numbered_tags_of_documents_must_come_back():
    source = "A <1>big</1> house<2/> stands here."
    assert protected(source) == ["<1>", "</1>", "<2/>"]
    assert lost(source, "Ein <1>großes Haus<2/> steht hier.") == ("</1>",)
    assert protected("It is x <1 and y> 3.") == ["1", "3"]
