"""Request in, `Generation` out: the one door that the app, the shell and the evals use."""

from __future__ import annotations

import datetime
import os.path
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Float, Int64
from PIL.Image import Image
from torch import Tensor

from mtgen.engine import LlamaRuntime
from mtgen.engine.linear import Updates
from mtgen.engine.memory import keep_memory_small, release_free_memory
from mtgen.engine.native import quantise_linears
from mtgen.engine.runtime import PREFILL_CHUNK, use_all_cores
from mtgen.errors import (
    ConfigError,
    EmptyPromptError,
    PromptTooLongError,
    SettingError,
    TrunkError,
    UnknownNameError,
)
from mtgen.marks.codes import CodesReading, read_codes
from mtgen.marks.credentials import Signer, load_signer
from mtgen.marks.keys import CODES, TEXT, TRANSLATION, KeyRing, load_keys
from mtgen.marks.original import (
    Choices,
    merged,
    paired_sentences,
    sentence_choices,
    told_languages,
)
from mtgen.marks.picture import marked_image
from mtgen.marks.schemes import Scheme, scheme
from mtgen.marks.text import ANY_PROMPT
from mtgen.marks.tilt import Tilt
from mtgen.marks.verify import (
    Verification,
    looks_like_picture,
    read_file,
    text_of,
    verify_picture,
    verify_text,
)
from mtgen.model.checkpoint import (
    load_autoencoder,
    load_image_expert,
    load_picture_tokenizer,
    load_target_vocabulary,
    load_translation_expert,
)
from mtgen.model.files import (
    AUTOENCODER,
    IMAGE_EXPERT,
    PICTURE_TOKENIZER,
    TARGET_VOCABULARY,
    TRANSLATION_EXPERT,
    WEIGHTS,
    trained_styles,
)
from mtgen.model.sampling import Unmarked
from mtgen.model.tokenizer import ChatTokenizer
from mtgen.model.trunk import find_trunk, sha256_of_all
from mtgen.png import KINDS, save_picture, settings_of
from mtgen.requests import (
    TEXT_MARKS,
    UNMARKED,
    Generation,
    ImageGeneration,
    ImageRequest,
    Message,
    Precision,
    TextRequest,
    TranslationGeneration,
    TranslationRequest,
    check_text,
)
from mtgen.tasks.image import ImageStream, Painters, prompt_ids, read_prompts
from mtgen.tasks.text import TextStream
from mtgen.tasks.translate import PIVOT, TranslationStream

if TYPE_CHECKING:
    from mtgen.documents import Document


