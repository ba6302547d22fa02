"""The translation task: a text in sentences, sentences in batches, and nothing lost on the way."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType

from jaxtyping import Int64
from torch import Tensor

from mtgen.engine import LlamaRuntime
from mtgen.engine.linear import Updates
from mtgen.errors import LanguageError
from mtgen.model.beam import Bonus, beam_search
from mtgen.model.language import detect_language, refuse_other
from mtgen.model.sampling import Unmarked, Writer, draw_seed, sample_batch
from mtgen.model.tokenizer import ChatTokenizer, translation_prompt
from mtgen.requests import (
    LANGUAGES,
    FinishReason,
    TranslatedSentence,
    TranslationGeneration,
    TranslationRequest,
    TranslationTimings,
)
from mtgen.tasks.segments import Segment, added, apart, lost, split

PIVOT = "en"
"""Between two other languages it is translated by way of this one: no pairs of them were learnt."""
BATCH = 32
"""Sentences that are translated at once."""
FIRST_BATCH = 4
WINDOW = 8
"""Batches that are sorted by length together, so that little is padding."""
CUT_OFF = "Cut off: the translation became too long."
MARGIN = 1.5
"""Beams so many nats behind the best are given up: docs/decisions/0011-own-kernels.md."""
SUFFIX = 4
"""Of beams that agree in so many last tokens, one goes on."""
LONGEST = 2.0
"""Tokens of a translation for each of the source, at most, and a few more."""


@dataclass(frozen=True)
class Candidate:
    """One translation of one sentence."""

    text: str
    confidence: float
    """Mean probability of its tokens, geometric, 0..1."""
    ended: bool


@dataclass(frozen=True)
class TranslationProgress:
    """What is yielded while a text is translated."""

    num_done: int
    num_sentences: int
    text: str
    """The whole text, untranslated where it has not been reached."""


class Terms:
    """A glossary, looked up in sentences."""

    def __init__(self, glossary: Sequence[tuple[str, str]]) -> None:
        self.meanings = {term.casefold(): meaning for term, meaning in glossary}
        longest_first = sorted(self.meanings, key=len, reverse=True)
        choice = "|".join(map(re.escape, longest_first))
        self.pattern = re.compile(rf"(?<!\w)(?:{choice})(?!\w)", re.IGNORECASE)

    def wanted(self, sentence: str) -> Counter[str]:
        """What a translation must hold, and how often at least."""
        if not self.meanings:
            return Counter()
        return Counter(self.meanings[m.casefold()] for m in self.pattern.findall(sentence))

    def put_in(self, sentence: str) -> str:
        """The sentence with each term replaced by its translation."""
        return self.pattern.sub(lambda m: self.meanings[m[0].casefold()], sentence)


def is_held(wanted: Counter[str], text: str) -> bool:
    """Whether a text holds each term often enough, in any case of letters."""
    lowered = text.casefold()
    return all(
        len(re.findall(rf"(?<!\w){re.escape(term.casefold())}(?!\w)", lowered)) >= count
        for term, count in wanted.items()
    )


def runs_on(source: str, text: str) -> bool:
    """Whether a translation repeats itself or is far too long."""
    words = text.casefold().split()
    grams = Counter(zip(words, words[1:], words[2:], strict=False))
    most = max(grams.values(), default=0)
    return (most > 2 and most > len(words) / 12) or len(text) > 4 * len(source) + 40


def is_shouted(sentence: str) -> bool:
    """Whether a whole sentence is in capitals, which translate badly as they are."""
    letters = [char for char in sentence if char.isalpha()]
    return len(letters) > 8 and " " in sentence.strip() and all(map(str.isupper, letters))


class Translator:
    """Sentences from one language into another, in batches.

    Args:
        request: Settings.
        runtime: The trunk.
        tokenizer: Of the trunk.
        expert: Low-rank updates of each layer.
        stop: Ends the work before the next token once it is set.
        writer: Makes what takes the tokens of a translation that is sampled.
        bonus: What beams prefer, for the mark of those that are searched.
        vocabularies: Of languages that need few of the tokens, those that beams may write.
    """

    def __init__(
        self,
        request: TranslationRequest,
        runtime: LlamaRuntime,
        tokenizer: ChatTokenizer,
        expert: Sequence[Updates],
        stop: threading.Event,
        writer: Callable[[], Writer] = Unmarked,
        bonus: Bonus | None = None,
        vocabularies: Mapping[str, Int64[Tensor, " N"]] = MappingProxyType({}),
    ) -> None:
        self.request, self.runtime, self.tokenizer = request, runtime, tokenizer
        self.expert, self.stop, self.vocabularies = expert, stop, vocabularies
        self.writer, self.bonus = writer, bonus
        self.terms = Terms(request.glossary)

    def candidates(
        self, sentences: Sequence[str], src_lang: str, tgt_lang: str, *, marked: bool = True
    ) -> list[list[Candidate]]:
        """Translations of each sentence, best first; none of those that were not reached."""
        request, tokenizer = self.request, self.tokenizer
        shouted = [is_shouted(sentence) for sentence in sentences]
        prompts, limits, whole = [], [], []
        context = self.runtime.config.context_length
        for sentence, loud in zip(sentences, shouted, strict=True):
            ids = tokenizer.encode(sentence.capitalize() if loud else sentence)
            whole.append(len(ids) <= context // 3)
            ids = ids[: context // 3]
            prompts.append(translation_prompt(ids, src_lang, tgt_lang, tokenizer))
            limits.append(min(int(LONGEST * len(ids)) + 12, context - len(prompts[-1])))
        found: list[list[Candidate]] = [[] for _ in sentences]
        if request.temperature:
            assert request.seed is not None
            results = sample_batch(
                self.runtime, prompts, eos_ids=tokenizer.eos_ids, max_new_tokens=limits,
                num_samples=1 + request.num_alternatives, temperature=request.temperature,
                top_p=request.top_p, seed=request.seed, writer=self.writer, expert=self.expert,
                stop=self.stop,
            )  # fmt: skip
        else:
            results = beam_search(
                self.runtime, prompts, eos_ids=tokenizer.eos_ids, max_new_tokens=limits,
                num_beams=max(request.num_beams, 1 + request.num_alternatives),
                margin=math.inf if request.num_alternatives else MARGIN,
                suffix=None if request.num_alternatives else SUFFIX,
                length_penalty=request.length_penalty, bonus=self.bonus if marked else None,
                expert=self.expert, among=self.vocabularies.get(tgt_lang), stop=self.stop,
            )  # fmt: skip
        for place, hypotheses in results:
            texts = set()
            for hypothesis in hypotheses:
                text = " ".join(tokenizer.decode(hypothesis.ids).split())
                if shouted[place]:
                    text = text.upper()
                if text in texts or not text:
                    continue
                texts.add(text)
                count = len(hypothesis.ids) + hypothesis.ended
                confidence = math.exp(hypothesis.log_prob / count)
                ended = hypothesis.ended and whole[place]
                found[place].append(Candidate(text, confidence, ended))
        return found

    def through(self, sentences: Sequence[str], langs: Sequence[str]) -> list[list[Candidate]]:
        """The same by way of other languages; the confidences are multiplied."""
        found = self.candidates(sentences, langs[0], langs[1], marked=len(langs) == 2)
        for src_lang, tgt_lang in itertools.pairwise(langs[1:]):
            firsts = {
                row: (self.sound(sentences[row], options) or options)[0]
                for row, options in enumerate(found)
                if options
            }
            texts = [first.text for first in firsts.values()]
            marked = tgt_lang == langs[-1]  # nobody sees the text in between
            later = self.candidates(texts, src_lang, tgt_lang, marked=marked) if texts else []
            found = [[] for _ in sentences]
            for (row, first), options in zip(firsts.items(), later, strict=True):
                found[row] = [
                    dataclasses.replace(
                        c, confidence=c.confidence * first.confidence, ended=c.ended and first.ended
                    )
                    for c in options
                ]
        return found

    def sound(
        self, source: str, options: Sequence[Candidate], wanted: Counter[str] | None = None
    ) -> list[Candidate]:
        """Candidates that lose and repeat nothing and hold every term.

        Those that add something, such as a number in digits for one in words, come last.
        """
        kept = [
            c
            for c in options
            if not lost(source, c.text)
            and not runs_on(source, c.text)
            and is_held(wanted or Counter(), c.text)
        ]
        return sorted(kept, key=lambda c: bool(added(source, c.text)))

    def translate(self, sentences: Sequence[str], langs: Sequence[str]) -> list[TranslatedSentence]:
        """Sentences along a way of languages, from source to target; see `through`.

        The best candidate that keeps everything is taken. Where there is none, and with a
        glossary, the terms are put into the source first; and where that fails too, the words
        between what must be kept are translated apart.
        """
        found = self.through(sentences, langs)
        wanted = [self.terms.wanted(sentence) for sentence in sentences]
        results: dict[int, TranslatedSentence] = {}
        for row, options in enumerate(found):
            if sound := self.sound(sentences[row], options, wanted[row]):
                results[row] = self.chosen(sentences[row], sound)
        failed = [row for row, options in enumerate(found) if options and row not in results]
        replaced = {row: self.terms.put_in(sentences[row]) for row in failed if wanted[row]}
        if replaced:
            again = self.through(list(replaced.values()), langs)
            for row, options in zip(replaced, again, strict=True):
                if sound := self.sound(replaced[row], options, wanted[row]):
                    results[row] = self.chosen(sentences[row], sound)
        failed = [row for row in failed if row not in results]
        parts = self.in_parts(
            {replaced.get(row, sentences[row]): wanted[row] for row in failed}, langs
        )
        for row in failed:
            text = parts.get(replaced.get(row, sentences[row]))
            if text is not None:
                others = self.others(text, found[row])
                results[row] = TranslatedSentence(
                    source=sentences[row], text=text, alternatives=others,
                    notes=(why_in_parts(sentences[row], text, wanted[row]),),
                )  # fmt: skip
        return [
            results.get(row) or TranslatedSentence(source=sentence, text=sentence, done=False)
            for row, sentence in enumerate(sentences)
        ]

    def chosen(self, sentence: str, sound: Sequence[Candidate]) -> TranslatedSentence:
        """The first candidate, the others as its alternatives."""
        first = sound[0]
        notes = () if first.ended else (CUT_OFF,)
        return TranslatedSentence(
            source=sentence, text=first.text, alternatives=self.others(first.text, sound),
            confidence=first.confidence, notes=notes,
        )  # fmt: skip

    def others(self, text: str, options: Sequence[Candidate]) -> tuple[str, ...]:
        """Texts of other candidates, as many as were asked for."""
        texts = [c.text for c in options if c.text != text]
        return tuple(texts[: self.request.num_alternatives])

    def in_parts(
        self, sentences: Mapping[str, Collection[str]], langs: Sequence[str]
    ) -> dict[str, str]:
        """Sentences, each with terms to keep, put together from what lies between kept items.

        Returns:
            The translations by sentence; none where the work was stopped.
        """
        cut = {sentence: list(around(sentence, terms)) for sentence, terms in sentences.items()}
        pieces = sorted({p.text for parts in cut.values() for p in parts if p.translate}, key=len)
        found = self.through(pieces, langs) if pieces else []
        if not all(found):
            return {}
        texts = {}
        for piece, options in zip(pieces, found, strict=True):
            text = (self.sound(piece, options) or options)[0].text
            texts[piece] = text if piece[:1].isupper() else uncapitalised(piece, text)
        return {
            sentence: "".join(texts[p.text] if p.translate else p.text for p in parts)
            for sentence, parts in cut.items()
        }


def why_in_parts(sentence: str, text: str, terms: Collection[str]) -> str:
    """What the user should know of a sentence that was put together."""
    if runs_on(sentence, text):
        return "The model repeats itself here; this translation may be wrong."
    if terms:
        kept = ", ".join(terms)
        return f"Translated in parts around {kept}, as the glossary asks; check its grammar."
    return "Translated in parts, so that nothing in it is lost."


def around(sentence: str, terms: Collection[str]) -> Iterator[Segment]:
    """The sentence cut around terms that must stay, and around what else must."""
    if not terms:
        yield from apart(sentence)
        return
    choice = "|".join(re.escape(term) for term in sorted(terms, key=len, reverse=True))
    for part in re.split(rf"(\s*(?<!\w)(?:{choice})(?!\w)\s*)", sentence):
        if part.strip() in terms:
            yield Segment(part, False)
        else:
            yield from apart(part)


def uncapitalised(piece: str, text: str) -> str:
    """A part's translation without the capital and the stop that a sentence gets."""
    if text.endswith(".") and not piece.endswith("."):
        text = text[:-1]
    first = text.split(" ", 1)[0]
    return text[:1].lower() + text[1:] if first.istitle() and len(text) > len(first) else text


