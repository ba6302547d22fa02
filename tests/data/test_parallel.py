from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtgen.data.build import BuildOptions
from mtgen.data.calibration import is_calibration
from mtgen.data.check import LeakError, check
from mtgen.data.check import parallel as check_parallel
from mtgen.data.packages import PackageError, PackageStore
from mtgen.data.parallel import catalogues, documents, lists
from mtgen.data.parallel.build import OFFENSIVE_WORDS, build, split_rows
from mtgen.data.parallel.filters import OffensiveWords, is_language, refusal
from mtgen.data.parallel.held_out import read_hashes, read_sentences, sentence_hash, write_hashes
from mtgen.data.parallel.occupations import fill, gendered_counterfactuals, rows
from mtgen.data.parallel.pairs import Pair, normalise, sentences, split_pair, tidy
from mtgen.data.parallel.sources import SOURCES
from mtgen.errors import BadRequestError, CorruptedFileError, SettingError, UnknownNameError
from tests.data.tiny import NAUGHTY, catalogue, needs_dpkg, tiny_store, write_archive


def test_texts_that_differ_only_in_case_spaces_and_marks_are_one():
    assert normalise("  The\u00a0cat, sleeps!") == normalise("the CAT sleeps")
    assert normalise("peut-être") != normalise("peut etre")
    assert normalise("step 1") != normalise("step 2")
    assert tidy("a\u00ad b\n\n c\u200b") == "a b c"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It rains. We stay. Why?", 3),
        ("Ask Dr. Meyer, e.g. on Monday. He knows.", 2),
        ("Version 2.5 is out. Get it.", 2),
        ("„Komm!“ Er ging.", 2),
        ("C'est M. Dupont qui parle.", 1),
        ("no capital. follows here", 1),
    ],
)
def test_sentences_end_where_readers_say_so(text, count):
    assert len(sentences(text)) == count


def test_a_paragraph_is_split_where_both_sides_have_as_many_sentences():
    pair = Pair("fr", "It rains today. We stay at home.", "Il pleut. Nous restons chez nous.")
    assert split_pair(pair) == [
        Pair("fr", "It rains today.", "Il pleut."),
        Pair("fr", "We stay at home.", "Nous restons chez nous."),
    ]
    uneven = Pair("fr", "It rains. We stay.", "Il pleut, nous restons.")
    assert split_pair(uneven) == [uneven]
    assert split_pair(Pair("fr", "word " * 100, "mot " * 100)) == []


@pytest.mark.parametrize(
    ("lang", "en", "text", "reason"),
    [
        ("fr", "The cat sleeps on the sofa.", "Le chat dort sur le canapé.", None),
        ("de", "We have 1,500.50 euros.", "Wir haben 1.500,50 Euro.", None),
        ("es", "Hello {name}, you have %d letters.", "Hola {name}, tienes %d cartas.", None),
        ("fr", "Press <b>Enter</b> now.", "Appuyez sur <b>Entrée</b>.", None),
        ("fr", "...", "…", "empty"),
        ("de", "label_remember_me", "Angemeldet bleiben", "identifier"),
        ("de", "Stop.", "Halt.", None),
        ("de", "Computer!", "computer", "untranslated"),
        ("es", "Yes.", "Sí, claro que sí, con mucho gusto y sin ninguna duda.", "length"),
        ("fr", "=A1+B2*(C3/D4)-17", "=A1+B2*(C3/D4)-1", "letters"),
        ("fr", "There are 3 apples.", "Il y a 4 pommes.", "digits"),
        ("fr", "Hello {name}, come in.", "Bonjour {nom}, entrez.", "placeholders"),
        ("fr", "Press <b>Enter</b> now.", "Appuyez sur Entrée maintenant.", "markup"),
        ("fr", "The [[page]] is here.", "La [[page]] est ici.", "markup"),
        ("fr", "The weather is very nice today.", "The weather was very nice yesterday.",
         "language"),
        ("de", "Das Wetter ist heute wirklich schön.", "Heute ist das Wetter wirklich schön.",
         "language"),
    ],
)  # fmt: skip
def test_each_filter_refuses_what_it_is_for(lang, en, text, reason):
    assert refusal(Pair(lang, en, text)) == reason


