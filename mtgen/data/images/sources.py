"""The packages that hold pictures, how their files are named, and the words for their styles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from mtgen.data.archives import members
from mtgen.data.images.names import Names, clean_codepoints
from mtgen.data.images.people import without_tone
from mtgen.data.sources import Files, Source


class Art(NamedTuple):
    """One picture before rendering."""

    key: str
    """Unique within the source."""
    codepoints: str | None
    """With its skin tone; None for art beyond Unicode's emoji."""
    name: str
    """English name from the package, in words."""
    content: bytes
    """SVG markup or an encoded picture."""
    is_svg: bool
    crop: bool = False


BRANDS = re.compile(
    r"\b(airdrop|amazon|android|behance|bitcoin|blogger|chrome|crypto|css|dribbble|dropbox|ebay|"
    r"ethereum|facebook|firefox|github|google|html|instagram|java|javascript|lego|linkedin|linux|"
    r"litecoin|louvre|microsoft|minecraft|monero|nintendo|opera|pacman|paypal|php|pinterest|"
    r"playstation|pong|ripple|safari|skype|spotify|tetris|thor|tumblr|twitter|vimeo|vk|wall e|"
    r"whatsapp|windows|wordpress|xbox|youtube|captain|jedi|trademark|copyright|c\d+|ak\d+)\b"
)
"""Brands, characters, models and signs of ownership in the names of icons."""


def iconify(archive_key: str, *, emoji: bool):
    """Reader of an Iconify package: `icons.json` with SVG bodies, `chars.json` with code points."""

    def read(files: Files, names: Names) -> Iterator[Art]:
        parts = {
            name.rpartition("/")[2]: json.loads(content)
            for name, content in members(files[archive_key], r"/(icons|chars)\.json$")
        }
        icons = parts["icons.json"]
        codes: dict[str, str] = {}
        for code, key in parts.get("chars.json", {}).items():
            codes.setdefault(key, clean_codepoints(code))
        for key, icon in icons["icons"].items():
            if key.startswith("abstract-") or (not emoji and BRANDS.search(in_words(key))):
                continue
            code = (codes.get(key) or names.find(key, flags=True)) if emoji else None
            if emoji and (code is None or without_tone(code)[0] not in names.groups):
                continue  # a letter, a brand or art beyond Unicode's emoji
            width = icon.get("width", icons.get("width", 16))
            height = icon.get("height", icons.get("height", 16))
            left, top = icon.get("left", 0), icon.get("top", 0)
            svg = (
                '<svg xmlns="http://www.w3.org/2000/svg" '
                'xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}" '
                f'color="black">{icon["body"]}</svg>'
            )
            yield Art(key, code, in_words(key), svg.encode(), True)

    return read


def files_by_codepoint(archive_key: str, pattern: str):
    """Reader of a package with one picture file per emoji, named by code points."""

    def read(files: Files, names: Names) -> Iterator[Art]:
        for name, content in members(files[archive_key], pattern):
            stem = name.rpartition("/")[2].partition(".")[0]
            code = clean_codepoints(stem)
            yield Art(stem, code, names.names["en"].get(code, ""), content, False)

    return read


CLIPART_FOLDERS = re.compile(
    r"/svg/(animals|buildings|electronics|food|geography/astronomy|office|people/clothing|people/stickmen|"
    r"plants|recreation/(?!religion)|science|tools|transportation/(?!aiga|roadsigns)|education)"
)
CLIPART_TITLE = re.compile(rb"<dc:title>([^<]+)")


def clipart(archive_key: str):
    """Reader of Debian's Open Clip Art Library; titles are the artists' own."""

    def read(files: Files, names: Names) -> Iterator[Art]:
        for name, content in members(files[archive_key], r"\.svg$"):
            if not CLIPART_FOLDERS.search(name) or len(content) > 400_000:
                continue
            found = CLIPART_TITLE.search(content)
            title = found[1].decode("utf-8", "replace") if found else ""
            title = in_words(re.sub(r"\(.*?\)|#.*|\bby .*", "", title))
            title = re.sub(r"\s*\d+$", "", title)
            is_short = re.fullmatch(r"[a-z][a-z' ]{2,40}", title) and len(title.split()) <= 4
            if is_short and title != "card" and names.knows_words(title):  # 50 playing cards
                key = name.partition("/svg/")[2].removesuffix(".svg")
                yield Art(key, None, title, content, True, crop=True)

    return read