class TranslationStream:
    """Iterates over `TranslationProgress` while a text is translated.

    `stop()`, from any thread, ends it before the next token; what was translated is kept.
    Afterwards `generation` holds the whole result.
    """

    def __init__(
        self,
        request: TranslationRequest,
        runtime: LlamaRuntime,
        tokenizer: ChatTokenizer,
        expert: Sequence[Updates],
        model: str,
        stop: threading.Event | None = None,
        pieces: Sequence[str] | None = None,
        writer: Callable[[], Writer] = Unmarked,
        bonus: Bonus | None = None,
        marks: tuple[str, ...] = (),
        vocabularies: Mapping[str, Int64[Tensor, " N"]] = MappingProxyType({}),
    ) -> None:
        """Finds out the source language where it is not given.

        Args:
            request: What to translate.
            runtime: The trunk.
            tokenizer: Of the trunk.
            expert: Low-rank updates of each layer.
            model: Name for the `TranslationGeneration`.
            stop: See above.
            pieces: The parts of a document, which stand apart; their lines together are the
                request's text.
            writer: See `Translator`.
            bonus: See `Translator`.
            marks: What these mark it with, for the `TranslationGeneration`.
            vocabularies: See `Translator`.

        Raises:
            LanguageError: it cannot be told, or is not one of ours.
        """
        self._started = time.perf_counter()
        self._stopped = stop or threading.Event()
        self.detected: float | None = None
        source = request.source
        if source is None:
            source, self.detected = told_language(request.text)
        seed = draw_seed() if request.seed is None else request.seed
        self.notes: tuple[str, ...] = ()
        self.request = request
        if source == request.target:
            self.notes = (f"The text is {LANGUAGES[source]} already; nothing was translated.",)
            self.request = dataclasses.replace(request, seed=seed)
        else:
            self.request = dataclasses.replace(request, source=source, seed=seed)
        self.source = source
        self.parts = [split(piece, source) for piece in pieces or [request.text]]
        self._known: dict[str, TranslatedSentence] = {}
        self.via = None
        self.langs = [source, request.target]
        if not self.notes and PIVOT not in self.langs:
            self.via = PIVOT
            self.langs.insert(1, PIVOT)
        self._tokenizer, self._model, self._marks = tokenizer, model, marks
        self._translator = Translator(
            self.request, runtime, tokenizer, expert, self._stopped, writer, bonus, vocabularies
        )
        self._generation: TranslationGeneration | None = None
        self._steps = self._run()

    def stop(self) -> None:
        """Asks the stream to end; it does so before the next token."""
        self._stopped.set()

    def __iter__(self) -> Iterator[TranslationProgress]:
        return self

    def __next__(self) -> TranslationProgress:
        return next(self._steps)

    @property
    def generation(self) -> TranslationGeneration:
        """The result; runs the stream to its end if it is not there yet."""
        for _ in self._steps:
            pass
        if self._generation is None:
            raise RuntimeError("the stream was closed by an error before it had a result")
        return self._generation

    def _batches(self, sentences: list[str]) -> Iterator[list[str]]:
        """Batches of like length, roughly in the order of the text; a small one first, to show."""
        if sentences:
            yield sentences[:FIRST_BATCH]
        for start in range(FIRST_BATCH, len(sentences), BATCH * WINDOW):
            window = sorted(sentences[start : start + BATCH * WINDOW], key=len)
            for first in range(0, len(window), BATCH):
                yield window[first : first + BATCH]

    def _translated(self, sentences: list[str]) -> Iterator[list[TranslatedSentence]]:
        """Translations of all sentences, in batches.

        Two batches at a time where requests are computed together: while the beams of one are
        sorted, those of the other are computed. The first batch goes alone, so as to be shown soon.
        """
        batches = self._batches(sentences)
        translate = functools.partial(self._translator.translate, langs=self.langs)
        waiting: deque[Future[list[TranslatedSentence]]] = deque()
        at_once = 1
        with ThreadPoolExecutor(3) as pool:
            try:
                while True:
                    if not self._stopped.is_set():
                        for batch in itertools.islice(batches, at_once - len(waiting)):
                            waiting.append(pool.submit(translate, batch))
                    if not waiting:
                        return
                    yield waiting.popleft().result()
                    at_once = 3 if self._translator.runtime.is_native else 1
            except BaseException:  # nobody reads on
                self._stopped.set()
                raise

    def _run(self) -> Iterator[TranslationProgress]:
        places = [] if self.notes else [s.text for p in self.parts for s in p if s.translate]
        known = self._known
        first_s = 0.0
        for results in self._translated(list(dict.fromkeys(places))):
            for result in results:
                if result.done:
                    known[result.source] = result
            first_s = first_s or time.perf_counter() - self._started
            yield TranslationProgress(
                sum(text in known for text in places), len(places), self._text()
            )
        sentences = tuple(
            known.get(text) or TranslatedSentence(source=text, text=text, done=False)
            for text in places
        )
        whole = all(sentence.done for sentence in sentences)
        cut = any(CUT_OFF in sentence.notes for sentence in sentences)
        reason: FinishReason = "length" if cut else "stop"
        text = self._text()
        others = (self._text(rank) for rank in range(self.request.num_alternatives))
        self._generation = TranslationGeneration(
            text=text,
            request=self.request,
            sentences=sentences,
            via=self.via,
            finish_reason=reason if whole else "cancelled",
            timings=TranslationTimings(
                num_sentences=sum(sentence.done for sentence in sentences),
                num_new_tokens=sum(
                    len(self._tokenizer.encode(s.text)) for s in sentences if s.done
                ),
                first_sentence_s=first_s,
                total_s=time.perf_counter() - self._started,
            ),
            model=self._model,
            alternatives=tuple(dict.fromkeys(other for other in others if other != text)),
            detected=self.detected,
            notes=self.notes,
            marks=self._marks if any(sentence.done for sentence in sentences) else (),
        )

    @property
    def pieces(self) -> list[str | None]:
        """The parts of a document as translated so far; None where a sentence is missing."""
        return [
            None
            if any(s.translate and s.text not in self._known for s in part)
            else self._joined(part)
            for part in self.parts
        ]

    @property
    def so_far(self) -> list[str | TranslatedSentence]:
        """The text in its order: each sentence, and what stands between them as it is."""
        found: list[str | TranslatedSentence] = []
        for number, part in enumerate(self.parts):
            found += ["\n"] if number else []
            for segment in part:
                if segment.translate and not self.notes:
                    missing = TranslatedSentence(source=segment.text, text=segment.text, done=False)
                    found.append(self._known.get(segment.text, missing))
                else:
                    found.append(segment.text)
        return found

    def _text(self, rank: int = -1) -> str:
        """The text so far; of each sentence its alternative `rank`, or its translation for -1."""
        return "\n".join(self.ranked(rank))

    def ranked(self, rank: int = -1) -> list[str]:
        """The parts so far; of each sentence its alternative `rank`, or its translation for -1."""
        return [self._joined(part, rank) for part in self.parts]

    def _joined(self, part: Sequence[Segment], rank: int = -1) -> str:
        texts = []
        for segment in part:
            result = self._known.get(segment.text) if segment.translate else None
            if result is None:
                texts.append(segment.text)
            elif 0 <= rank < len(result.alternatives):
                texts.append(result.alternatives[rank])
            else:
                texts.append(result.text)
        return "".join(texts)


def told_language(text: str) -> tuple[str, float]:
    """The language of a text, and how sure that is.

    Raises:
        LanguageError: it cannot be told, or is not one of ours.
    """
    found = detect_language(text)
    refuse_other(found)
    if found.language is None:
        raise LanguageError(
            "the language of so short or mixed a text cannot be told; choose the source language "
            f"({', '.join(LANGUAGES.values())})"
        )
    return found.language, found.confidence
