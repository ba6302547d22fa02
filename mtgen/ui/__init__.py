"""The page: one file per tab, put together here."""

from __future__ import annotations

import os
from typing import Any

from mtgen.ui.startup import without_stub_files

with without_stub_files():
    import gradio as gr
from gradio.themes import Base, Soft

from mtgen.policy.limits import whole
from mtgen.ui import evaluate, evaluate_view, image, text, translate, translate_view, verify
from mtgen.ui.model import SharedModel

TITLE = "mtgen"
QUEUE_ENV, QUEUE = "MTGEN_QUEUE", 64
"""Requests that may wait; more are told that the page is busy. 0 sets no limit."""

KEPT_S = (3_600, 86_400)
"""How often files made for visitors are looked through, and the age at which they go."""

INTRO = """
# mtgen
One small open model, on two CPU cores, in your browser. It is small: it errs, and it invents
facts. Check what matters. All it makes is marked as machine-made, and can be verified here.
"""

STYLE = """
.gradio-container { max-width: 960px !important; width: 100%; margin: 0 auto !important; }
#chat .examples { grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); }
#chat .example { border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); }
#chat .example:hover { border-color: var(--color-accent); }
#status p, .status p {
  margin: 0; font-size: var(--text-sm);
  color: var(--body-text-color-subdued);
}
footer { opacity: .7; }
@media (max-width: 640px) {
  .gradio-container { padding: 8px !important; }
  .tab-container button { padding: 0 8px !important; font-size: var(--text-sm) !important; }
}
.chips .wrap { gap: 6px; }
.chips label { padding: 4px 12px !important; border-radius: 999px !important; position: relative; }
.chips label span { margin: 0 !important; }
.chips input { position: absolute; opacity: 0; pointer-events: none; }
.chips label:focus-within { outline: 2px solid var(--color-accent); outline-offset: 1px; }
#picture-prompt .submit-button, #picture-prompt .stop-button {
  padding: 6px 16px; border-radius: 999px; font-weight: 600;
  background: var(--button-primary-background-fill); color: var(--button-primary-text-color);
}
#picture-prompt .stop-button { background: #b3261e; color: white; }
#canvas { padding: 0; }
#saves { gap: 8px; }
#pictures .grid-wrap, #thumbnails .grid-wrap { min-height: 0; }
.canvas { display: grid; gap: 8px; }
.canvas.many { grid-template-columns: 1fr 1fr; }
.canvas img { width: 100%; border-radius: var(--radius-lg); }
.bar { height: 4px; margin-top: 8px; border-radius: 2px; overflow: hidden; }
.bar { background: var(--border-color-primary); }
.bar div { height: 100%; background: var(--color-accent); transition: width .2s; }
table.settings { width: 100%; font-size: var(--text-sm); }
table.settings, table.settings * { border: 0 !important; }
table.settings th, table.settings td { padding: 2px 12px 2px 0 !important; }
table.settings th { text-align: left; font-weight: 600; vertical-align: top; }
table.settings td { overflow-wrap: anywhere; width: 100%; }
#seed-row, #compare-row { align-items: end; }
"""

CSS = STYLE + translate_view.CSS + verify.CSS + evaluate_view.CSS

# Escape stops what is being made on the tab in view, from wherever the focus is.
ESCAPE = """
<script>
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const button of document.querySelectorAll("button.stop-button"))
    if (button.offsetParent) button.click();
});
</script>
"""

HEAD = ESCAPE + translate_view.SCRIPT


def theme() -> Base:
    """Looks of the page, light and dark; only fonts that are on the reader's machine."""
    fonts = ["system-ui", "sans-serif"]
    return Soft(primary_hue="teal", font=fonts, font_mono=["ui-monospace", "monospace"])


def looks() -> dict[str, Any]:
    """How the page is served, whoever serves it."""
    return {
        "ssr_mode": False,  # Node, which a Space may have, would not pass the API's paths on
        "show_error": True,
        "theme": theme(),
        "css": CSS,
        "head": HEAD,
        "footer_links": ["api", "settings"],
    }


def build_app(model: SharedModel) -> gr.Blocks:
    """The whole page.

    Args:
        model: The shared model; it may still be loading.
    """
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=False, delete_cache=KEPT_S
    ) as page:
        gr.Markdown(INTRO)
        with gr.Tabs() as tabs:
            with gr.Tab("Text", id="Text"):
                texts = text.build_tab(model, page)
            with gr.Tab("Translate", id="Translate"):
                translations = translate.build_tab(model, page)
            with gr.Tab("Image", id="Image"):
                pictures = image.build_tab(model, page)
            with gr.Tab("Verify", id="Verify"):
                verify.build_tab(model)
            with gr.Tab("Evaluate", id="Evaluate", elem_id="evaluate-tab") as tab:
                others = evaluate.Others(tabs, texts, translations, pictures)
                evaluate.build_tab(model, page, tab, others)
    page.queue(max_size=whole(os.environ, QUEUE_ENV, QUEUE) or None, default_concurrency_limit=8)
    return page
