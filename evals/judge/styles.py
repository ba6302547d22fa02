"""Which art styles train the judge, and which ones it judges: no style is on both sides.

A judge that had learned the very drawings that the generator was trained on would reward copies of
them. So the two sides share no artist's work:

* Judged are the popular sets, in which nearly every concept is drawn and which prompts ask for:
  Twemoji, Noto, and Microsoft's Fluent. Fluent's three renderings (flat, gradients, 3D) are the
  same drawings, so all three are on this side.
* Trained on are the other six, with 3 to 6 drawings of each of 533 nouns. Icons, silhouettes and
  clip art, which have no style of their own among the eleven, are added for variety.

Noto's first design shows other drawings than today's: its people and faces are "blobs", its things
were redrawn from scratch.
"""

from __future__ import annotations

JUDGED_STYLES = ("twemoji", "noto", "fluent-emoji-flat", "fluent-emoji-3d", "fluent-emoji")
TRAINING_STYLES = (
    "openmoji", "emojione", "emojione-v1", "noto-v1", "fxemoji", "streamline-emojis",
)  # fmt: skip
MIN_TRAINING_STYLES = 3
"""A concept is judged when at least so many styles on the training side draw it."""
PROMPT_STYLES = ("twemoji", "noto", "fluent-emoji-flat", "fluent-emoji-3d")
"""Which of the judged styles prompts name, and real pictures are compared in."""
SELECTION_STYLE = "fluent-emoji"
"""The judged style left over: whose pictures say which nouns the judge can tell."""