def test_short_texts_have_the_benefit_of_doubt_about_their_language():
    assert is_language("Pizza Margherita", "de")
    assert not is_language("This sentence is clearly written in English, as anyone can see.", "de")


def test_offensive_words_are_found_whole_and_in_any_case(tmp_path):
    words = OffensiveWords.from_package(write_archive(tmp_path / "n.tgz", NAUGHTY))
    assert words.found_in("Gadzooks, it rains!", "en")
    assert words.found_in("You blasted  knave.", "en")
    assert not words.found_in("A blasted, but honest knave", "en")
    assert not words.found_in("gadzookses", "en")
    assert not words.found_in("gadzooks", "fr")


HTML = {
    "en": "<h1>Cats</h1><p>A cat sleeps.</p><pre>x = 1</pre><ul><li>Feed it<li>Brush it</ul>"
    "<h2>Dogs</h2><p>A dog barks.</p>",
    "fr": "<h1>Les chats</h1><p>Un chat <b>dort</b>.</p><pre>y</pre><ul><li>Nourrissez-le"
    "<li>Brossez-le</ul><h2>Les chiens</h2><p>Un chien</p><p>aboie.</p>",
}


def test_documents_are_aligned_by_structure_and_left_out_where_it_differs():
    blocks = {
        lang: documents.blocks_of_markup(text.encode(), html=True) for lang, text in HTML.items()
    }
    assert list(documents.align(blocks["en"], blocks["fr"])) == [
        ("Cats", "Les chats"),
        ("A cat sleeps.", "Un chat dort."),
        ("Feed it", "Nourrissez-le"),
        ("Brush it", "Brossez-le"),
        ("Dogs", "Les chiens"),
    ]  # of the last section only the heading: its paragraphs differ in number
    other_headings = documents.blocks_of_markup(b"<h2>Un</h2><h1>Deux</h1>", html=True)
    assert list(documents.align(blocks["en"], other_headings)) == []


def test_blocks_with_the_same_identifier_are_twins_in_any_order():
    english = documents.blocks_of_markup(b'<p id="a">one</p><p id="b">two</p>', html=True)
    german = documents.blocks_of_markup(
        b'<p id="b">zwei</p><p>mehr</p><p id="a">eins</p>', html=True
    )
    assert sorted(documents.align(english, german)) == [("one", "eins"), ("two", "zwei")]


def test_docbook_with_entities_and_mallard_pages_are_read():
    docbook = b"""<?xml version="1.0"?><!DOCTYPE book [<!ENTITY x "y">]>
    <book><title>About &kde;</title><para>Use <guimenu>File</guimenu>.
    <screen>ls</screen></para></book>"""
    found = documents.blocks_of_markup(docbook, html=False)
    assert [(b.tag, b.text) for b in found] == [("title", "About kde"), ("para", "Use File.")]
    page = b'<page xmlns="http://projectmallard.org/1.0/"><title>Sound</title><p>Mute.</p></page>'
    assert [b.text for b in documents.blocks_of_markup(page, html=False)] == ["Sound", "Mute."]


MANUAL = r"""
.TH LS 1
.SH NAME
ls \- list \fIfiles\fP
.SH OPTIONS
.TP
.B \-a
show all
files\&.
.PP
See
.BR cp (1).
.EX
code is left out
.EE
.PP
It\(aqs done.
"""


def test_manual_pages_are_read_without_examples_and_escapes():
    found = [(b.tag, b.text) for b in documents.blocks_of_manual(MANUAL.encode()) if b.text]
    assert found == [
        ("sh", "NAME"),
        ("after-heading", "ls - list files"),
        ("sh", "OPTIONS"),
        ("tp", "-a"),
        ("tp-text", "show all files."),
        ("pp", "See cp(1)."),
        ("pp", "It's done."),
    ]


@needs_dpkg
def test_manual_pages_in_a_package_find_their_translations(tmp_path):
    french = MANUAL.replace("show all", "montrer tous").replace("files", "les fichiers")
    french += ".SH TRADUCTION\nPar nous.\n"
    files = {
        "usr/share/man/man1/ls.1.gz": gzip.compress(MANUAL.encode()),
        "usr/share/man/fr/man1/ls.1.gz": gzip.compress(french.encode()),
        "usr/share/man/it/man1/ls.1.gz": gzip.compress(french.encode()),
    }
    path = write_archive(tmp_path / "m.deb", files)
    pairs = list(documents.aligned(documents.manuals())({"deb:m": path}))
    assert Pair("fr", "show all files.", "montrer tous les fichiers.") in pairs
    assert {pair.lang for pair in pairs} == {"fr"}