def in_words(key: str) -> str:
    """`clinking-glasses-2` as `clinking glasses`."""
    words = re.sub(r"[-_\s]+", " ", re.sub(r"[-_ ]\d+(?=$|-duo)", "", key)).strip().lower()
    return words.removesuffix(" duo")


def source(name, package, licence, family, credit, read, *, expected, weight=1.0) -> Source:
    return Source(
        name=name, packages=(package,), licence=licence, family=family, credit=credit,
        expected=expected, weight=weight, read=read,
    )  # fmt: skip


def emoji_set(name, licence, family, credit, expected, *, weight=1.0) -> Source:
    package = f"npm:@iconify-json/{name}"
    return source(
        name, package, licence, family, credit, iconify(package, emoji=True),
        expected=expected, weight=weight,
    )  # fmt: skip


def icon_set(name, licence, credit, expected, *, weight) -> Source:
    package = f"npm:@iconify-json/{name}"
    return source(
        name, package, licence, "permissive", credit, iconify(package, emoji=False),
        expected=expected, weight=weight,
    )  # fmt: skip


FLUENT_3D = "npm:@lobehub/fluent-emoji-3d"
OPENCLIPART = "deb:openclipart-svg"

SOURCES: tuple[Source, ...] = (
    emoji_set("noto", "Apache-2.0", "permissive", "Google: Noto Emoji", 2_200),
    emoji_set("twemoji", "CC-BY-4.0", "permissive", "Twitter and contributors: Twemoji", 2_400),
    emoji_set("openmoji", "CC-BY-SA-4.0", "share-alike", "OpenMoji, HfG Schwäbisch Gmünd", 2_400),
    emoji_set("fluent-emoji-flat", "MIT", "permissive", "Microsoft: Fluent Emoji", 2_100),
    source(
        "fluent-emoji-3d", FLUENT_3D, "MIT", "permissive", "Microsoft: Fluent Emoji; LobeHub",
        files_by_codepoint(FLUENT_3D, r"/assets/[0-9a-f-]+\.webp$"), expected=2_400,
    ),
    emoji_set("fluent-emoji", "MIT", "permissive", "Microsoft: Fluent Emoji", 1_600, weight=0.5),
    emoji_set("emojione", "CC-BY-4.0", "permissive", "EmojiOne 2", 1_300),
    emoji_set("emojione-v1", "CC-BY-SA-4.0", "share-alike", "EmojiOne 1", 1_100),
    emoji_set("noto-v1", "Apache-2.0", "permissive", "Google: Noto Emoji, first design", 1_200),
    emoji_set("fxemoji", "Apache-2.0", "permissive", "Mozilla: Firefox OS Emoji", 610),
    emoji_set("streamline-emojis", "CC-BY-4.0", "permissive", "Streamline Emojis", 580),
    icon_set("game-icons", "CC-BY-3.0", "game-icons.net: Lorc, Delapouite and others", 4_000,
             weight=0.5),
    icon_set("flat-color-icons", "MIT", "Icons8: Flat Color Icons", 320, weight=0.5),
    icon_set("streamline-ultimate-color", "CC-BY-4.0", "Streamline Ultimate", 990, weight=0.4),
    icon_set("streamline-kameleon-color", "CC-BY-4.0", "Streamline Kameleon", 390, weight=0.4),
    icon_set("streamline-stickies-color", "CC-BY-4.0", "Streamline Stickies", 190, weight=0.4),
    source(
        "openclipart", OPENCLIPART, "LicenseRef-public-domain", "permissive",
        "The Open Clip Art Library", clipart(OPENCLIPART), expected=810, weight=0.4,
    ),
)  # fmt: skip

EMOJI_SETS = tuple(item.name for item in SOURCES[:11])
SILHOUETTES = ("game-icons",)

