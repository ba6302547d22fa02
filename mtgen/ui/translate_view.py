"""How the Translate tab looks: its HTML, its rules of style and its few lines of script."""

from __future__ import annotations

import dataclasses
import html
import re
from dataclasses import dataclass
from pathlib import Path

from mtgen.model.files import WEIGHTS
from mtgen.model.language import Detection, detect_language
from mtgen.requests import LANGUAGES, TranslatedSentence, TranslationRequest
from mtgen.tasks.quality import expected_chrf, quality_hint

MAX_TYPED = 5_000
"""Characters that are translated in the box; longer texts are files."""
MIN_MIXED_LETTERS = 20
MIN_MIXED_CONFIDENCE = 0.95
"""From these on a sentence tells its language well enough to call a text mixed."""
MAX_LOOKED_AT = 24
"""Sentences of a text whose language is looked at one by one."""

OTHER_LANGUAGES = {
    "af": "Afrikaans", "am": "Amharic", "ar": "Arabic", "ary": "Arabic", "arz": "Arabic",
    "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "br": "Breton", "bs": "Bosnian",
    "ca": "Catalan", "cs": "Czech", "cy": "Welsh", "da": "Danish", "el": "Greek",
    "eo": "Esperanto", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "ga": "Irish", "gl": "Galician", "gu": "Gujarati", "he": "Hebrew", "hbo": "Hebrew",
    "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian",
    "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ka": "Georgian", "kk": "Kazakh",
    "km": "Khmer", "kn": "Kannada", "ko": "Korean", "ku": "Kurdish", "la": "Latin",
    "lb": "Luxembourgish", "lo": "Lao", "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian",
    "ml": "Malayalam", "mn": "Mongolian", "mr": "Marathi", "ms": "Malay", "mt": "Maltese",
    "my": "Burmese", "ne": "Nepali", "nl": "Dutch", "nn": "Norwegian", "no": "Norwegian",
    "oc": "Occitan", "pa": "Punjabi", "pl": "Polish", "ps": "Pashto", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "si": "Sinhala", "sk": "Slovak", "sl": "Slovenian",
    "so": "Somali", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili",
    "ta": "Tamil", "te": "Telugu", "th": "Thai", "tl": "Tagalog", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese", "wuu": "Chinese",
    "yo": "Yoruba", "yue": "Cantonese", "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip
"""Those that are recognised often enough to be named."""

CSS = """
.bare, .bare > .html-container { padding: 0 !important; }
#languages {
  display: grid; grid-template-columns: calc(50% - 54px) 44px 1fr; gap: 8px; align-items: center;
}
#languages > .column { min-width: 0 !important; }
#languages .chips { border: 0; padding: 0; background: none; }
#languages .chips .wrap { padding: 2px 2px 4px; }
#languages .chips label { padding: 4px 10px !important; }
#swap { min-width: 44px !important; font-size: 20px; padding: 4px 0; }
#translate-panes { align-items: stretch; gap: 12px; }
#translate-panes > .column { gap: 8px; }
#source-text textarea { border: 1px solid var(--border-color-primary); padding: 12px 14px; }
#source-text textarea { font-size: var(--text-lg); line-height: 1.5; min-height: 226px; }
#translation .pane {
  min-height: 226px; padding: 12px 14px; border-radius: var(--block-radius); cursor: default;
  border: 1px solid var(--border-color-primary); background: var(--background-fill-secondary);
  font-size: var(--text-lg); line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere;
}
#translation .empty, #translation .waiting { color: var(--body-text-color-subdued); }
#translation .sentence { cursor: pointer; border-radius: 4px; }
#translation .sentence:hover, #translation .sentence:focus-visible, #translation .sentence.open {
  background: color-mix(in srgb, var(--color-accent) 20%, transparent);
}
#translation .sentence:focus-visible { outline: 2px solid var(--color-accent); }
#translation .sentence.doubtful {
  text-decoration: underline dotted var(--body-text-color-subdued); text-underline-offset: 4px;
}
.line {
  display: flex; flex-wrap: wrap; justify-content: space-between; gap: 2px 16px;
  font-size: var(--text-sm); color: var(--body-text-color-subdued); min-height: 1.5em;
}
.line span { color: inherit; }
.line .problem { color: #b3261e; }
.dark .line .problem { color: #f2867d; }
.notes { margin: 4px 0 0; padding-left: 18px; font-size: var(--text-sm); }
.notes, .notes li { color: var(--body-text-color-subdued); list-style: disc; }
.hint { font-size: inherit; border-bottom: 1px dotted; cursor: help; }
#source-line { gap: 8px; flex-wrap: nowrap; }
#found-language { flex: 1 1 auto !important; }
#source-count { flex: 0 0 auto !important; min-width: 0 !important; width: auto; }
#translate-notes:not(:has(li)), #sentence:not(:has(.panel)) { display: none; }
#source-count .over { color: #b3261e; font-weight: 600; }
.dark #source-count .over { color: #f2867d; }
#sentence .panel {
  border: 1px solid var(--border-color-primary); border-left: 3px solid var(--color-accent);
  border-radius: var(--radius-lg); padding: 10px 14px; overflow-wrap: anywhere;
}
#sentence .panel h4 {
  margin: 10px 0 2px; font-size: var(--text-sm); font-weight: 600;
  color: var(--body-text-color-subdued);
}
#sentence .panel h4:first-child { margin-top: 0; }
#sentence .panel p { margin: 0; }
#sentence .alternative {
  display: block; width: 100%; text-align: left; padding: 4px 10px; margin: 4px 0 0;
  border: 1px solid var(--border-color-primary); border-radius: 6px; background: none;
  color: var(--body-text-color);
  cursor: pointer; font: inherit;
}
#sentence .alternative:hover, #sentence .alternative:focus-visible {
  background: color-mix(in srgb, var(--color-accent) 20%, transparent);
}
.stop-button.danger, .stop-button.danger:hover { background: #b3261e; color: white; }
#translate-examples { margin-top: 8px; }
@media (max-width: 640px) {
  #languages { display: flex; flex-direction: column; align-items: stretch; gap: 4px; }
  #languages .chips .wrap { gap: 4px; }
  #languages .chips label { padding: 4px 6px !important; font-size: 13px; }
  #swap { align-self: center; }
  #source-text textarea { min-height: 140px; }
  #translation .pane { min-height: 140px; }
}
"""

# Gradio tells each letter at once: a pause is awaited here, but not after Enter or a paste.
SCRIPT = """
<script>
(() => {
  let waiting;
  const translate = () => {
    clearTimeout(waiting);
    document.querySelector("#translate-typed")?.click();
  };
  const isSource = (event) => event.target.closest?.("#source-text");
  document.addEventListener("input", (event) => {
    if (!isSource(event)) return;
    clearTimeout(waiting);
    const whole = ["insertLineBreak", "insertFromPaste"].includes(event.inputType);
    waiting = setTimeout(translate, whole ? 50 : 600);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") clearTimeout(waiting);
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && isSource(event)) translate();
  });
})();
</script>
"""

CLICKS = """
const tell = (event) => {
  const part = event.target.closest("[data-number]");
  if (!part) return;
  if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
  if (event.type === "keydown") event.preventDefault();
  trigger("click", {number: Number(part.dataset.number)});
};
element.addEventListener("click", tell);
element.addEventListener("keydown", (event) => event.target.tagName === "BUTTON" || tell(event));
"""

COUNT = f"""
(text) => {{
  const count = [...(text ?? "")].length;
  const over = count > {MAX_TYPED} ? ' class="over"' : "";
  return `<div class="line"><span${{over}}>${{count.toLocaleString("en")}} / {MAX_TYPED:,}</span></div>`;
}}
"""  # noqa: E501

COPY = """
async (text) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // browsers refuse it to pages that are not served securely
    const box = document.createElement("textarea");
    box.value = text;
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
}
"""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A translation as it stands on the page."""

    parts: tuple[str | TranslatedSentence, ...] = ()
    """Sentences, and what stands between them."""
    asked: TranslationRequest | None = None
    """What it was asked with; its language is never open."""
    via: str | None = None
    notes: tuple[str, ...] = ()
    finished: bool = False
    """False while it grows and where it was stopped."""
    confidence: float | None = None
    open: int | None = None
    """Which sentence is looked at."""
    back: str | None = None
    """That sentence in the source language again, once it is there."""

    @property
    def text(self) -> str:
        """The translation, with the source where it has not been reached."""
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    @property
    def sentences(self) -> list[TranslatedSentence]:
        """The sentences among the parts."""
        return [part for part in self.parts if isinstance(part, TranslatedSentence)]

    def with_alternative(self, choice: int) -> Shown:
        """The open sentence replaced by one of its alternatives, of which it becomes one."""
        assert self.open is not None
        was = self.sentences[self.open]
        others = list(was.alternatives)
        text, others[choice] = others[choice], was.text
        # What the model's confidence in this one is, is not known.
        chosen = dataclasses.replace(
            was, text=text, alternatives=tuple(others), confidence=None, notes=()
        )
        count, parts = 0, []
        for part in self.parts:
            if isinstance(part, TranslatedSentence):
                parts.append(chosen if count == self.open else part)
                count += 1
            else:
                parts.append(part)
        return dataclasses.replace(self, parts=tuple(parts), back=None)


def found_line(text: str, found: Detection | None, source: str | None) -> tuple[str, bool]:
    """What is said of a text's language, and whether that hinders its translation.

    Args:
        text: What was typed.
        found: What was detected; None where there are no words.
        source: The language that the user chose, if any.
    """
    if found is None:
        return "", False
    if found.other:
        name = OTHER_LANGUAGES.get(found.other, f"another language ({found.other})")
        if source is None:
            return f"looks like {name}, which is not translated", True
        return f"looks like {name} rather than {LANGUAGES[source]}", False
    if found.language is None:
        return ("", False) if source else ("unknown: choose the language", True)
    name = LANGUAGES[found.language]
    if source is not None:
        if source == found.language or found.confidence < MIN_MIXED_CONFIDENCE:
            return "", False
        return f"looks like {name} rather than {LANGUAGES[source]}", False
    others = [LANGUAGES[lang] for lang in mixture(text) if lang != found.language]
    also = f" · also {' and '.join(others)}: all is read as {name}" if others else ""
    return f"{name} · {found.confidence:.0%} sure{also}", False


def mixture(text: str) -> list[str]:
    """Languages that whole sentences of a text are in, where that is certain."""
    langs: dict[str, None] = {}
    for sentence in re.split(r"(?<=[.!?…])\s+|\n+", text)[:MAX_LOOKED_AT]:
        if sum(char.isalpha() for char in sentence) >= MIN_MIXED_LETTERS:
            found = detect_language(sentence)
            if found.language and found.confidence >= MIN_MIXED_CONFIDENCE:
                langs[found.language] = None
    return list(langs)


def line(text: str, *, problem: bool = False, elem_id: str = "") -> str:
    """One small line."""
    kind = ' class="problem"' if problem else ""
    live = ' role="status" aria-live="polite"'
    return f'<div class="line"{live}><span{kind}>{html.escape(text)}</span></div>'


def result_html(shown: Shown, weights: Path = WEIGHTS) -> str:
    """The translation, its sentences as buttons; those that are not reached are pale."""
    if not shown.parts or shown.asked is None:
        return '<div class="pane"><span class="empty">Translation</span></div>'
    src, tgt = shown.asked.source or "", shown.asked.target
    parts, number = [], 0
    for part in shown.parts:
        if isinstance(part, str):
            parts.append(html.escape(part))
            continue
        text = html.escape(part.text)
        if part.done:
            is_open = number == shown.open
            kinds = ["sentence"] + ["open"] * is_open
            if quality_hint(part.confidence, src, tgt, weights) == "doubtful":
                kinds.append("doubtful")
            parts.append(
                f'<span class="{" ".join(kinds)}" role="button" tabindex="0" '
                f'aria-expanded="{str(is_open).lower()}" data-number="{number}">{text}</span>'
            )
        else:
            parts.append(f'<span class="waiting" lang="{src}">{text}</span>')
        number += 1
    return f'<div class="pane" lang="{tgt}" dir="auto">{"".join(parts)}</div>'


def hint_html(confidence: float | None, shown: Shown, weights: Path) -> str:
    """`likely good`, with the measured number on hovering; nothing where it is not known."""
    if shown.asked is None or confidence is None:
        return ""
    pair = shown.asked.source or "", shown.asked.target
    words = quality_hint(confidence, *pair, weights)
    expected = expected_chrf(confidence, *pair, weights)
    if expected is None:
        return ""
    title = (
        f"Translations of this confidence ({confidence:.0%}) reached a chrF++ of {expected:.0f} "
        "of 100 on average, measured on known translations from and into English."
    )
    return f'<span class="hint" tabindex="0" title="{title}">{words}</span>'


def notes_html(shown: Shown, weights: Path = WEIGHTS) -> str:
    """What the user should know of a translation."""
    by_note: dict[str, list[int]] = {}
    for number, sentence in enumerate(shown.sentences, 1):
        for note in sentence.notes:
            by_note.setdefault(note, []).append(number)
    notes = list(shown.notes)
    if shown.via:
        notes.append(f"By way of {LANGUAGES[shown.via]}: these two languages have no direct way.")
    for note, numbers in by_note.items():
        named = ", ".join(map(str, numbers[:5])) + (" …" if len(numbers) > 5 else "")
        where = f"Sentence{'s' if len(numbers) > 1 else ''} {named}: "
        notes.append(note if len(shown.sentences) == 1 else where + note)
    hint = hint_html(shown.confidence, shown, weights)
    items = [f"<li>Quality: {hint}</li>"] if hint else []
    items += [f"<li>{html.escape(note)}</li>" for note in notes]
    return f'<ul class="notes">{"".join(items)}</ul>' if items else ""


def panel_html(shown: Shown, weights: Path = WEIGHTS, waiting: bool = False) -> str:
    """The open sentence: where it comes from, its alternatives, and what it says back."""
    if shown.open is None or shown.asked is None or shown.asked.source is None:
        return ""
    sentence = shown.sentences[shown.open]
    src, tgt = shown.asked.source, shown.asked.target
    others = "".join(
        f'<button type="button" class="alternative" data-number="{number}">'
        f"{html.escape(text)}</button>"
        for number, text in enumerate(sentence.alternatives)
    )
    if not others:
        asked = shown.asked.num_alternatives
        why = "the model found no other" if asked else "set Alternatives in the settings"
        others = f"<p>none: {why}</p>"
    back = "…" if waiting else shown.back or "not translated back"
    sure = "" if sentence.confidence is None else f"{sentence.confidence:.0%} confident"
    hint = hint_html(sentence.confidence, shown, weights)
    quality = " · ".join(filter(None, [hint, sure])) or "not known for this version"
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in sentence.notes)
    return (
        '<div class="panel">'
        f'<h4>{LANGUAGES[src]}</h4><p lang="{src}">{html.escape(sentence.source)}</p>'
        f'<h4>Other translations, to put in its place</h4><div lang="{tgt}">{others}</div>'
        f"<h4>Translated back into {LANGUAGES[src]}</h4>"
        f'<p id="back" lang="{src}">{html.escape(back)}</p>'
        f"<h4>Quality</h4><p>{quality}</p>{notes}</div>"
    )