def test_gettext_catalogues_are_read_wherever_they_lie(tmp_path):
    french = catalogue(
        {"_Open File": "_Ouvrir un fichier", "Bye &amp; thanks": "Au revoir"}, tmp_path
    )
    german = catalogue({"Open": "Öffnen"}, tmp_path)
    path = write_archive(
        tmp_path / "a.tgz",
        {
            "locale/fr/LC_MESSAGES/a.mo": french,
            "languages/admin-de_DE.mo": german,
            "locale/it/LC_MESSAGES/a.mo": german,
            "locale/es/LC_MESSAGES/a.mo": b"not a catalogue",
        },
    )
    assert set(catalogues.gettext({"npm:a": path})) == {
        Pair("fr", "Open File", "Ouvrir un fichier"),
        Pair("fr", "Bye & thanks", "Au revoir"),
        Pair("de", "Open", "Öffnen"),
    }


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("_Open File", "Open File"),
        ("Fo_nt size", "Font size"),
        ("Save &As", "Save As"),
        ("~Insert", "Insert"),
        ("MAX_SIZE reached", "MAX_SIZE reached"),
        ("the my_name option", "the my_name option"),
        ("AT&T and Q&A", "AT&T and Q&A"),
        ("in ~/.config", "in ~/.config"),
    ],
)
def test_accelerator_marks_go_and_names_stay(message, text):
    assert catalogues.plain(message) == text


def test_a_context_before_a_message_goes_but_not_the_message():
    pairs = list(catalogues.catalogue_pair("fr", "_: menu\nOpen a new window now", "Ouvrir"))
    assert pairs == [Pair("fr", "Open a new window now", "Ouvrir")]


def test_json_catalogues_are_joined_by_key(tmp_path):
    path = write_archive(
        tmp_path / "a.tgz",
        {
            "parts/x/translations/en.json": json.dumps({"a": {"b": "Light"}, "@meta": {"c": "d"}}),
            "parts/x/translations/fr.json": json.dumps({"a": {"b": "Lumière"}, "z": "seul"}),
            "parts/y/translations/fr.json": json.dumps({"a": {"b": "Autre"}}),
            "parts/x/translations/de.json": "{broken",
        },
    )
    read = catalogues.json_by_key(
        r"(?P<doc>parts/\w+)/translations/en\.json$",
        r"(?P<doc>parts/\w+)/translations/(?P<locale>[\w-]+)\.json$",
    )
    assert list(read({"npm:a": path})) == [Pair("fr", "Light", "Lumière")]


def qm_file(pairs):
    """A compiled Qt catalogue with source texts, as lrelease writes it."""
    block = b""
    for en, text in pairs:
        translated = text.encode("utf-16-be")
        block += b"\x03" + struct.pack(">I", len(translated)) + translated
        block += b"\x06" + struct.pack(">I", len(en.encode())) + en.encode()
        block += b"\x07" + struct.pack(">I", 3) + b"ctx" + b"\x01"
    return catalogues.QM_MAGIC + b"\x69" + struct.pack(">I", len(block)) + block


def test_qt_catalogues_are_read(tmp_path):
    content = qm_file([("Start the game", "Das Spiel starten"), ("Stop", "Halt")])
    path = write_archive(tmp_path / "a.tgz", {"translations/a_de.qm": content})
    assert list(catalogues.qt({"npm:a": path})) == [
        Pair("de", "Start the game", "Das Spiel starten"),
        Pair("de", "Stop", "Halt"),
    ]
    with pytest.raises(PackageError, match="does not start as Qt's do"):
        list(catalogues.qm_pairs(b"something", "de"))


def test_lua_dialogues_are_read(tmp_path):
    lua = 'dialogId("a", "font", "A \\"big\\" fish?")\ndialogStr("Un gros poisson ?")\n'
    path = write_archive(tmp_path / "a.tgz", {"script/x/dialogs_fr.lua": lua})
    assert list(catalogues.lua_dialogues({"npm:a": path})) == [
        Pair("fr", 'A "big" fish?', "Un gros poisson ?")
    ]


