"""A JSON API beside the page: whose turn it is, what came in, and the paths that are its own."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.abc
from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request
from starlette.datastructures import FormData, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtgen.documents import MAX_BYTES
from mtgen.errors import BadRequestError, LimitError, MtgenError, PolicyError
from mtgen.ui.model import ASKED
from mtgen.ui.turns import PARALLEL

MAX_WAITING = 64
"""Requests that wait for their turn; more are sent away."""
MAX_BODY = MAX_BYTES + 1_000_000
"""Bytes of a request."""
MAX_DRAINED = 100_000_000
"""Bytes of a longer one that are still taken, so that its sender comes to read the answer."""
STOPPED = "the server is being stopped; try again later"
"""Nobody reads this where the client hung up."""
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Authorization",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Max-Age": str(20 * 24 * 3600),
}


Result = TypeVar("Result")


class ApiError(Exception):
    """An answer that is an error, in one sentence."""

    def __init__(self, status: int, sentence: object) -> None:
        super().__init__(str(sentence))
        self.status = status


CODES = {LimitError: 429, PolicyError: 403, BadRequestError: 400}
"""Of HTTP; the first kind that an error is of counts."""


class Calls:
    """Computations for API clients: PARALLEL at once beside the page's own, others wait."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(PARALLEL)
        self._stops: set[threading.Event] = set()

    async def compute(self, request: Request, work: Callable[[threading.Event], Result]) -> Result:
        """Runs `work` on a thread, and stops it once its client hangs up.

        Args:
            request: Its body has been read.
            work: Takes the event that ends it early.

        Raises:
            ApiError: too many wait, or whatever went wrong.
        """
        if len(self._stops) >= PARALLEL + MAX_WAITING:
            raise ApiError(429, f"{MAX_WAITING} requests are waiting already; try again later")
        ASKED.set(request)
        stop = threading.Event()
        self._stops.add(stop)
        failure: Exception | None = None
        done: list[Result] = []

        async def hear(group: anyio.abc.TaskGroup) -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            stop.set()
            group.cancel_scope.cancel()  # for those that wait; threads end by `stop`

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(hear, group)
                try:
                    done.append(await to_thread.run_sync(work, stop, limiter=self._limiter))
                except Exception as error:  # kept out of the group, which would wrap it
                    failure = error
                group.cancel_scope.cancel()
        finally:
            self._stops.discard(stop)
        if failure:
            raise explained(failure) from None
        if not done or stop.is_set():
            raise ApiError(500, STOPPED)
        return done[0]

    def stop(self) -> None:
        """Ends all that runs or waits."""
        for stop in tuple(self._stops):
            stop.set()


def explained(error: Exception) -> ApiError:
    """Whatever went wrong, in one sentence; what nobody foresaw goes to the log too."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, MtgenError):
        status = next((code for kind, code in CODES.items() if isinstance(error, kind)), 500)
        return ApiError(status, error)
    traceback.print_exception(error)
    return ApiError(500, f"the server failed with {type(error).__name__}; its log says more")


async def fields(request: Request) -> dict[str, Any]:
    """What a client sent: a JSON object, or a form and the address' parameters.

    Raises:
        ApiError: it cannot be read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            found = json.loads(await request.body())
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"the body is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise ApiError(400, f"the body must be a JSON object, got {type(found).__name__}")
        return found
    form = await form_of(request)
    found = {}
    for name in (*form, *request.query_params):
        values = request.query_params.getlist(name) or form.getlist(name)
        values = [v.replace("\r\n", "\n") if isinstance(v, str) else v for v in values]
        found[name] = values if name == "q" and len(values) > 1 else values[0]
    return found


async def form_of(request: Request) -> FormData:
    """The form in a body; an empty one where there is none."""
    try:
        return await request.form(max_files=1, max_fields=10_000, max_part_size=MAX_BODY)
    except HTTPException as error:
        raise ApiError(400, f"the form cannot be read: {error.detail}") from None


async def answer_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse({"error": str(error)}, error.status)


async def answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = str(error.detail)
    if error.status_code == 405:
        sentence = f"{request.url.path} does not answer {request.method}; see docs/api.md"
    return JSONResponse({"error": sentence}, error.status_code, headers=error.headers)


async def answer_any_error(_: Request, error: Exception) -> Response:
    """The traceback goes to the log by itself."""
    sentence = f"the server failed with {type(error).__name__}; its log says more"
    return JSONResponse({"error": sentence}, 500)


class Beside:
    """Answers the API's paths, from any origin, and passes every other on to the page.

    In front of all that is Gradio's: its own middleware refuses other origins.
    """

    def __init__(self, page: ASGIApp, router: APIRouter) -> None:
        self.page, self.routes = page, router.routes
        self.api = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        self.api.include_router(router)
        self.api.add_exception_handler(ApiError, answer_api_error)
        self.api.add_exception_handler(HTTPException, answer_http_error)
        self.api.add_exception_handler(Exception, answer_any_error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or all(
            route.matches(scope)[0] is Match.NONE for route in self.routes
        ):
            await self.page(scope, receive, send)
            return

        async def send_to_any_origin(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(CORS)
            await send(message)

        if scope["method"] == "OPTIONS":
            await Response(headers={"Allow": "GET, POST, OPTIONS"})(
                scope, receive, send_to_any_origin
            )
        else:
            await self.api(scope, limited(receive), send_to_any_origin)


def limited(receive: Receive) -> Receive:
    """Refuses a request of over MAX_BODY bytes while it comes in."""
    length = 0

    async def receive_some() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        if length <= MAX_BODY:
            return message
        while message.get("more_body") and length <= MAX_DRAINED:
            message = await receive()
            length += len(message.get("body", b""))
        raise ApiError(
            400, f"Invalid request: it has over {MAX_BODY / 1e6:.0f} MB; send it in parts"
        )

    return receive_some