STYLES: dict[str, dict[str, list[str]]] = {
    "noto": {
        "en": ["shaded cartoon style", "softly shaded"],
        "fr": ["style dessin ombré", "avec des ombres douces"],
        "de": ["schattierter Cartoonstil", "weich schattiert"],
        "es": ["estilo de dibujo sombreado", "con sombras suaves"],
    },
    "twemoji": {
        "en": ["flat style", "flat colours"],
        "fr": ["style plat", "couleurs unies"],
        "de": ["flacher Stil", "flache Farben"],
        "es": ["estilo plano", "colores planos"],
    },
    "openmoji": {
        "en": ["with black outlines", "outlined style"],
        "fr": ["avec des contours noirs", "style au trait"],
        "de": ["mit schwarzen Umrissen", "Stil mit Umrissen"],
        "es": ["con contornos negros", "estilo de contorno"],
    },
    "fluent-emoji-flat": {
        "en": ["modern flat style", "rounded flat style"],
        "fr": ["style plat moderne", "style plat arrondi"],
        "de": ["moderner flacher Stil", "runder flacher Stil"],
        "es": ["estilo plano moderno", "estilo plano redondeado"],
    },
    "fluent-emoji-3d": {
        "en": ["3D", "3D render"],
        "fr": ["en 3D", "rendu 3D"],
        "de": ["in 3D", "3D-Grafik"],
        "es": ["en 3D", "imagen 3D"],
    },
    "fluent-emoji": {
        "en": ["glossy style", "with soft gradients"],
        "fr": ["style brillant", "avec des dégradés doux"],
        "de": ["glänzender Stil", "mit weichen Verläufen"],
        "es": ["estilo brillante", "con degradados suaves"],
    },
    "emojione": {
        "en": ["bright flat style"],
        "fr": ["style plat aux couleurs vives"],
        "de": ["bunter flacher Stil"],
        "es": ["estilo plano de colores vivos"],
    },
    "emojione-v1": {
        "en": ["classic emoji style"],
        "fr": ["style emoji classique"],
        "de": ["klassischer Emoji-Stil"],
        "es": ["estilo emoji clásico"],
    },
    "noto-v1": {
        "en": ["early emoji style", "blob style"],
        "fr": ["style des premiers emojis", "style tout en rondeurs"],
        "de": ["früher Emoji-Stil", "Blob-Stil"],
        "es": ["estilo de los primeros emojis", "estilo de gota"],
    },
    "fxemoji": {
        "en": ["simple geometric style"],
        "fr": ["style géométrique simple"],
        "de": ["einfacher geometrischer Stil"],
        "es": ["estilo geométrico sencillo"],
    },
    "streamline-emojis": {
        "en": ["thick line style", "comic style"],
        "fr": ["style à traits épais", "style bande dessinée"],
        "de": ["Stil mit dicken Linien", "Comicstil"],
        "es": ["estilo de trazo grueso", "estilo de cómic"],
    },
    "game-icons": {
        "en": ["silhouette", "single-colour silhouette"],
        "fr": ["silhouette", "silhouette d'une seule couleur"],
        "de": ["Silhouette", "einfarbige Silhouette"],
        "es": ["silueta", "silueta de un solo color"],
    },
    "flat-color-icons": {
        "en": ["icon", "flat icon"],
        "fr": ["icône", "icône plate"],
        "de": ["Symbol", "flaches Symbol"],
        "es": ["icono", "icono plano"],
    },
    "streamline-ultimate-color": {
        "en": ["line icon", "coloured line icon"],
        "fr": ["icône au trait", "icône au trait colorée"],
        "de": ["Liniensymbol", "farbiges Liniensymbol"],
        "es": ["icono de línea", "icono de línea en color"],
    },
    "streamline-kameleon-color": {
        "en": ["icon", "round icon"],
        "fr": ["icône", "icône ronde"],
        "de": ["Symbol", "rundes Symbol"],
        "es": ["icono", "icono redondo"],
    },
    "streamline-stickies-color": {
        "en": ["sticker", "sticker icon"],
        "fr": ["autocollant", "icône autocollante"],
        "de": ["Sticker", "Stickersymbol"],
        "es": ["pegatina", "icono de pegatina"],
    },
    "openclipart": {
        "en": ["clip art", "clip art drawing"],
        "fr": ["clipart", "dessin clipart"],
        "de": ["Clipart", "Clipart-Zeichnung"],
        "es": ["clipart", "dibujo clipart"],
    },
}
"""Words for each source's look by language; a source is a style."""