def test_spanish_of_1909_is_spelled_as_today():
    assert catalogues.modern("Y fué á la casa, ó á él.") == "Y fue a la casa, o a él."


def test_package_descriptions_are_joined_by_digest_and_paragraph():
    stanza = (
        "Package: p\nDescription-md5: {md5}\nDescription-{lang}: {short}\n {a}\n {b}\n .\n {c}\n"
    )
    english = stanza.format(md5="1f", lang="en", short="a game", a="A long", b="text.", c="More.")
    french = stanza.format(md5="1f", lang="fr", short="un jeu", a="Un long", b="texte.", c="Plus.")
    alone = stanza.format(md5="2f", lang="fr", short="seul", a="x", b="y", c="z")
    pairs = list(lists.package_descriptions({"en": english, "fr": f"{french}\n{alone}"}))
    assert pairs == [
        Pair("fr", "a game", "un jeu"),
        Pair("fr", "A long text.", "Un long texte."),
        Pair("fr", "More.", "Plus."),
    ]


@needs_dpkg
def test_ding_gives_phrases_without_notes_and_single_words(tmp_path):
    line = (
        "Hund {m} [zool.] | Der Hund bellt. | jdm. etw. (Gutes) geben; jdm. etw. schenken :: "
        "dog | The dog barks. | to give sb. sth. (good); to give sb. sth. as a present\n"
    )
    path = write_archive(tmp_path / "d.deb", {"usr/share/trans/de-en": "# comment\n" + line})
    assert list(lists.ding({"deb:d": path})) == [
        Pair("de", "The dog barks.", "Der Hund bellt."),
        Pair("de", "to give somebody something", "jemandem etwas geben"),
        Pair("de", "to give somebody something as a present", "jemandem etwas schenken"),
    ]


@needs_dpkg
def test_ding_words_are_common_and_nouns_have_articles(tmp_path):
    lines = (
        "Hund {m} [zool.]; Köter {m} | Hunde {pl} :: dog | dogs\n"
        "gießen {vt} :: to pour\n"
        "Quastenflosser {m} :: coelacanth\n"
        "grüner Tee {m} :: green tea\n"
        "Küchentisch {m} :: kitchen table\n"
    )
    path = write_archive(tmp_path / "d.deb", {"usr/share/trans/de-en": "# comment\n" + lines})
    assert list(lists.ding_words({"deb:d": path})) == [
        Pair("de", "the dog", "der Hund"),
        Pair("de", "pour", "gießen"),
        Pair("de", "kitchen table", "Küchentisch"),
    ]


@needs_dpkg
def test_freedict_gives_the_commonest_meanings(tmp_path):
    french = (
        "French-English FreeDict Dictionary ver. 1\n\nchaise /ʃɛz/ <n, fem>\nchair\n"
        "arbre /aʀbʀ/ <n, masc>\nshaft, tree\n"
        "vue /vy/\n1. sight, view\n2. opinion\n3. eyesight\n   see: {voir}\n"
    )
    spanish = "box /bɔks/\n1. cajadecambios\n2. arca, caja\n"
    files = {
        "usr/share/dictd/freedict-fra-eng.dict.dz": gzip.compress(french.encode()),
        "usr/share/dictd/freedict-eng-spa.dict.dz": gzip.compress(spanish.encode()),
    }
    path = write_archive(tmp_path / "f.deb", files)
    assert sorted(lists.freedict({"deb:f": path})) == [
        Pair("es", "box", "caja"),
        Pair("fr", "opinion", "vue"),
        Pair("fr", "the chair", "la chaise"),
        Pair("fr", "the tree", "l'arbre"),
        Pair("fr", "view", "vue"),
    ]


def test_sentences_that_the_user_brings_are_read_in_both_layouts(tmp_path):
    (tmp_path / "en-fr.tsv").write_text("Go.\tVa !\tCC-BY\n12\tStop.\t13\tArrête.\n")
    assert list(lists.tatoeba(tmp_path)) == [
        Pair("fr", "Go.", "Va !"),
        Pair("fr", "Stop.", "Arrête."),
    ]
    with pytest.raises(PackageError, match=r"holds no sentence pairs; .* en-fr\.tsv"):
        list(lists.tatoeba(tmp_path / "nothing"))


