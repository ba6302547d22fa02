"""What goes into the pipeline and what comes out: plain frozen data, no torch."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mtgen.errors import (
    EmptyPromptError,
    InvalidTextError,
    PromptTooLongError,
    SettingError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SEED = 2**32 - 1
MAX_NEW_TOKENS = 4096
MAX_TEMPERATURE = 2.0
MAX_IMAGE_PROMPT = 500
"""Characters."""
MAX_STEPS = 64
MAX_GUIDANCE = 20.0
MAX_IMAGES = 4
IMAGE_SIZES = (256, 128)
"""Sides in pixels that pictures are offered in."""
LANGUAGES = {"en": "English", "fr": "French", "de": "German", "es": "Spanish"}
"""What is translated from and into, by ISO 639-1 code."""
MAX_TRANSLATION = 200_000
"""Characters of one request."""
MAX_ALTERNATIVES = 4
MAX_GLOSSARY = 500
"""Terms."""
TEXT_MARKS = ("gumbel", "gumbel-single", "kgw", "synthid")
"""Watermarks that text can be sampled with: ours, which `verify` finds, and others to compare it
with in `evals.text_marks`."""
TRANSLATION_MARKS = ("tilt",)
"""Watermark of translations that are searched; those that are sampled get the one of text."""
IMAGE_MARKS = ("pixels",)
"""Watermark of pictures."""
UNMARKED = "none"

Role = Literal["system", "user", "assistant"]
Precision = Literal["packed", "float32"]
FinishReason = Literal["stop", "length", "cancelled"]


def check_text(
    text: Any, what: str, *, allow_empty: bool = False, allow_control: bool = False
) -> None:
    """Refuses what is not text.

    Raises:
        EmptyPromptError: nothing visible in it.
        InvalidTextError: not a string, or lone surrogates or control characters in it.
    """
    if not isinstance(text, str):
        raise InvalidTextError(f"the {what} must be a string, got {type(text).__name__}")
    for position, char in enumerate(text):
        if "\ud800" <= char <= "\udfff":
            problem = "half of a character pair (a lone surrogate)"
        elif allow_control:
            continue
        elif char < " " and char not in "\t\n\r" or "\x7f" <= char <= "\x9f":
            problem = "a control character"
        else:
            continue
        raise InvalidTextError(
            f"the {what} has {problem}, U+{ord(char):04X}, at position {position}; "
            "remove it: only text, tabs and line breaks can be read"
        )
    if not allow_empty and not any(
        not char.isspace() and unicodedata.category(char) != "Cf" for char in text
    ):
        raise EmptyPromptError(f"the {what} is empty; type something to answer")


def check_number(
    name: str, value: Any, low: float, high: float, *, integer: bool = False, open_low: bool = False
) -> None:
    """Refuses a setting outside [low, high] (or (low, high] with `open_low`).

    Raises:
        SettingError: wrong type, NaN or out of range.
    """
    kind = "a whole number" if integer else "a number"
    above = f"above {low:g}" if open_low else f"from {low:g}"
    wanted = f"{name} must be {kind} {above} to {high:.10g}, got {value!r}"
    if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)):
        raise SettingError(wanted)
    if not low <= value <= high or (open_low and value == low):  # NaN fails here too
        raise SettingError(wanted)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in ("system", "user", "assistant"):
            raise SettingError(f"role must be 'system', 'user' or 'assistant', got {self.role!r}")
        # A model can write any character, and its words must not block the next turn.
        by_model = self.role == "assistant"
        check_text(self.content, f"{self.role} message", allow_empty=True, allow_control=by_model)


@dataclass(frozen=True, kw_only=True)
class TextRequest:
    """Asks for text: one prompt, after earlier turns if there are any."""

    prompt: str
    """What the user says; at least one visible character."""
    history: tuple[Message, ...] = ()
    """Earlier turns, oldest first; trimmed from the oldest when the context is full."""
    system: str | None = None
    """Instruction that stays in front; None keeps the model's own."""
    max_new_tokens: int = 256
    """Longest answer, 1..4096 tokens."""
    temperature: float = 0.2
    """0 takes the likeliest token always; 0..2. Default from the model's own card."""
    top_p: float = 0.9
    """Sample from the smallest set of tokens that holds this probability; above 0, up to 1."""
    seed: int | None = None
    """0..2**32-1; None draws one, which the `Generation` carries."""
    mark: str = TEXT_MARKS[0]
    """Watermark, one of TEXT_MARKS; UNMARKED for none. Nothing is marked at temperature 0."""

    def __post_init__(self) -> None:
        check_text(self.prompt, "prompt")
        check_mark(self.mark, TEXT_MARKS)
        if self.system is not None:
            check_text(self.system, "system message", allow_empty=True)
        object.__setattr__(self, "history", tuple(self.history))
        for message in self.history:
            if not isinstance(message, Message):
                raise SettingError(f"history must hold Message objects, got {message!r}")
        check_number("max_new_tokens", self.max_new_tokens, 1, MAX_NEW_TOKENS, integer=True)
        check_number("temperature", self.temperature, 0, MAX_TEMPERATURE)
        check_number("top_p", self.top_p, 0, 1, open_low=True)
        object.__setattr__(self, "temperature", float(self.temperature))
        object.__setattr__(self, "top_p", float(self.top_p))
        if self.seed is not None:
            check_number("seed", self.seed, 0, MAX_SEED, integer=True)


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Seconds and counts of one generation."""

    num_prompt_tokens: int
    num_new_tokens: int
    first_token_s: float
    """From the request to the first token."""
    total_s: float
    """Including the time in which the reader of a stream held it up."""
    num_decode_steps: int
    """Steps after the first token; the one that ended the text counts, its token does not."""
    decode_s: float
    """Seconds of computing in those steps."""

    @property
    def tokens_per_s(self) -> float | None:
        """Decoding speed after the first token; None where there was no further step."""
        return self.num_decode_steps / self.decode_s if self.num_decode_steps else None


@dataclass(frozen=True, kw_only=True)
class Generation:
    """An output with all that is needed to make it again."""

    text: str
    request: TextRequest
    """The request with the seed that was really used."""
    finish_reason: FinishReason
    timings: Timings
    model: str
    """Name and precision of the weights, such as `SmolLM2-135M-Instruct/packed`."""
    notes: tuple[str, ...] = ()
    """What the user should know, such as history that was trimmed."""
    marks: tuple[str, ...] = field(default=())
    """Machine-made marks applied to the output, each with its key: `gumbel:1a2b3c4d`."""

    @property
    def seed(self) -> int:
        """The seed really used."""
        assert self.request.seed is not None
        return self.request.seed

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: every field, the seed and the decoding speed."""
        record = dataclasses.asdict(self)
        record["seed"] = self.seed
        record["timings"]["tokens_per_s"] = self.timings.tokens_per_s
        return record


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """Asks for pictures of one prompt."""

    prompt: str
    """What the picture shows, in English, French, German or Spanish."""
    negative_prompt: str = ""
    """What it should not show; takes the place of the empty prompt in guidance."""
    style: str | None = None
    """Key of `mtgen.data.images.sources.STYLES`; None leaves it to the prompt."""
    size_px: int = 256
    """Side of the square, one of IMAGE_SIZES."""
    num_inference_steps: int = 16
    """Rounds of drawing, 1..64; each settles a share of the picture's codes."""
    guidance_scale: float = 3.0
    """How much the prompt counts, 0..20; 1 is the model's own odds."""
    temperature: float = 1.0
    """Divides the scores of codes; 0 takes the likeliest always; 0..2."""
    num_images: int = 1
    """1..4; picture `i` has the seed `seed + i`, and is the same when drawn alone."""
    seed: int | None = None
    """0..2**32-1; None draws one, which the `ImageGeneration` carries."""
    mark: str = IMAGE_MARKS[0]
    """Watermark, one of IMAGE_MARKS; UNMARKED for none."""

    def __post_init__(self) -> None:
        check_text(self.prompt, "prompt")
        check_mark(self.mark, IMAGE_MARKS)
        check_text(self.negative_prompt, "negative prompt", allow_empty=True)
        for what, text in (("prompt", self.prompt), ("negative prompt", self.negative_prompt)):
            if len(text) > MAX_IMAGE_PROMPT:
                raise PromptTooLongError(
                    f"the {what} has {len(text):,} characters and a picture is described in up "
                    f"to {MAX_IMAGE_PROMPT}; shorten it"
                )
        if self.style is not None:
            from mtgen.data.images.sources import STYLES

            if self.style not in STYLES:
                raise UnknownNameError("style", str(self.style), STYLES)
        if self.size_px not in IMAGE_SIZES or isinstance(self.size_px, bool):
            sizes = " or ".join(map(str, sorted(IMAGE_SIZES)))
            raise SettingError(f"size_px must be {sizes}, got {self.size_px!r}")
        check_number("num_inference_steps", self.num_inference_steps, 1, MAX_STEPS, integer=True)
        check_number("guidance_scale", self.guidance_scale, 0, MAX_GUIDANCE)
        check_number("temperature", self.temperature, 0, MAX_TEMPERATURE)
        check_number("num_images", self.num_images, 1, MAX_IMAGES, integer=True)
        object.__setattr__(self, "guidance_scale", float(self.guidance_scale))
        object.__setattr__(self, "temperature", float(self.temperature))
        if self.seed is not None:
            check_number("seed", self.seed, 0, MAX_SEED, integer=True)


