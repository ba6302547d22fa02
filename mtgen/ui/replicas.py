"""Several copies of the page behind one address, by Ray Serve: `python app.py --replicas 4`.

Each copy is a process with its share of the cores and weights of its own. A visitor's requests all
go to one of them, as the queue, the chat and what is being made live there: it is chosen by the
visitor's address, as a proxy in front gives it or as the connection has it.

Ray's own `GradioServer` has two shortcomings here: each request goes to any copy, and the events
that start Gradio's queue do not run. So the page is an ASGI application of Ray Serve's instead.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtgen.engine.runtime import usable_cores
from mtgen.errors import MtgenError, SettingError

MOST_REPLICAS = 256
AT_ONCE = 10_000
"""Connections to one copy; its own queue says who waits."""

try:
    import ray
    from fastapi import FastAPI
    from ray import serve
    from ray.serve.config import HTTPOptions, RequestRouterConfig
    from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter
except ImportError as error:
    raise MtgenError(
        f'--replicas needs Ray Serve, which is not installed ({error}): pip install "ray[serve]"'
    ) from None


def address(scope: Mapping[str, Any]) -> str:
    """A visitor's, of an ASGI request."""
    forwarded = dict(scope.get("headers") or ()).get(b"x-forwarded-for")
    if forwarded:
        return forwarded.decode("latin-1")
    return str((scope.get("client") or ("nobody",))[0])


class ByVisitor(ConsistentHashRouter):
    """All requests of a visitor go to one copy, and few go elsewhere when copies come or go."""

    def _routing_key(self, pending_request: Any) -> str | None:
        if pending_request is None:
            return None
        return address(pickle.loads(pending_request.args[0])._asgi_scope)


class Named:
    """Says in each response which copy it is from."""

    def __init__(self, app: Any, name: str) -> None:
        self.app, self.name = app, name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"x-replica", self.name.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, named if scope["type"] == "http" else send)


def build(trunk: str | None, weights: str | None) -> Any:
    """The page as an ASGI application, its model on the way."""
    import gradio as gr

    import mtgen
    from mtgen import ui
    from mtgen.model.files import WEIGHTS
    from mtgen.ui.libretranslate import LibreTranslate
    from mtgen.ui.model import SharedModel

    model = SharedModel(lambda: mtgen.load(trunk, weights=weights), Path(weights or WEIGHTS))
    page = ui.build_app(model)
    app = FastAPI(lifespan=LibreTranslate(model, page).lifespan)
    gr.mount_gradio_app(app, page, path="/", **ui.looks())
    model.start()
    return Named(app, serve.get_replica_context().replica_id.unique_id)


def serve_replicas(options: Namespace) -> None:
    """Serves `options.replicas` copies until it is interrupted.

    Raises:
        SettingError: too few or too many, or MCP clients are to be served as well.
        MtgenError: Ray does not start.
    """
    if not 1 <= options.replicas <= MOST_REPLICAS:
        raise SettingError(f"--replicas must be from 1 to {MOST_REPLICAS}, got {options.replicas}")
    if options.mcp:  # the page calls itself for them, and its calls may reach another copy
        raise SettingError("--mcp does not go with --replicas; leave out one of them")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cores = usable_cores()
    local: dict[str, Any] = {"logging_level": "ERROR"}
    if not os.environ.get("RAY_ADDRESS"):
        local["num_cpus"] = max(cores, options.replicas)
    try:
        ray.init(log_to_driver=False, include_dashboard=False, **local)
        serve.start(http_options=HTTPOptions(host=options.host, port=options.port))
    except Exception as error:  # Ray raises plain ones
        raise MtgenError(f"Ray does not start: {error}") from None
    trunk, weights = options.trunk, options.weights

    def page() -> Any:
        return build(trunk, weights)

    router: dict[str, Any] = {
        "request_router_class": ByVisitor, "request_router_kwargs": {"num_fallback_replicas": 0}
    }  # fmt: skip
    deployment = serve.deployment(
        name="page",
        num_replicas=options.replicas,
        max_ongoing_requests=AT_ONCE,
        ray_actor_options={"num_cpus": max(1, cores // options.replicas)},
        request_router_config=RequestRouterConfig(**router),
    )
    try:
        serve.run(deployment(serve.ingress(page)(type("Page", (), {}))).bind(), name="mtgen")
        print(f"{options.replicas} copies on http://{options.host}:{options.port}", file=sys.stderr)
        threading.Event().wait()
    finally:
        serve.shutdown()
        ray.shutdown()