NURSE = {
    "en": "nurse", "fr_m": "infirmier", "fr_f": "infirmière", "de_m": "Pfleger",
    "de_f": "Pflegerin", "es_m": "enfermero", "es_f": "enfermera",
}  # fmt: skip
PILOT = {
    "en": "pilot", "fr_m": "pilote", "fr_f": "pilote", "de_m": "Pilot|Piloten",
    "de_f": "Pilotin", "es_m": "piloto", "es_f": "piloto",
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "occupation", "lang", "gender", "text"),
    [
        ("{The} is here.", NURSE, "fr", "f", "L'infirmière is here."),
        ("{The} is here.", PILOT, "fr", "f", "La pilote is here."),
        ("Je parle à {the}.", PILOT, "fr", "m", "Je parle au pilote."),
        ("travaille comme {bare}", NURSE, "fr", "m", "travaille comme infirmier"),
        ("le métier de {bare}", NURSE, "fr", "f", "le métier d'infirmière"),
        ("Ich sehe {acc}.", PILOT, "de", "m", "Ich sehe den Piloten."),
        ("Ich helfe {dat}.", NURSE, "de", "f", "Ich helfe der Pflegerin."),
        ("Das ist von {dat}.", PILOT, "de", "m", "Das ist vom Piloten."),
        ("Llamo a {the}.", NURSE, "es", "m", "Llamo al enfermero."),
        ("La casa de {the}.", NURSE, "es", "f", "La casa de la enfermera."),
        ("She is {a}.", NURSE, "en", "f", "She is a nurse."),
    ],
)
def test_occupations_are_put_into_sentences_with_their_articles(
    template, occupation, lang, gender, text
):
    assert fill(template, occupation, lang, gender) == text


def test_counterfactuals_are_balanced_and_differ_by_gender_on_both_sides():
    made = list(gendered_counterfactuals())
    assert len(rows("occupations.tsv")) >= 120
    counts = Counter((pair.lang, gender) for pair, gender in made)
    assert len(set(counts.values())) == 1
    assert min(counts.values()) >= 2_000
    for (masculine, m), (feminine, f) in zip(made[::2], made[1::2], strict=True):
        assert (m, f) == ("m", "f")
        assert masculine.en != feminine.en
        assert masculine.text != feminine.text
    assert not any("{" in pair.en + pair.text for pair, _ in made)


def test_counterfactuals_keep_clear_of_the_benchmarks_form():
    for pair, _ in gendered_counterfactuals():
        assert " because " not in pair.en


def test_what_is_held_out_once_stays_out(tmp_path):
    path = tmp_path / "held_out.bin"
    assert write_hashes(["The cat sleeps.", "Le chat dort.", "…"], path) == 2
    assert write_hashes(["A dog. It barks at every stranger!"], path) == 4  # the whole, a sentence
    assert sentence_hash("it barks at every stranger") in read_hashes(path)
    assert sentence_hash("A dog.") not in read_hashes(path)  # too short to say where it is from
    assert sentence_hash("  the CAT sleeps") in read_hashes(path)
    assert sentence_hash("The cat sleeps on") not in read_hashes(path)
    (tmp_path / "s.txt").write_text("One.\nTwo.\n")
    assert read_sentences(tmp_path / "s.txt") == ["One.", "Two."]
    (tmp_path / "s.doc").touch()
    with pytest.raises(BadRequestError, match="is neither .parquet nor .txt"):
        read_sentences(tmp_path / "s.doc")
    with pytest.raises(BadRequestError, match="there is no file"):
        read_sentences(tmp_path / "none.txt")
    assert len(read_hashes()) > 20_000


