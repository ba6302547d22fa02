"""LibreTranslate's JSON API, beside the page: programs that know it can translate here.

Its documentation: https://docs.libretranslate.com/guides/api_usage. What differs: docs/api.md.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from fastapi import APIRouter, Request
from gradio.route_utils import get_root_url
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, JSONResponse, Response

from mtgen.documents import SUFFIXES, Document, open_document
from mtgen.documents.markup import open_markup
from mtgen.errors import MtgenError, PromptTooLongError
from mtgen.model.language import Detection, detect_language, refuse_other
from mtgen.model.trunk import writing
from mtgen.requests import LANGUAGES, MAX_ALTERNATIVES, MAX_TRANSLATION, check_text
from mtgen.ui.beside import STOPPED, ApiError, Beside, Calls, explained, fields, form_of
from mtgen.ui.model import SharedModel

if TYPE_CHECKING:
    import gradio as gr

    from mtgen.pipeline import Pipeline
    from mtgen.tasks.translate import TranslationStream

UNKNOWN = [{"confidence": 0.0, "language": "en"}]
"""What LibreTranslate says of a text in a language that it does not know."""


def needed(found: dict[str, Any], name: str) -> Any:
    """A parameter that must be there.

    Raises:
        ApiError: it is not, or empty.
    """
    value = found.get(name)
    if value is None or value in ("", []):
        raise ApiError(400, f"Invalid request: missing {name} parameter")
    return value


def language(found: dict[str, Any], name: str, *, auto: bool = False) -> str | None:
    """A language's code; None for `auto` where that is allowed.

    Raises:
        ApiError: it is missing, or is none of ours.
    """
    code = needed(found, name)
    if auto and code == "auto":
        return None
    if not isinstance(code, str) or code not in LANGUAGES:
        known = ", ".join(["auto"] * auto + sorted(LANGUAGES))
        raise ApiError(400, f"{code!r:.40} is not supported; {name} must be one of {known}")
    return code


def texts_of(found: dict[str, Any]) -> list[str]:
    """The texts of a request.

    Raises:
        ApiError: they are missing, or are no texts.
    """
    q = needed(found, "q")
    texts = q if isinstance(q, list) else [q]
    for text in texts:
        if not isinstance(text, str):
            raise ApiError(400, f"q must be a text or a list of texts, got {type(text).__name__}")
    return texts


def check_texts(texts: Sequence[str]) -> None:
    """Refuses what is too long or no text.

    Raises:
        BadRequestError: so it is.
    """
    length = sum(map(len, texts))
    if length > MAX_TRANSLATION:
        raise PromptTooLongError(
            f"Invalid request: q has {length:,} characters and up to {MAX_TRANSLATION:,} are "
            "translated at once; send it in parts"
        )
    for text in texts:
        check_text(text, "text in q", allow_empty=True)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A request to translate texts."""

    texts: list[str]
    in_list: bool
    """Whether they came as a list, so that lists go back."""
    source: str | None
    """None finds out."""
    target: str
    is_html: bool
    num_alternatives: int

    @classmethod
    def of(cls, found: dict[str, Any]) -> Wanted:
        """Reads a client's parameters.

        Raises:
            ApiError: one is missing or wrong.
        """
        texts = texts_of(found)
        source, target = language(found, "source", auto=True), language(found, "target")
        assert target
        form = found.get("format") or "text"
        if form not in ("text", "html"):
            raise ApiError(400, f"{form!r:.40} format is not supported; give text or html")
        return cls(
            texts=texts,
            in_list=isinstance(found["q"], list),
            source=source,
            target=target,
            is_html=form == "html",
            num_alternatives=number_of_alternatives(found.get("alternatives")),
        )

    def answer(self, model: SharedModel, stop: threading.Event) -> dict[str, Any]:
        """Translates, as LibreTranslate's JSON.

        Raises:
            MtgenError: one sentence on what is wrong.
        """
        check_texts(self.texts)
        documents = [open_markup(text) for text in self.texts] if self.is_html else []
        parts = [document.pieces for document in documents] or [(text,) for text in self.texts]
        pieces = tuple(piece for part in parts for piece in part)
        source, found = self.source, UNKNOWN[0]
        if source is None:
            source, found = told(pieces)
        texts, others = list(self.texts), [[] for _ in self.texts]
        if source and source != self.target and has_letters(pieces):
            stream = model.get().document_stream(
                parts_document(pieces), source=source, target=self.target,
                num_alternatives=self.num_alternatives, stop=stop,
            )  # fmt: skip
            finished(stream, stop)
            for rank in range(-1, self.num_alternatives):
                translated = iter(stream.ranked(rank))
                for place, part in enumerate(parts):
                    new = [next(translated) for _ in part]
                    text = documents[place].written(new).decode() if self.is_html else new[0]
                    if rank < 0:
                        texts[place] = text
                    elif text not in (texts[place], *others[place]):
                        others[place].append(text)
        answer: dict[str, Any] = {"translatedText": texts if self.in_list else texts[0]}
        if self.source is None:
            answer["detectedLanguage"] = [found] * len(texts) if self.in_list else found
        if self.num_alternatives:
            answer["alternatives"] = others if self.in_list else others[0]
        return answer