@dataclass(frozen=True, kw_only=True)
class TranslationRequest:
    """Asks for a translation of a text of any length."""

    text: str
    """What to translate; line breaks and what stands between sentences are kept."""
    target: str
    """Key of LANGUAGES."""
    source: str | None = None
    """Key of LANGUAGES; None finds out."""
    num_beams: int = 3
    """Hypotheses that are followed, 1..8; 1 is greedy."""
    length_penalty: float = 1.0
    """Exponent of the length by which a hypothesis' log-probability is divided, -2..2."""
    temperature: float = 0.0
    """0 searches with beams; above it, up to 2, samples instead."""
    top_p: float = 0.9
    """Where it samples: the smallest set of tokens that holds this probability."""
    num_alternatives: int = 0
    """Other translations of each sentence, 0..4."""
    glossary: tuple[tuple[str, str], ...] = ()
    """Terms, each with what it must become; a term that stays as it is stands twice."""
    seed: int | None = None
    """0..2**32-1; None draws one, which the `TranslationGeneration` carries."""
    mark: str = TRANSLATION_MARKS[0]
    """Watermark, one of TRANSLATION_MARKS; UNMARKED for none."""

    def __post_init__(self) -> None:
        check_text(self.text, "text to translate")
        check_mark(self.mark, TRANSLATION_MARKS)
        if len(self.text) > MAX_TRANSLATION:
            raise PromptTooLongError(
                f"the text has {len(self.text):,} characters and up to {MAX_TRANSLATION:,} are "
                "translated at once; send it in parts"
            )
        check_language(self.target, "target")
        if self.source is not None:
            check_language(self.source, "source")
        if self.source == self.target:
            raise SettingError(
                f"source and target are both {LANGUAGES[self.target]}; choose two languages"
            )
        check_number("num_beams", self.num_beams, 1, 8, integer=True)
        check_number("length_penalty", self.length_penalty, -2, 2)
        check_number("temperature", self.temperature, 0, MAX_TEMPERATURE)
        check_number("top_p", self.top_p, 0, 1, open_low=True)
        check_number("num_alternatives", self.num_alternatives, 0, MAX_ALTERNATIVES, integer=True)
        object.__setattr__(self, "glossary", tuple(tuple(term) for term in self.glossary))
        check_glossary(self.glossary)
        if self.seed is not None:
            check_number("seed", self.seed, 0, MAX_SEED, integer=True)


