"""What a picture's concept is called: Unicode's names and keywords, and our everyday words."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mtgen.data.archives import members
from mtgen.data.images.lexicon import Lexicon

LANGUAGES = ("en", "fr", "de", "es")
CLDR = ("npm:cldr-annotations-full", "npm:cldr-annotations-derived-full")
EMOJI = "npm:unicode-emoji-json"


def codepoints_of(text: str) -> str:
    """Lower-case hex joined by `-`, without variation selectors."""
    return "-".join(f"{ord(c):x}" for c in text if ord(c) not in {0xFE0E, 0xFE0F})


def clean_codepoints(text: str) -> str:
    """The same from hex as packages write it: `0023-fe0f-20e3`, `U+1F34E`."""
    parts = re.findall(r"[0-9a-f]+", text.lower().replace("u+", ""))
    return "-".join(f"{int(part, 16):x}" for part in parts if int(part, 16) not in {0xFE0E, 0xFE0F})


def squeezed(name: str) -> str:
    """Letters and digits only: names compare equal however words are joined."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(kw_only=True)
class Names:
    """Names by code points."""

    names: dict[str, dict[str, str]]
    """Language to code points to CLDR's name."""
    keywords: dict[str, dict[str, list[str]]]
    groups: dict[str, str]
    """Code points to Unicode's group: `Animals & Nature`."""
    by_name: dict[str, str] = field(default_factory=dict)
    """Squeezed English name to code points."""

    @classmethod
    def read(cls, files: Mapping[str, Path]) -> Names:
        """Reads `CLDR` and `EMOJI` packages."""
        names: dict[str, dict[str, str]] = {lang: {} for lang in LANGUAGES}
        keywords: dict[str, dict[str, list[str]]] = {lang: {} for lang in LANGUAGES}
        pattern = r"/annotations(?:Derived)?/(en|fr|de|es)/annotations\.json$"
        for spec in CLDR:
            for name, content in members(files[spec], pattern):
                lang = name.split("/")[-2]
                data = json.loads(content)
                [table] = [value["annotations"] for value in data.values()]
                for text, entry in table.items():
                    code = codepoints_of(text)
                    if "tts" in entry:
                        names[lang].setdefault(code, entry["tts"][0])
                    keywords[lang].setdefault(code, entry.get("default", []))
        groups: dict[str, str] = {}
        by_name: dict[str, str] = {}
        for _, content in members(files[EMOJI], r"/data-by-emoji\.json$"):
            for text, entry in json.loads(content).items():
                code = codepoints_of(text)
                groups[code] = entry["group"]
                by_name[squeezed(entry["name"])] = code
        for code, name in names["en"].items():
            if code in groups:
                by_name.setdefault(squeezed(name), code)
        for code in groups:  # older sets go by the names of the characters: `blacktelephone`
            if "-" not in code:
                by_name.setdefault(squeezed(unicodedata.name(chr(int(code, 16)), "")), code)
        by_name.pop("", None)
        return cls(names=names, keywords=keywords, groups=groups, by_name=by_name)

    def find(self, key: str, *, flags: bool = False) -> str | None:
        """Code points of an icon's name, such as `clinking-glasses-2` or `alarmclock`.

        Args:
            key: The name, its words joined in any way.
            flags: A country's name stands for its flag.
        """
        candidates = [squeezed(key), squeezed(re.sub(r"[-_]?\d+$", "", key))]
        if flags:
            candidates += [f"flag{candidates[0]}", re.sub("^flagfor", "flag", candidates[0])]
        return next((self.by_name[name] for name in candidates if name in self.by_name), None)

    def knows_words(self, name: str) -> bool:
        """Whether every word of an English name occurs in Unicode's names or keywords."""
        return all(
            word in self.vocabulary or word.rstrip("s") in self.vocabulary for word in name.split()
        )

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """English words of all names and keywords."""
        texts = [*self.names["en"].values()]
        texts += [word for words in self.keywords["en"].values() for word in words]
        return frozenset(word for text in texts for word in re.findall(r"[a-z']+", text.lower()))

    def words(self, code: str, lexicon: Lexicon | None) -> dict[str, list[str]]:
        """Names by language, the everyday one first; lists may be empty."""
        found: dict[str, list[str]] = {}
        for lang in LANGUAGES:
            options: list[str] = []
            if lexicon is not None and code in lexicon:
                options += [word.singular for word in lexicon[code].words[lang]]
            if name := self.names[lang].get(code):
                options.append(name)
            found[lang] = list(dict.fromkeys(options))
        return found
