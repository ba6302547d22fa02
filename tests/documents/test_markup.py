"""HTML in pieces, and back with its tags and entities."""

from __future__ import annotations

import time

import pytest

from mtgen.documents.markup import open_markup
from tests.documents.upper import upper


def through(source: str) -> str:
    document = open_markup(source)
    return document.written([upper(piece) for piece in document.pieces]).decode()


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ('<p class="green">Hello!</p>', '<p class="green">HELLO!</p>'),
        ("One<br>two <i>three</i> four", "ONE<br>TWO <i>THREE</i> FOUR"),
        ("<b>go <A href='?a=1&b=2>3'>on</A></b>", "<b>GO <A href='?a=1&b=2>3'>ON</A></b>"),
        ("<style>p>a{}</style><script>'<p>no</p>'</script><p>yes", "<style>p>a{}</style>"
         "<script>'<p>no</p>'</script><p>YES"),
        ("say <code>x</code> now<pre>a\n b</pre>", "SAY <code>x</code> NOW<pre>a\n b</pre>"),
        ('<i translate="no">my <i>own</i></i> word', '<i translate="no">my <i>own</i></i> WORD'),
        ('<p class="a notranslate">no</p>yes', '<p class="a notranslate">no</p>YES'),
        ("<!DOCTYPE html><title>my</title><!-- no --> text <!-- in --> here",
         "<!DOCTYPE html><title>MY</title><!-- no --> TEXT <!-- in --> HERE"),
        ("<p>not <b>closed</p><p>or</b> opened</p>", "<p>NOT <b>CLOSED</p><p>OR</b> OPENED</p>"),
        ("a < b and <unfinished", "A &lt; B AND <unfinished"),
        ("5 &lt; 6 &amp; r&d", "5 &lt; 6 &amp; R&amp;D"),
        ("say &lt;x1&gt; <b>now</b>", "SAY &lt;x1&gt; <b>NOW</b>"),
        ("Caf&eacute; &#8211; &quot;go&quot;", "CAF&Eacute; &#8211; &quot;GO&quot;"),
        ("caf&eacute; été", "CAFÉ ÉTÉ"),
        ("10&nbsp;km", "10&nbsp;KM"),
    ],
)  # fmt: skip
def test_texts_are_replaced_and_nothing_else(source, wanted):
    assert through(source) == wanted
    document = open_markup(source)
    assert document.written(document.pieces).decode() == source
    assert document.written([None] * len(document.pieces)).decode() == source


def test_a_piece_is_a_block_with_numbered_tags_and_blanks_as_browsers_see_them():
    source = "<div>\n <p><b>All</b> of <a href=x>it <i>is</i></a>\n  one</p> <hr> <p> - </p></div>"
    assert open_markup(source).pieces == ("<x1>All</x1> of <x2>it <x3>is</x3></x2> one",)


@pytest.mark.parametrize(
    ("translation", "wanted"),
    [
        ("<x2>c</x2> and <x1>b</x1>", "<i>c</i> and <b>b</b>"),
        ("</x1>b<x1> and <x2>c</x2>", "<b>b</b> and <i>c</i>"),
        ("<x1>b<x2></x1>c</x2>", "<b>b</b><i>c</i>"),
        ("nothing", "nothing<b></b><i></i>"),
        ("<x1><x1>b</x1></x2></x2></x2> <x9>", "<b></b>b<i></i> &lt;x9&gt;"),
    ],
)
def test_whatever_a_model_makes_of_tags_the_result_is_well_nested(translation, wanted):
    document = open_markup("a <b>bc</b> or <i>d</i> e")
    [piece] = document.pieces
    assert piece == "a <x1>bc</x1> or <x2>d</x2> e"
    assert document.written([translation]).decode() == wanted


@pytest.mark.parametrize(
    "unit",
    ["<a", "<a \"'>'\" ", "<!--", "<script>", "<b>x ", "</b>x ", "<b>x</i>", "<a '\">", "<code>x",
     "<i class='", " class=", "<p>a &amp; b", "&", "<b translate=no>"],
)  # fmt: skip
def test_strange_html_takes_no_long_time(unit):
    started = time.monotonic()
    through(unit * (200_000 // len(unit)))
    assert time.monotonic() - started < 8