def check_mark(name: Any, marks: tuple[str, ...]) -> None:
    """Refuses what is no name of a mark.

    Raises:
        UnknownNameError: so it is; names those that are.
    """
    if name not in (*marks, UNMARKED):
        raise UnknownNameError("mark", str(name), (*marks, UNMARKED))


def check_language(code: Any, what: str) -> None:
    """Refuses what is no key of LANGUAGES.

    Raises:
        UnknownNameError: so it is; names those that are.
    """
    if code not in LANGUAGES:
        raise UnknownNameError(f"{what} language", str(code), LANGUAGES)


def check_glossary(terms: tuple[tuple[str, ...], ...]) -> None:
    """Refuses terms that could not be looked for.

    Raises:
        SettingError: too many, not in pairs, empty, several lines, or one with two meanings.
    """
    if len(terms) > MAX_GLOSSARY:
        raise SettingError(f"the glossary has {len(terms)} terms; up to {MAX_GLOSSARY} are read")
    meanings: dict[str, str] = {}
    for number, term in enumerate(terms, 1):
        if len(term) != 2 or not all(isinstance(s, str) and s.strip() for s in term):
            raise SettingError(
                f"term {number} of the glossary must be a term and its translation, got {term!r}"
            )
        if any("\n" in side or len(side) > 100 for side in term):
            raise SettingError(
                f"term {number} of the glossary must be one line of up to 100 characters"
            )
        if meanings.setdefault(term[0].casefold(), term[1]) != term[1]:
            raise SettingError(f"the glossary gives {term[0]!r} two translations; keep one")