FRENCH = {
    "The garden is full of flowers.": "Le jardin est plein de fleurs.",
    "The garden is full of flowers!": "Le jardin est plein de fleurs !",
    "Our neighbours painted the old fence around the little garden green again last summer.":
        "Nos voisins ont repeint en vert la vieille clôture du petit jardin l'été dernier.",
    "Our neighbours painted the old fence around the little garden green again last summer, too.":
        "Nos voisins ont repeint en vert la vieille clôture du petit jardin l'été dernier.",
    "The museum opens at 9 o'clock.": "Le musée ouvre à 10 heures.",
    "Gadzooks, the train is late again.": "Zut, le train est encore en retard.",
    "My grandmother keeps a secret recipe.": "Ma grand-mère garde une recette secrète.",
    "Nobody has seen the grey owl since Tuesday.": "Personne n'a vu la chouette depuis mardi.",
}  # fmt: skip
GERMAN = {
    "The garden is full of flowers.": "Der Garten ist voller Blumen.",
    "The baker opens early in the morning.": "Der Bäcker öffnet früh am Morgen.",
}
HELD = {
    "en.json": json.dumps(
        {"a": "My grandmother keeps a secret recipe!", "b": "An unrelated line."}
    ),
    "fr.json": json.dumps({"a": "Une autre traduction.", "b": "Une ligne sans rapport."}),
    "de.json": json.dumps(
        {"a": "Eine andere Übersetzung.", "b": "Der Bäcker öffnet früh am Morgen"}
    ),
}


def make_store(folder):
    """Two programs' catalogues, a held-out set, an offensive word list; all else is missing."""
    french, german = catalogue(FRENCH, folder / "mo"), catalogue(GERMAN, folder / "mo")
    return tiny_store(
        folder / "packages",
        {
            OFFENSIVE_WORDS: NAUGHTY,
            "pypi:django": {
                "django/locale/fr/LC_MESSAGES/django.mo": french,
                "django/locale/de/LC_MESSAGES/django.mo": german,
            },
            "pypi:pretix": {"pretix/locale/de/LC_MESSAGES/x.mo": german},
            "npm:scratch-l10n": {f"www/site/{name}": text for name, text in HELD.items()},
        },
    )


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A build from all sources that the tiny store has: output folder, manifest, missing ones."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "apt.conf").write_text(
        'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "/dev/null";\n'
    )
    with pytest.MonkeyPatch.context() as patch:  # or this system's package descriptions come along
        patch.setenv("APT_CONFIG", str(folder / "apt.conf"))
        return folder / "out", *built(folder / "out", make_store(folder), workers=1)


def built(out, store, **options):
    return build(BuildOptions(out=out, progress=False, **options), store)


def train(out, lang):
    table = pq.read_table(out / "parallel" / f"en-{lang}" / "train.parquet")
    more = pq.read_table(out / "parallel" / f"en-{lang}" / "validation.parquet")
    return table.to_pylist() + more.to_pylist()


@pytest.mark.slow
def test_a_build_filters_splits_documents_and_names_what_is_missing(whole):
    out, manifest, missing = whole
    rows = [row for row in train(out, "fr") if not row["counterfactual"]]
    starts = sorted(row["en"].split()[0] for row in rows)
    assert starts == ["Nobody", "Our", "The"]
    assert {row["source"] for row in rows} == {"django"}
    assert {row["licence"] for row in rows} == {"BSD-3-Clause"}
    counts = {s["name"]: s["counts"] for s in manifest["sources"]}["django"]["fr"]
    assert counts["digits"] == 1
    assert counts["offensive"] == 1
    steps = manifest["stages"]["en-fr"]
    assert steps["equal_to_held_out"] == 1
    assert steps["near_repeats"] == 1
    assert steps["repeated"] == 1
    german = {row["en"]: row["source"] for row in train(out, "de")}
    assert german["The garden is full of flowers."] == "pretix"  # it comes before django
    assert "The baker opens early in the morning." not in german
    names = {item.name for item in missing}
    assert {"wesnoth", "bible", "tatoeba", "held-out fillets"} <= names
    assert not manifest["complete"]
    sentence = next(item.sentence() for item in missing if item.name == "wesnoth")
    assert "wesnoth is missing; it would have added about" in sentence
    card = (out / "parallel/README.md").read_text()
    assert "| django | pypi:django 1.0 | BSD-3-Clause |" in card
    assert "- digits: the numbers differ" in card
    assert "Django Software Foundation" in (out / "parallel/NOTICE").read_text()
    held = pq.read_table(out / "parallel/held_out/scratch/en-fr.parquet")
    assert held.num_rows == 2


