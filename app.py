"""Builds the page and serves it: `python app.py`, then open http://127.0.0.1:7860."""

from __future__ import annotations

import os
import sys
import threading
import time
from argparse import Namespace
from pathlib import Path

from mtgen.cli import Parser, run
from mtgen.errors import MtgenError, SettingError

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


def parse(arguments: list[str]) -> Namespace:
    """Flags, with the environment's host and port as defaults."""
    parser = Parser(prog="python app.py", description=__doc__)
    env = os.environ
    port = env.get("GRADIO_SERVER_PORT") or env.get("PORT") or "7860"
    host = env.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if env.get("SPACE_ID") else "127.0.0.1")
    parser.add_argument("--host", default=host, help="address to listen on")
    parser.add_argument("--port", type=int, default=port, help="port to listen on")
    parser.add_argument(
        "--trunk", metavar="PATH", help="checkpoint folder instead of the pinned one"
    )
    parser.add_argument(
        "--weights", metavar="PATH", help="folder of trained experts instead of this release's"
    )
    parser.add_argument("--mcp", action="store_true", help="serve the endpoints to MCP clients too")
    parser.add_argument(
        "--replicas", type=int, metavar="N", help="so many copies of the page, with Ray Serve"
    )
    options = parser.parse_args(arguments)
    if not 1 <= options.port <= 65535:
        raise SettingError(f"--port must be from 1 to 65535, got {options.port}")
    return options


def check_port(host: str, port: int) -> None:
    """Refuses a port that cannot be had, before anything slow is started."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise MtgenError(
            f"cannot listen on {host} port {port}: {(error.strerror or str(error)).lower()}; "
            "choose another with --host or --port"
        ) from None


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    check_port(options.host, options.port)
    if options.replicas is not None:
        from mtgen.ui.replicas import serve_replicas

        return serve_replicas(options)
    from mtgen import ui
    from mtgen.model.files import WEIGHTS
    from mtgen.ui.libretranslate import LibreTranslate
    from mtgen.ui.model import SharedModel

    def load():
        import mtgen

        return mtgen.load(options.trunk, weights=options.weights)

    model = SharedModel(load, Path(options.weights or WEIGHTS))
    page = ui.build_app(model)
    api = LibreTranslate(model, page)
    page.launch(
        server_name=options.host,
        server_port=options.port,
        mcp_server=options.mcp,
        prevent_thread_lock=True,
        app_kwargs={"lifespan": api.lifespan},
        **ui.looks(),
    )
    # Only now: loading would compete with the page for the two cores.
    started = time.perf_counter()
    future = model.start()
    try:
        pipeline = future.result()
        print(f"{pipeline.model} loaded in {time.perf_counter() - started:.1f} s", file=sys.stderr)
        for note in (pipeline.keys.note, pipeline.signer.note):
            if note:
                print(f"warning: {note}", file=sys.stderr)
    except Exception as error:  # the page lives on, says so, and tries again when asked
        print(f"error: {error}", file=sys.stderr)
    try:
        threading.Event().wait()
    finally:
        api.close()
        page.close(verbose=False)


if __name__ == "__main__":
    sys.exit(run(main))