def number_of_alternatives(value: Any) -> int:
    """How many are asked for; none where nothing is said.

    Raises:
        ApiError: no whole number, or too many.
    """
    if value is None or value == "":
        return 0
    text = str(value).strip() if isinstance(value, (str, int)) else ""
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ApiError(
            400, f"Invalid request: alternatives parameter is not a number, got {value!r:.40}"
        )
    if not 0 <= int(text) <= MAX_ALTERNATIVES:
        raise ApiError(
            400, f"Invalid request: alternatives must be from 0 to {MAX_ALTERNATIVES}, got {text}"
        )
    return int(text)


def has_letters(pieces: Sequence[str]) -> bool:
    """Whether there is anything to translate."""
    return any(char.isalpha() for piece in pieces for char in piece)


def as_json(language: str, confidence: float) -> dict[str, Any]:
    """A detection as LibreTranslate writes it, the confidence in percent."""
    return {"confidence": round(100 * confidence, 1), "language": language}


def told(pieces: Sequence[str]) -> tuple[str | None, dict[str, Any]]:
    """The language of texts; the likeliest where they are too short to be sure.

    Returns:
        Its code and the JSON for it; no code where there is nothing to translate.

    Raises:
        LanguageError: it is another language.
    """
    if not has_letters(pieces):
        return None, UNKNOWN[0]
    found: Detection = detect_language("\n".join(pieces))
    refuse_other(found)
    return found.candidates[0][0], as_json(*found.candidates[0])


def detections(texts: Sequence[str]) -> list[dict[str, Any]]:
    """The languages that texts may be in, likeliest first.

    Raises:
        BadRequestError: no texts, or too long.
    """
    check_texts(texts)
    found = detect_language("\n".join(texts))
    if found.other or not has_letters(texts):
        return UNKNOWN
    ranked = [as_json(*candidate) for candidate in found.candidates]
    return [ranked[0], *(one for one in ranked[1:] if one["confidence"] >= 1)]


def parts_document(pieces: tuple[str, ...]) -> Document:
    """Texts that are translated together and never written."""
    return Document(kind="txt", pieces=pieces, write=lambda _: b"")


def finished(stream: TranslationStream, stop: threading.Event) -> TranslationStream:
    """The stream run to its end.

    Raises:
        ApiError: it was stopped.
    """
    for _ in stream:
        pass
    if stop.is_set():
        raise ApiError(500, STOPPED)
    return stream


class Files:
    """Translated files, under names that nobody can guess, deleted with the page's others."""

    def __init__(self, page: gr.Blocks) -> None:
        self._folder = Path(page.GRADIO_CACHE) / "mtgen"
        self._made: set[str] = set()
        self._kept: dict[str, Path] = {}
        page.temp_file_sets.append(self._made)

    def add(self, name: str, content: bytes) -> str:
        """Writes a file and gives the name to ask for it.

        Raises:
            CacheWriteError: it cannot be written.
        """
        self._kept = {name: path for name, path in self._kept.items() if path.exists()}
        key = f"{secrets.token_urlsafe(24)}.{name}"
        path = self._folder / key
        with writing(self._folder, "the server needs room there"):
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._made.add(str(path))
        self._kept[key] = path
        return key

    def find(self, key: str) -> Path | None:
        """Where a file lies, as long as it does."""
        path = self._kept.get(key)
        return path if path and path.is_file() else None