def test_the_same_inputs_give_the_same_files_whatever_the_workers(tmp_path, store):
    chosen = ["django", "pretix"]
    one, _ = built(tmp_path / "one", store, workers=1, only=chosen)
    two, _ = built(tmp_path / "two", store, workers=2, only=chosen)
    assert one["files"] == two["files"]
    assert one == two


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path, store):
    out, chosen = tmp_path / "out", ["django", "pretix"]
    whole, _ = built(out, store, workers=1, only=chosen)
    work = out / ".work"
    kept = next(work.glob("parallel-pretix-*.parquet"))
    made = kept.stat().st_mtime_ns
    # as if it had been killed while the second source was written
    shard = next(work.glob("parallel-django-*.parquet"))
    shard.rename(shard.with_suffix(".123.part"))
    shard.with_suffix(".json").write_text('{"fr": {"re')
    again, _ = built(out, store, workers=1, only=chosen)
    assert again["files"] == whole["files"]
    assert kept.stat().st_mtime_ns == made
    assert json.loads(shard.with_suffix(".json").read_text())["fr"]["read"]
    # a build of one source leaves the others' work alone
    built(out, store, workers=1, only=["django"])
    assert kept.exists()


def test_a_source_that_changed_is_read_again(tmp_path, store):
    out, mine = tmp_path / "out", tmp_path / "mine"
    mine.mkdir()
    (mine / "en-fr.tsv").write_text("The soup is hot.\tLa soupe est chaude.\n")
    built(out, store, only=["tatoeba"], tatoeba=mine)
    (mine / "en-fr.tsv").write_text("The soup is bad.\tLa soupe est fichue.\n")
    built(out, store, only=["tatoeba"], tatoeba=mine)
    assert [row["en"] for row in train(out, "fr")] == ["The soup is bad."]
    assert len(list((out / ".work").glob("parallel-tatoeba-*.parquet"))) == 1


@pytest.mark.slow
def test_only_chosen_sources_and_licences_are_built(tmp_path, store):
    manifest, missing = built(tmp_path / "out", store, only=["django"], workers=1)
    assert [source["name"] for source in manifest["sources"]] == ["django"]
    assert not missing
    assert manifest["complete"]
    manifest, _ = built(tmp_path / "free", store, licenses="permissive", workers=1)
    families = {row["licence_family"] for row in train(tmp_path / "free", "de")}
    assert families == {"permissive"}
    assert not list((tmp_path / "free/parallel").glob("held_out/*"))
    with pytest.raises(UnknownNameError, match="no source named 'djago'. Did you mean 'django'"):
        built(tmp_path / "out", store, only=["djago"])
    with pytest.raises(BadRequestError, match="pretix is copyleft .AGPL-3.0-only., which --lic"):
        built(tmp_path / "out", store, only=["pretix"], licenses="permissive")
    with pytest.raises(UnknownNameError, match="no licence choice named 'free'"):
        built(tmp_path / "out", store, licenses="free")


def test_what_would_download_too_much_is_left_out_and_named(tmp_path, store):
    path = store.cached("pypi:django")
    path.unlink()
    _, missing = built(tmp_path / "out", store, max_download_mb=0, only=["django", "pretix"])
    [item] = missing
    assert item.name == "django"
    assert "MB of downloads, 0 MB are left of --max-download-mb 0" in item.reason
    store.cached(OFFENSIVE_WORDS).unlink()
    fresh = PackageStore(store.folder, pins=store.pins, progress=False)
    with pytest.raises(PackageError, match="list of offensive words cannot be had.*--max-download"):
        built(tmp_path / "out", fresh, max_download_mb=0, only=["pretix"])


def test_one_budget_covers_all_downloads(tmp_path, store):
    assert store.grant(600_000, 1.0)
    assert not store.grant(600_000, 1.0)
    assert store.grant(400_000, 1.0)
    assert store.grant(10**12, None)


def test_a_build_of_nothing_says_why(tmp_path, store):
    with pytest.raises(PackageError, match="nothing to build parallel from: wesnoth is missing"):
        built(tmp_path / "out", store, only=["wesnoth"])
    with pytest.raises(SettingError, match="--workers is 0; it takes a whole number from 1 up"):
        BuildOptions(out=tmp_path, workers=0)
    with pytest.raises(PackageError, match="tatoeba is missing.*--tatoeba DIR"):
        built(tmp_path / "out", store, only=["tatoeba"])