class Pipeline:
    """The shared model with its tasks. Safe to use from several threads."""

    def __init__(
        self,
        runtime: LlamaRuntime,
        tokenizer: ChatTokenizer,
        folder: Path,
        weights: Path = WEIGHTS,
        keys: KeyRing | None = None,
    ) -> None:
        self.runtime = runtime
        self.tokenizer = tokenizer
        self.model = f"{runtime.config.name}/{runtime.precision}"
        """Name and precision, as it stands in every `Generation`."""
        self.folder = folder
        """Where the trunk's weights were read from."""
        self.weights = weights
        """Where the trained experts lie."""
        self._experts_lock = threading.Lock()
        self._keys, self._keys_lock = keys, threading.Lock()
        self._signer: Signer | None = None
        self.today: Callable[[], datetime.date] = datetime.date.today
        """The day that stands in the marks of pictures; evals hold it still."""
        self._painters: Painters | None = None
        self._translation: list[Updates] | None = None
        self._vocabularies: dict[str, Int64[Tensor, " N"]] = {}
        self.translation_model = self.model
        """The same with the fingerprint of the translation expert, once that is loaded."""
        self.image_model = self.model
        """The same with the fingerprint of what draws pictures, once that is loaded."""

    @classmethod
    def load(
        cls,
        trunk: str | Path | None = None,
        *,
        weights: str | Path | None = None,
        precision: Precision = "packed",
        keys: KeyRing | None = None,
        progress: bool = True,
    ) -> Pipeline:
        """See `mtgen.load`."""
        use_all_cores()
        keep_memory_small()
        folder = find_trunk(trunk, progress=progress)
        pipeline = cls(
            LlamaRuntime(folder, precision), ChatTokenizer(folder), folder,
            WEIGHTS if weights is None else Path(weights), keys,
        )  # fmt: skip
        release_free_memory()
        return pipeline

    def weights_sha256(self) -> str:
        """Hex digest that tells these weights from all others, whatever their name."""
        files = sorted(self.folder.glob("*.safetensors"))
        return sha256_of_all(files)

    @property
    def keys(self) -> KeyRing:
        """The keys of the marks, read or made when first needed.

        Raises:
            KeyFileError: the file is damaged, or the environment holds no key.
        """
        with self._keys_lock:
            if self._keys is None:
                self._keys = load_keys()
            return self._keys

    def text_stream(
        self, request: TextRequest | str, *, stop: threading.Event | None = None, **settings: Any
    ) -> TextStream:
        """Starts to answer; iterate over the pieces, then read `.generation`.

        Args:
            request: A `TextRequest`, or the prompt with its settings as keywords.
            stop: Ends the stream within one token once it is set, as `.stop()` does.
            **settings: Fields of `TextRequest`.

        Raises:
            BadRequestError: the request cannot be served; nothing was generated.
        """
        request = as_request(TextRequest, request, settings)
        writer, marks = None, ()
        if request.mark != UNMARKED:
            way, marks = self._scheme(request.mark)
            writer = way.writer()
        return TextStream(request, self.runtime, self.tokenizer, self.model, stop, writer, marks)

    def _scheme(self, name: str) -> tuple[Scheme, tuple[str, ...]]:
        """A scheme of marks with the current key, and what a `Generation` says of it."""
        key = self.keys.current
        way = scheme(name, key.derived(TEXT), self.runtime.config.vocab_size)
        return way, (f"{name}:{key.fingerprint}",)

    def text(self, request: TextRequest | str, **settings: Any) -> Generation:
        """Answers a prompt; see `text_stream` for the arguments and errors."""
        return self.text_stream(request, **settings).generation

    def painters(self) -> Painters:
        """The image expert and what turns its tokens into pixels, read when first needed.

        Raises:
            WeightsNotFoundError: their files are missing.
            CorruptedFileError: their files are damaged, or do not fit the trunk.
            ConfigError: they were trained beside a trunk of another shape.
        """
        with self._experts_lock:
            if self._painters is None:
                trunk = self.runtime.config
                files = [self.weights / f for f in (AUTOENCODER, PICTURE_TOKENIZER, IMAGE_EXPERT)]
                self._painters = Painters(
                    autoencoder=load_autoencoder(files[0]),
                    tokenizer=load_picture_tokenizer(trunk, files[1]),
                    expert=load_image_expert(trunk, files[2]),
                )
                if self.runtime.is_native:
                    for part in (self._painters.expert, self._painters.tokenizer):
                        quantise_linears(part)
                    release_free_memory()
                self.image_model = f"{self.model}+image-{sha256_of_all(files)[:8]}"
            return self._painters

    def image_stream(
        self, request: ImageRequest | str, *, stop: threading.Event | None = None, **settings: Any
    ) -> ImageStream:
        """Starts to draw; iterate over the previews, then read `.generation`.

        Args:
            request: An `ImageRequest`, or the prompt with its settings as keywords.
            stop: Ends the stream after the round that runs once it is set, as `.stop()` does.
            **settings: Fields of `ImageRequest`.

        Raises:
            BadRequestError: the request cannot be served; nothing was drawn.
            TrunkError: the expert's weights cannot be had.
        """
        request = as_request(ImageRequest, request, settings)
        painters = self.painters()
        known = trained_styles(self.weights / IMAGE_EXPERT)
        if request.style is not None and known and request.style not in known:
            raise UnknownNameError("style that these weights have learnt", request.style, known)
        mark, secret, marks = None, None, ()
        if request.mark != UNMARKED:
            key = self.keys.current
            mark, secret = self.mark_image, key.derived(CODES)
            marks = tuple(f"{layer}:{key.fingerprint}" for layer in (request.mark, CODES))
        return ImageStream(
            request, self.runtime, self.tokenizer, painters, self.image_model,
            stop, mark, secret, marks,
        )  # fmt: skip

    def mark_image(self, image: Image) -> Image:
        """A picture with the watermark of the current key, this model and this day."""
        return marked_image(image, self.keys.current, self.image_model, self.today())

    def image(self, request: ImageRequest | str, **settings: Any) -> ImageGeneration:
        """Draws a prompt; see `image_stream` for the arguments and errors."""
        return self.image_stream(request, **settings).generation

    def save_image(self, generation: ImageGeneration, path: str | Path, index: int = 0) -> None:
        """Writes a picture as PNG or JPEG, with its settings and signed Content Credentials.

        Args:
            generation: As `image` gave it.
            path: Of the file; its suffix is .png, .jpg or .jpeg.
            index: Which of its pictures.

        Raises:
            SettingError: the suffix is another.
            CacheWriteError: disk full or not writable.
        """
        path = Path(path)
        if path.suffix.lower() not in KINDS:
            raise SettingError(f"{path.name} must end in {', '.join(KINDS)}")
        settings = settings_of(generation, index)
        save_picture(path, generation.images[index], settings, self.signer)

    def translation_expert(self) -> list[Updates]:
        """The translation expert's updates of each layer, read when first needed.

        Raises:
            WeightsNotFoundError: its file is missing.
            CorruptedFileError: it is damaged, or does not fit the trunk.
        """
        with self._experts_lock:
            if self._translation is None:
                config = self.runtime.config
                expert, lists = (self.weights / x for x in (TRANSLATION_EXPERT, TARGET_VOCABULARY))
                self._vocabularies = load_target_vocabulary(
                    config.vocab_size, self.tokenizer.eos_ids, lists
                )
                self._translation = load_translation_expert(
                    config, self.runtime.cache_dtype, expert
                )
                digest = sha256_of_all(self.translation_files)
                self.translation_model = f"{self.model}+translation-{digest[:8]}"
                release_free_memory()
            return self._translation

    @property
    def translation_files(self) -> list[Path]:
        """What decides on translations, beside the trunk."""
        lists = self.weights / TARGET_VOCABULARY
        return [self.weights / TRANSLATION_EXPERT, *([lists] if lists.is_file() else [])]

    def translation_stream(
        self,
        request: TranslationRequest | str,
        *,
        stop: threading.Event | None = None,
        **settings: Any,
    ) -> TranslationStream:
        """Starts to translate; iterate over the progress, then read `.generation`.

        Args:
            request: A `TranslationRequest`, or the text with its settings as keywords.
            stop: Ends the stream within one token once it is set, as `.stop()` does.
            **settings: Fields of `TranslationRequest`.

        Raises:
            BadRequestError: the request cannot be served; nothing was translated.
            TrunkError: the expert's weights cannot be had.
        """
        return self._translation_stream(as_request(TranslationRequest, request, settings), stop)

    def _translation_stream(
        self,
        request: TranslationRequest,
        stop: threading.Event | None = None,
        pieces: Sequence[str] | None = None,
    ) -> TranslationStream:
        expert = self.translation_expert()  # before its model's name is taken, which it sets
        writer, bonus, marks = Unmarked, None, ()
        if request.mark != UNMARKED and request.temperature:
            way, marks = self._scheme(TEXT_MARKS[0])
            writer = way.writer
        elif request.mark != UNMARKED:
            key = self.keys.current
            bonus = Tilt(key.derived(TRANSLATION))
            marks = (f"{request.mark}:{key.fingerprint}",)
        return TranslationStream(
            request, self.runtime, self.tokenizer, expert, self.translation_model, stop, pieces,
            writer, bonus, marks, self._vocabularies,
        )  # fmt: skip

    def document_stream(
        self, document: Document, *, stop: threading.Event | None = None, **settings: Any
    ) -> TranslationStream:
        """Starts to translate a document; `document.written(stream.pieces)` is the new file.

        Args:
            document: As `mtgen.documents.open_document` reads it.
            stop: See `translation_stream`.
            **settings: Fields of `TranslationRequest` beside its text.

        Raises:
            BadRequestError: there is nothing to translate in it, or as `translation_stream`.
        """
        if not document.pieces:
            raise EmptyPromptError("the document holds nothing to translate")
        request = as_request(TranslationRequest, "\n".join(document.pieces), settings)
        return self._translation_stream(request, stop, document.pieces)

    def translate(
        self, request: TranslationRequest | str, **settings: Any
    ) -> TranslationGeneration:
        """Translates a text; see `translation_stream` for the arguments and errors."""
        return self.translation_stream(request, **settings).generation

    def translate_all(
        self, texts: Sequence[str], *, source: str, target: str,
        stop: threading.Event | None = None, **settings: Any,
    ) -> list[str]:  # fmt: skip
        """Translates many short texts in batches, several times faster than one by one.

        What shares a batch moves the last digits of the odds, so a text can come out differently
        beside others; the same texts in the same order give the same translations.

        Args:
            texts: Each stands for itself.
            source: Language of all of them.
            target: Key of `mtgen.requests.LANGUAGES`.
            stop: Ends the work within one token once it is set; what is missing then is empty.
            **settings: Other fields of `TranslationRequest`.

        Raises:
            BadRequestError: one of them cannot be translated; none was.
            TrunkError: the expert's weights cannot be had.
        """
        for text in texts:
            check_text(text, "text to translate")
        request = TranslationRequest(
            text="\n".join(texts), source=source, target=target, **settings
        )
        stream = self._translation_stream(request, stop, texts)
        for _ in stream:
            pass
        return [piece or "" for piece in stream.pieces]

    @property
    def signer(self) -> Signer:
        """Who signs pictures' credentials, read or made when first needed.

        Raises:
            KeyFileError: the certificates are damaged, or the environment holds none.
        """
        with self._keys_lock:
            if self._signer is None:
                self._signer = load_signer()
            return self._signer

    def verify(
        self, what: str | bytes | Path, *, name: str = "the file", thorough: bool = False,
        original: str = "", prompt: str = "",
    ) -> Verification:  # fmt: skip
        """Says which of our marks a text or a file carries, and how sure that is.

        Args:
            what: A text, or the path or the content of a file: a picture, a document, or text.
            name: Of the file whose content is given, for its type and for messages.
            thorough: Look longer: ask the model what it thinks of each token of a text, which
                finds shorter and duller ones and takes a second for some hundred tokens; and look
                for pictures that were cut and then resized.
            original: What the text is a translation of, if that is known: the mark of translations
                is then found in shorter texts. Takes a second for some hundred tokens.
            prompt: What was asked, if that is known: a text is then looked at as thoroughly, with
                the odds that the model had as it wrote, and found where it is shorter still.

        Raises:
            BadRequestError: nothing that can be looked at; one sentence says why.
            KeyFileError: see `keys` and `signer`.
        """
        if isinstance(what, Path):
            what, name = read_file(what), what.name
        if isinstance(what, bytes):
            if looks_like_picture(what):
                return verify_picture(what, name, self.signer, self.keys, thorough, self.read_codes)
            what = text_of(what, name)
        opinion = None
        if thorough or prompt.strip():
            before = self.asked(prompt if prompt.strip() else ANY_PROMPT)
            opinion = lambda ids: self.log_probabilities(ids, before).double().numpy()  # noqa: E731
        choices = self.choices(original, what) if original.strip() else None
        return verify_text(what, self.tokenizer, self.keys, opinion, choices)

    def asked(self, prompt: str) -> list[int]:
        """Tokens of a chat up to where the answer to a prompt begins.

        Raises:
            BadRequestError: no visible text.
            PromptTooLongError: so many tokens that no text fits behind them.
        """
        check_text(prompt, "prompt", allow_control=True)
        ids = self.tokenizer.encode_chat([Message(role="user", content=prompt)])
        limit = self.runtime.config.context_length // 2
        if len(ids) > limit:
            raise PromptTooLongError(
                f"the prompt has {len(ids):,} tokens and up to {limit:,} are read; give its end"
            )
        return ids

    def read_codes(self, image: Image) -> CodesReading | None:
        """A picture's codes, for the mark in them; None where it was cut, or nothing draws here."""
        try:
            painters = self.painters()
        except (TrunkError, ConfigError):
            return None
        nothing = [prompt_ids("", self.tokenizer)] * 2
        prompts = read_prompts(nothing, self.runtime, painters)
        return read_codes(
            image, painters.autoencoder, painters.tokenizer, prompts.for_tokenizer, prompts.mask[:1]
        )

    def choices(self, original: str, text: str) -> Choices:
        """What the model would have written, as it translates an original, in place of a text.

        Raises:
            BadRequestError: they cannot be compared; one sentence says why.
        """
        for side in (original, text):
            check_text(side, "text to verify", allow_control=True)
        source, target = told_languages(original, text)
        pairs = paired_sentences(original, text, source, target)
        if PIVOT not in (source, target):
            between = self.translate_all(
                [first for first, _ in pairs], source=source, target=PIVOT, mark=UNMARKED
            )
            pairs = [[first, second] for first, (_, second) in zip(between, pairs, strict=True)]
            source = PIVOT
        expert = self.translation_expert()
        parts = [
            sentence_choices(first, second, source, target, self.tokenizer, self.runtime, expert)
            for first, second in pairs
        ]
        return merged(parts)

    def log_likelihood(self, text: str) -> Float[Tensor, " N"]:
        """Natural-log probability of each token of plain text, given those before it.

        The first token is predicted from the token that separates documents in training.

        Raises:
            EmptyPromptError: no visible text.
            PromptTooLongError: more tokens than the context holds.
        """
        check_text(text, "text")
        ids = self.tokenizer.encode(text)
        limit = self.runtime.config.context_length
        if len(ids) > limit:
            raise PromptTooLongError(
                f"the text has {len(ids):,} tokens and the model reads {limit:,}; split it"
            )
        return self.log_probabilities(ids)

    def option_log_likelihoods(
        self, options: Sequence[tuple[str, str]]
    ) -> list[Float[Tensor, " N"]]:
        """Natural-log probabilities of the tokens of continuations, each given its context.

        Context and continuation are tokenised together, and what comes after as many tokens as the
        context alone has counts as the continuation (as lm-evaluation-harness has it). What all
        begin with is read once. After an empty context, the first token is predicted from the token
        that separates documents.

        Args:
            options: Context and continuation of each; a space between them belongs to the latter.

        Raises:
            EmptyPromptError: a continuation without visible text.
            PromptTooLongError: more tokens than the context holds.
        """
        limit, read = self.runtime.config.context_length, []
        for context, continuation in options:
            check_text(continuation, "continuation")
            ids = self.tokenizer.encode(context + continuation)
            first = len(self.tokenizer.encode(context)) if context else 0
            if not context:
                ids, first = [self.tokenizer.document_start_id, *ids], 1
            if len(ids) > limit:
                raise PromptTooLongError(
                    f"an option has {len(ids):,} tokens with its context and the model reads "
                    f"{limit:,}; shorten it"
                )
            read.append((ids, max(1, min(first, len(ids) - 1))))
        alike = len(os.path.commonprefix([ids for ids, _ in read]))
        alike = min(alike, *(first - 1 for _, first in read))
        cache = self.runtime.new_cache(max(len(ids) for ids, _ in read))
        if alike:
            self.runtime.forward(torch.tensor(read[0][0][:alike]), cache)
        found = []
        for ids, first in read:
            cache.length = alike
            if first - 1 > alike:
                self.runtime.forward(torch.tensor(ids[alike : first - 1]), cache)
            given, targets = torch.tensor(ids[first - 1 : -1]), torch.tensor(ids[first:])
            scores = self.runtime.forward(given, cache, all_logits=True).log_softmax(-1)
            found.append(scores.gather(1, targets[:, None])[:, 0])
        return found

    def log_probabilities(
        self, ids: Sequence[int], before: Sequence[int] | None = None
    ) -> Float[Tensor, " N"]:
        """The same of tokens, at least one, which with those before fit into the context.

        Args:
            ids: Theirs.
            before: Tokens that they follow; None is the one that separates documents.
        """
        before = before or [self.tokenizer.document_start_id]
        cache = self.runtime.new_cache(len(before) + len(ids) - 1)
        if len(before) > 1:
            self.runtime.forward(torch.tensor(before[:-1]), cache)
        given, targets, parts = torch.tensor([before[-1], *ids[:-1]]), torch.tensor(ids), []
        for start in range(0, len(ids), PREFILL_CHUNK):
            part = slice(start, start + PREFILL_CHUNK)
            scores = self.runtime.forward(given[part], cache, all_logits=True).log_softmax(-1)
            parts.append(scores.gather(1, targets[part, None]).squeeze(1))
        return torch.cat(parts)


AnyRequest = TypeVar("AnyRequest", TextRequest, ImageRequest, TranslationRequest)


def as_request(
    kind: type[AnyRequest], request: AnyRequest | str, settings: dict[str, Any]
) -> AnyRequest:
    """The request itself, or one made of a prompt and keyword settings.

    Raises:
        BadRequestError: both were given, or settings that do not exist or are out of range.
    """
    if isinstance(request, str):
        what = "text" if kind is TranslationRequest else "prompt"
        try:
            return kind(**{what: request}, **settings)
        except TypeError as error:
            raise SettingError(f"unknown setting: {error}") from None
    if settings:
        raise SettingError(f"give a {kind.__name__} or keyword settings, not both")
    return request