def new_name(name: str, target: str) -> str:
    """`report_de.docx` for `report.docx`, in plain letters."""
    stem, _, suffix = re.split(r"[/\\]", name)[-1].rpartition(".")
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", stem).strip("_")[:60] or "file"
    return f"{plain}_{target}.{suffix.lower()}"


def translated_file(
    pipeline: Callable[[], Pipeline], name: str, content: bytes, source: str | None, target: str,
    column: str | None, stop: threading.Event,
) -> bytes:  # fmt: skip
    """A file of the same kind in another language.

    Raises:
        MtgenError: one sentence on what is wrong with it.
    """
    document = open_document(name, content, column=column)
    if source is None:
        source, _ = told(document.pieces)
    if source is None or source == target or not document.pieces:
        return content
    stream = pipeline().document_stream(document, source=source, target=target, stop=stop)
    return document.written(finished(stream, stop).ranked())


def build_router(model: SharedModel, calls: Calls, files: Files) -> APIRouter:
    """The routes.

    Args:
        model: The shared model; it may still be loading.
        calls: Runs what computes.
        files: Keeps translated files.
    """
    router = APIRouter()

    @router.post("/translate")
    async def translate(request: Request) -> Response:
        wanted = Wanted.of(await fields(request))
        return JSONResponse(await calls.compute(request, lambda stop: wanted.answer(model, stop)))

    @router.post("/detect")
    async def detect(request: Request) -> Response:
        texts = texts_of(await fields(request))
        try:
            return JSONResponse(await to_thread.run_sync(detections, texts))
        except MtgenError as error:
            raise explained(error) from None

    @router.api_route("/languages", methods=["GET", "HEAD"])
    async def languages() -> Response:
        targets = sorted(LANGUAGES)
        return JSONResponse(
            [{"code": code, "name": LANGUAGES[code], "targets": targets} for code in LANGUAGES]
        )

    @router.post("/translate_file")
    async def translate_file(request: Request) -> Response:
        found = await form_of(request)
        file = found.get("file")
        if not isinstance(file, UploadFile) or not file.filename:
            raise ApiError(400, "Invalid request: missing file parameter; send it as a form's file")
        name, content = file.filename, await file.read()
        sent = {key: value for key, value in found.items() if isinstance(value, str)}
        source, target = language(sent, "source", auto=True), language(sent, "target")
        assert target

        def work(stop: threading.Event) -> str:
            column = sent.get("column") or None
            new = translated_file(model.get, name, content, source, target, column, stop)
            return files.add(new_name(name, target), new)

        key = await calls.compute(request, work)
        root = get_root_url(request, "/translate_file", request.scope.get("root_path"))
        return JSONResponse({"translatedFileUrl": f"{root}/download_file/{key}"})

    @router.api_route("/download_file/{key}", methods=["GET", "HEAD"])
    async def download_file(key: str) -> Response:
        path = files.find(key)
        if path is None:
            raise ApiError(404, "there is no such file, or no longer; translate it again")
        return FileResponse(
            path, filename=key.partition(".")[2], media_type="application/octet-stream"
        )

    @router.api_route("/frontend/settings", methods=["GET", "HEAD"])
    async def settings() -> Response:
        return JSONResponse(
            {
                "apiKeys": False,
                "charLimit": MAX_TRANSLATION,
                "filesTranslation": True,
                "frontendTimeout": 500,
                "keyRequired": False,
                "language": {
                    "source": {"code": "auto", "name": "Auto Detect"},
                    "target": {"code": "en", "name": LANGUAGES["en"]},
                },
                "suggestions": False,
                "supportedFilesFormat": list(SUFFIXES),
            }
        )

    @router.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @router.post("/suggest")
    async def suggest() -> Response:
        raise ApiError(403, "suggestions are not taken on this server")

    return router


class LibreTranslate:
    """The API beside a page.

    api = LibreTranslate(model, page)
    page.launch(app_kwargs={"lifespan": api.lifespan})
    """

    def __init__(self, model: SharedModel, page: gr.Blocks) -> None:
        self.calls = Calls()
        self._router = build_router(model, self.calls, Files(page))

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """Puts the routes in front of Gradio's, before the server takes its first request."""
        app.middleware_stack = Beside(app.middleware_stack, self._router)
        yield

    def close(self) -> None:
        """Stops what is being computed."""
        self.calls.stop()