def test_sentences_of_the_user_are_built_in(tmp_path, store):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/en-fr.tsv").write_text(
        "The soup is still hot.\tLa soupe est encore chaude.\n"
    )
    manifest, _ = built(tmp_path / "out", store, only=["tatoeba"], tatoeba=tmp_path / "mine")
    assert [row["en"] for row in train(tmp_path / "out", "fr")] == ["The soup is still hot."]


def test_a_sentence_is_in_one_split_only_and_counterfactuals_in_training(whole):
    splits = {
        "train": {"en": set(), "translation": set()},
        "validation": {"en": set(), "translation": set()},
    }
    for split, sides in splits.items():
        table = pq.read_table(whole[0] / "parallel/en-fr" / f"{split}.parquet")
        for side, seen in sides.items():
            seen |= {normalise(text) for text in table[side].to_pylist()}
    genders = Counter(row["gender"] for row in train(whole[0], "fr") if row["counterfactual"])
    assert genders["m"] == genders["f"] > 1000
    assert not splits["train"]["en"] & splits["validation"]["en"]
    assert not splits["train"]["translation"] & splits["validation"]["translation"]


def test_splits_grow_until_they_share_nothing():
    english = [f"Sentence number {n} of this long list is here." for n in range(4000)]
    others = [f"Phrase {n // 2}." for n in range(4000)]  # two English versions of each
    columns = {
        "en": english, "translation": others, "counterfactual": [False] * 4000,
        "source": ["wesnoth"] * 4000,
    }  # fmt: skip
    train, chosen = split_rows(pa.table(columns))
    assert (train == ~chosen).all()
    assert 10 < chosen.sum() < 200
    inside = {text for text, is_in in zip(others, chosen, strict=True) if is_in}
    outside = {text for text, is_in in zip(others, chosen, strict=True) if not is_in}
    assert not inside & outside


def test_words_of_a_dictionary_are_in_training_or_nowhere():
    english = [f"Sentence number {n} of this long list is here." for n in range(4000)]
    table = {
        "en": english + english[:2000], "translation": [f"Phrase {n}." for n in range(6000)],
        "counterfactual": [False] * 6000, "source": ["wesnoth"] * 4000 + ["freedict"] * 2000,
    }  # fmt: skip
    train, validation = split_rows(pa.table(table))
    assert not validation[4000:].any()
    assert (train[4000:] == ~validation[:2000]).all()
    assert (train[:4000] == ~validation[:4000]).all()
    assert validation[:2000].any()


@needs_dpkg
def test_calibration_documents_are_not_in_the_pairs(tmp_path):
    pages = {
        f"usr/share/doc/debian-handbook/html/{lang}/p{n}.html": f"<p>{word} {n}</p>"
        for lang, word in {"en-US": "Page", "fr-FR": "Feuille"}.items()
        for n in range(60)
    }
    path = write_archive(tmp_path / "h.deb", pages)
    [source] = [item for item in SOURCES if item.name == "debian-handbook"]
    numbers = {int(pair.en.split()[1]) for pair in source.read({"deb:debian-handbook": path})}
    away = {
        n for n in range(60)
        if is_calibration("debian-handbook", f"usr/share/doc/debian-handbook/html/p{n}.html")
    }  # fmt: skip
    assert away
    assert numbers == set(range(60)) - away


def test_a_check_finds_what_leaked_and_what_was_changed(tmp_path, whole):
    out = tmp_path / "out"
    shutil.copytree(whole[0], out)
    assert "none of" in check(out)["sets"]["parallel"]
    held = pq.read_table(out / "parallel/held_out/scratch/en-fr.parquet")
    path = out / "parallel/en-fr/train.parquet"
    pq.write_table(held, path)
    with pytest.raises(CorruptedFileError, match=r"train.parquet is missing or differs"):
        check(out)
    with pytest.raises(LeakError, match="holds a held-out sentence"):
        check_parallel(out / "parallel")
    with pytest.raises(BadRequestError, match="holds no built set"):
        check(tmp_path / "nothing")