@dataclass(frozen=True, kw_only=True)
class TranslatedSentence:
    """One sentence and what became of it."""

    source: str
    text: str
    """The source itself where it was not reached before the request was cancelled."""
    alternatives: tuple[str, ...] = ()
    """Others, best first."""
    confidence: float | None = None
    """Mean probability of its tokens by the model, geometric, 0..1; None where it was not
    translated, or put together from parts."""
    notes: tuple[str, ...] = ()
    """What the user should know, such as a glossary's term that was put in by force."""
    done: bool = True
    """False where the request was cancelled before."""


@dataclass(frozen=True, kw_only=True)
class TranslationTimings:
    """Seconds and counts of one translation."""

    num_sentences: int
    """Translated; repeated ones count each time."""
    num_new_tokens: int
    """Of the chosen translations."""
    first_sentence_s: float
    """From the request to the first sentence that was ready."""
    total_s: float


@dataclass(frozen=True, kw_only=True)
class TranslationGeneration:
    """A translation with all that is needed to make it again."""

    text: str
    request: TranslationRequest
    """The request with the source language and the seed that were really used."""
    sentences: tuple[TranslatedSentence, ...]
    """In the order of the text."""
    via: str | None
    """The language in between where a pair of languages is translated in two steps."""
    finish_reason: FinishReason
    """`length` where a sentence was cut at the limit."""
    timings: TranslationTimings
    model: str
    """Name of the trunk and of the translation expert."""
    alternatives: tuple[str, ...] = ()
    """The whole text made of the sentences' alternatives, best first."""
    detected: float | None = None
    """Confidence in the source language, 0..1, where it was found out."""
    notes: tuple[str, ...] = ()
    """What the user should know."""
    marks: tuple[str, ...] = field(default=())
    """Machine-made marks applied to the output."""

    @property
    def confidence(self) -> float | None:
        """Of all sentences, weighted by their length in characters, geometric."""
        known = [(len(s.source), s.confidence) for s in self.sentences if s.confidence]
        total = sum(count for count, _ in known)
        return math.exp(sum(n * math.log(c) for n, c in known) / total) if total else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: every field, and the confidence."""
        return dataclasses.asdict(self) | {"confidence": self.confidence}


@dataclass(frozen=True, kw_only=True)
class ImageTimings:
    """Seconds and counts of one request for pictures."""

    num_prompt_tokens: int
    num_steps: int
    """Rounds that were really drawn; fewer than asked for when the request was cancelled."""
    prompt_s: float
    """Reading the prompts."""
    first_preview_s: float
    """From the request to the first preview."""
    total_s: float


@dataclass(frozen=True, kw_only=True)
class ImageGeneration:
    """Pictures with all that is needed to make them again."""

    images: tuple[Image, ...]
    """RGB, `size_px` a side; half-drawn ones where the request was cancelled."""
    request: ImageRequest
    """The request with the seed that was really used."""
    finish_reason: FinishReason
    timings: ImageTimings
    model: str
    """Name of the trunk and of the image expert."""
    notes: tuple[str, ...] = ()
    """What the user should know."""
    marks: tuple[str, ...] = field(default=())
    """Machine-made marks applied to the pictures."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture."""
        assert self.request.seed is not None
        return tuple((self.request.seed + i) % (MAX_SEED + 1) for i in range(len(self.images)))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: every field but the pixels, and the seeds."""
        record = {
            name: getattr(self, name) for name in ("finish_reason", "model", "notes", "marks")
        }
        record["request"] = dataclasses.asdict(self.request)
        record["timings"] = dataclasses.asdict(self.timings)
        record["seeds"] = self.seeds
        return record
