"""The Verify tab: was this made here? And the /verify endpoint."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from mtgen.documents import SUFFIXES
from mtgen.ui.model import SharedModel
from mtgen.ui.turns import PARALLEL, complaint, explained

if TYPE_CHECKING:
    from mtgen.marks.credentials import Credentials
    from mtgen.marks.picture import PictureTest
    from mtgen.marks.text import TextTest
    from mtgen.marks.verify import Verification

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MAX_SHOWN = 20_000
"""Characters of a text that are shown with its marked parts."""

ABOUT = """
What is made here carries marks that say so: texts a watermark in the choice of their words,
pictures one in their pixels and one in their codes, signed Content Credentials and their settings.
Paste a text, or drop a picture or a file, to look for them. Uploads are deleted within a day.
"""

BADGES = {
    "marked": ("Marked", "good"),
    "claimed": ("Says so itself", "none"),
    "unmarked": ("No mark found", "none"),
    "too little": ("Too little text", "none"),
}

CSS = """
#verify-result { min-height: 60px; }
.verdict { display: flex; gap: 12px; align-items: baseline; flex-wrap: wrap; margin: 4px 0 12px; }
.verdict b { padding: 3px 12px; border-radius: 999px; white-space: nowrap; }
.verdict b.good { background: var(--color-accent); color: white; }
.verdict b.none { background: var(--border-color-primary); color: var(--body-text-color); }
.verdict b.bad { background: #b3261e; color: white; }
.verdict span { flex: 1; min-width: 240px; }
.looked-at {
  white-space: pre-wrap; overflow-wrap: anywhere; max-height: 300px; overflow: auto;
  padding: 12px 14px; border: 1px solid var(--border-color-primary);
  border-radius: var(--block-radius); margin-bottom: 12px;
}
.looked-at mark {
  background: color-mix(in srgb, var(--color-accent) 25%, transparent); color: inherit;
  border-radius: 3px;
}
table.facts { margin: 4px 0 12px; }
table.facts th { white-space: nowrap; }
table.facts thead ~ tbody td { width: auto; }
.limits { font-size: var(--text-sm); color: var(--body-text-color-subdued); }
"""


def escaped(value: object) -> str:
    """Text of a stranger, as HTML shows it."""
    return html.escape(str(value))


def p_text(p_value: float | None) -> str:
    """`0.31` or `4e-09`; a dash where there is none."""
    if p_value is None:
        return "–"
    return f"{p_value:.2f}" if p_value >= 0.01 else f"{p_value:.0e}"


def table(rows: list[list[str]], head: list[str]) -> str:
    """A table of cells that are HTML already; without a head the first column is one."""
    line = "".join(f"<th>{cell}</th>" for cell in head)
    top = f"<thead><tr>{line}</tr></thead>" if head else ""
    tag = "td" if head else "th"
    body = "".join(
        f"<tr><{tag}>{row[0]}</{tag}>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return f'<table class="settings facts">{top}<tbody>{body}</tbody></table>'


def tests_html(tests: tuple[TextTest, ...]) -> str:
    """What each key found."""
    rows = [
        [
            f"{test.key} {escaped(test.host)}", test.mark, f"{test.num_scored:,}",
            p_text(test.p_whole), p_text(test.p_model),
            ", ".join(f"{p.start:,}–{p.end:,} (p {p_text(p.p_value)})" for p in test.parts) or "–",
        ]
        for test in tests
    ]  # fmt: skip
    head = [
        "Key",
        "Mark of",
        "Tokens that count",
        "p, key alone",
        "p, with the model",
        "Marked characters",
    ]
    return table(rows, head)


def parts_html(text: str, test: TextTest) -> str:
    """The text with its marked parts, as much of it as is shown."""
    pieces, last = [], 0
    for part in test.parts:
        if part.start >= MAX_SHOWN:
            break
        pieces.append(escaped(text[last : part.start]))
        last = min(part.end, MAX_SHOWN)
        pieces.append(f"<mark>{escaped(text[part.start : last])}</mark>")
    more = "…" if len(text) > MAX_SHOWN else ""
    pieces.append(escaped(text[last:MAX_SHOWN]) + more)
    return f'<div class="looked-at">{"".join(pieces)}</div>'


def credentials_html(found: Credentials) -> str:
    """What the credentials say, and whether that can be believed."""
    state = {
        "trusted": "signed by somebody whom this server trusts",
        "valid": "signed, by somebody whom this server does not know",
        "invalid": "they do not hold",
    }[found.state if found.state in ("trusted", "valid") else "invalid"]
    rows = [["Content Credentials", state]]
    if found.edited:
        rows.append(["", "edited since signing: the file is not the one that was signed"])
    told = (
        ("Signed by", found.signer), ("Made with", found.generator), ("Signed at", found.time),
        ("Actions", ", ".join(found.actions)), ("Problems", ", ".join(found.problems)),
    )  # fmt: skip
    rows += [[name, escaped(value)] for name, value in told if value]
    rows.append(["Says it is machine-made", "yes" if found.machine_made else "no"])
    return table(rows, [])


def picture_tests_html(tests: tuple[PictureTest, ...]) -> str:
    """What each key found in the picture."""
    rows = [
        [
            f"{test.key} {escaped(test.host)}", p_text(test.p_pixels), p_text(test.p_codes),
            test.day or "–", test.model or "–",
        ]
        for test in tests
    ]  # fmt: skip
    return table(rows, ["Key", "p, pixels", "p, codes", "Day", "Model"])


def settings_rows(settings: dict[str, Any]) -> str:
    """How a picture was drawn, by its own words."""
    request = settings["request"]
    names = ("prompt", "negative_prompt", "style", "seed", "num_inference_steps", "guidance_scale")
    rows = [[name.replace("_", " "), escaped(request[name])] for name in names if request[name]]
    rows.append(["model", escaped(settings["model"])])
    return "<b>Settings in the file</b>" + table(rows, [])


def result_html(found: Verification, text: str | None = None) -> str:
    """All that was found."""
    badge, kind = BADGES[found.verdict]
    credentials = found.credentials
    if credentials is not None and credentials.edited:
        badge, kind = "Edited since signing", "bad"
    parts = [
        f'<div class="verdict" role="status"><b class="{kind}">{badge}</b>'
        f"<span>{escaped(found.summary)}</span></div>"
    ]
    if found.text_tests:
        if text is not None and found.verdict == "marked":
            parts.append(parts_html(text, found.text_tests[0]))
        parts.append(tests_html(found.text_tests))
    if found.picture_tests:
        parts.append(picture_tests_html(found.picture_tests))
    if credentials is not None:
        parts.append(credentials_html(credentials))
    if found.settings is not None:
        parts.append(settings_rows(found.settings))
    limits = " ".join(map(escaped, found.limits))
    parts.append(f'<p class="limits">{limits} Looked at in {found.seconds:.2f} s.</p>')
    return "".join(parts)


def failed(error: Exception) -> str:
    """A complaint in place of a result."""
    failure = error if isinstance(error, gr.Error) else explained(error)
    return (
        '<div class="verdict" role="alert"><b class="bad">Not looked at</b>'
        f"<span>{escaped(failure.message)}</span></div>"
    )


def build_tab(model: SharedModel) -> None:
    """Adds the tab's components and events to the page under construction."""
    gr.Markdown(ABOUT)
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            text = gr.Textbox(
                label="Text", lines=7, max_lines=14, elem_id="verify-text",
                placeholder="Paste 20 words or more · Shift+Enter verifies",
            )  # fmt: skip
            with gr.Accordion("I have the original, or know what was asked", open=False):
                original = gr.Textbox(
                    "", label="Original of a translation", lines=3, max_lines=10,
                    elem_id="verify-original", info="shorter translations are found with it",
                )  # fmt: skip
                prompt = gr.Textbox(
                    "", label="Prompt of an answer", lines=2, max_lines=10,
                    elem_id="verify-prompt", info="shorter answers are found with it",
                )  # fmt: skip
            go = gr.Button("Verify the text", variant="primary", elem_id="verify-go")
        with gr.Column(scale=2, min_width=260):
            file = gr.File(
                label="Picture or file", file_types=[*PICTURES, *SUFFIXES], height=180,
                elem_id="verify-file",
            )  # fmt: skip
            thorough = gr.Checkbox(
                False, label="Look longer", elem_id="verify-thorough",
                info="asks the model too, which finds shorter texts; finds pictures that were cut "
                "and resized",
            )  # fmt: skip
    result = gr.HTML(elem_id="verify-result")

    def looked_at(text: str, thorough: bool, original: str | None, prompt: str | None) -> str:
        try:
            found = model.get().verify(
                text, thorough=thorough, original=original or "", prompt=prompt or ""
            )
            return result_html(found, text)
        except Exception as error:
            return failed(error)

    def looked_into(
        path: str | None, thorough: bool, original: str | None, prompt: str | None
    ) -> str:
        if not path:
            return ""
        try:
            found = model.get().verify(
                Path(path), thorough=thorough, original=original or "", prompt=prompt or ""
            )
            return result_html(found)
        except Exception as error:
            return failed(error)

    def verify_endpoint(
        text: str, path: str | None, thorough: bool, original: str | None, prompt: str | None
    ) -> dict[str, Any]:
        """Says which of our marks a text, or else a file, carries.

        Args:
            text: What to look at, up to 1,000,000 characters; empty where a file is given.
            path: A PNG, JPEG or WebP picture, a document, or a text file, instead of a text.
            thorough: Look longer: ask the model too, and look for cut and resized pictures.
            original: What the text is a translation of, where that is known; else empty.
            prompt: What was asked, where that is known; else empty.

        Returns:
            "verdict" ("marked", "claimed", "unmarked" or "too little"), "summary" in words,
            "p_value", the test of each key, Content Credentials, settings, and what the tests
            cannot show.
        """
        if bool(text) == bool(path):
            raise complaint("give either a text or a file to verify")
        try:
            what = Path(path) if path else text
            found = model.get().verify(
                what, thorough=bool(thorough), original=original or "", prompt=prompt or ""
            )
            return found.as_dict()
        except Exception as error:
            raise explained(error) from None

    shared: dict[str, Any] = {"concurrency_limit": PARALLEL, "concurrency_id": "model"}
    gr.on(
        [go.click, text.submit, original.submit, prompt.submit], looked_at,
        [text, thorough, original, prompt], [result], api_visibility="private", **shared,
    )  # fmt: skip
    file.upload(
        looked_into,
        [file, thorough, original, prompt],
        [result],
        api_visibility="private",
        **shared,
    )
    file.clear(lambda: "", [], [result], api_visibility="private", queue=False)
    hidden = gr.Button(visible=False)
    found = gr.JSON(visible=False)
    hidden.click(
        verify_endpoint,
        [text, file, thorough, original, prompt],
        [found],
        api_name="verify",
        **shared,
    )
