"""The page: one file per tab, put together here."""

from __future__ import annotations

from mtgen.ui.startup import without_stub_files

with without_stub_files():
    import gradio as gr
from gradio.themes import Base, Soft

from mtgen.ui import text
from mtgen.ui.model import SharedModel

TITLE = "mtgen"

INTRO = """
# mtgen
One small open model, on two CPU cores, in your browser. It is small: it errs, and it invents
facts. Check what matters.
"""

CSS = """
.gradio-container { max-width: 960px !important; width: 100%; margin: 0 auto !important; }
#chat .examples { grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); }
#chat .example { border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); }
#chat .example:hover { border-color: var(--color-accent); }
#status p { font-size: var(--text-sm); color: var(--body-text-color-subdued); margin: 0; }
footer { opacity: .7; }
@media (max-width: 640px) { .gradio-container { padding: 8px !important; } }
"""

# Escape stops the answer from wherever the focus is.
HEAD = """
<script>
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector("#prompt button.stop-button")?.click();
});
</script>
"""


def theme() -> Base:
    """Looks of the page, light and dark; only fonts that are on the reader's machine."""
    fonts = ["system-ui", "sans-serif"]
    return Soft(primary_hue="teal", font=fonts, font_mono=["ui-monospace", "monospace"])


def build_app(model: SharedModel) -> gr.Blocks:
    """The whole page.

    Args:
        model: The shared model; it may still be loading.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=False) as page:
        gr.Markdown(INTRO)
        with gr.Tab("Text"):
            text.build_tab(model, page)
    page.queue(max_size=64, default_concurrency_limit=8)
    return page
