"""A web page and an endpoint that classify videos with a model.

SOURCE is as for `vtn predict`, except a model exported to one file. The page takes a video, or one of the
examples, and shows the best classes, their scores over time and the frames with the highest attention of
[CLS]. POST /predict answers programs (?pictures=false: without pictures), GET /openapi.json has its schema,
GET /health the state, and GET /metrics the counts and durations of requests for Prometheus. For
probes, as of Kubernetes: GET /health/ready answers 200 while videos can be scored and else 503, as while the
model is loaded, and GET /health/live 503 where no process could load it again. Only programs of this computer
reach the server unless --host names another address; it has no passwords. Needs pip install
"slowfast-vtn[serve]".
Exit status: 0 ended by Ctrl-C, 143 by SIGTERM, 1 the model, the address or a folder cannot be used, 2 the
command is wrong.

examples:
  a page at http://127.0.0.1:8000 with examples
    vtn serve published/MINE --examples clips

  from a program
    curl -F video=@video.mp4 http://127.0.0.1:8000/predict
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast.cli.commands import make_parser
from slowfast.cli.options import integer_from, positive_integer, positive_number
from slowfast.errors import InputError, SlowFastError
from slowfast.exit_status import run_command
from vtn.cli.model_options import add_predictor_options, predictor_options
from vtn.serving.limits import MEGABYTE, Limits

if TYPE_CHECKING:
    import socket

    import uvicorn

    from vtn.serving.service import Service

PROGRAM = "vtn serve"
HOST, PORT = "127.0.0.1", 8000
_MAX_EXAMPLES = 24
_PACKAGES = ("fastapi", "python_multipart", "uvicorn")
# Longer than proxies keep unused connections: nginx would send a video on one that is being closed.
_KEEP_ALIVE_SECONDS = 75
# Connections that wait; uvicorn takes all of them at once, beside those that are open.
_BACKLOG = 64


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = make_parser(__doc__, program, PROGRAM)
    parser.add_argument("source", metavar="SOURCE", help="weights of the model")
    group = parser.add_argument_group("server")
    group.add_argument("--host", default=HOST, metavar="NAME", help=f"address (default: {HOST})")
    group.add_argument(
        "--port",
        type=integer_from(0, 65535),
        default=PORT,
        metavar="N",
        help=f"port; 0: any free one (default: {PORT})",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name by which a proxy or a forwarded port reaches the server; others are refused; may be given "
        "several times",
    )
    group.add_argument("--examples", default="", metavar="FOLDER", help="videos that the page offers")
    group.add_argument(
        "--folder", default="", metavar="FOLDER", help="for temporary files (default: in that of the system)"
    )
    group.add_argument(
        "--workers",
        type=positive_integer,
        default=1,
        metavar="N",
        help="processes with the model (default: 1)",
    )
    _add_limits(parser.add_argument_group("limits"))
    add_predictor_options(parser, exported=True)
    return parser


def _add_limits(group: argparse._ArgumentGroup) -> None:
    for option, kind, default, unit, meaning in (
        ("--max-upload", positive_number, Limits.upload_bytes / MEGABYTE, "MB", "size of a video"),
        ("--max-duration", positive_number, Limits.video_seconds, "SECONDS", "duration of a video"),
        ("--max-queue", positive_integer, Limits.queue_length, "N",
         "requests that wait or are computed, at which others are refused"),
        ("--time-limit", positive_number, Limits.compute_seconds, "SECONDS",
         "for decoding and scoring a video"),
        ("--stop-limit", positive_integer, 5, "SECONDS",
         "for the requests in work once the server is stopped; those that wait are refused"),
    ):  # fmt: skip
        help_text = f"{meaning} (default: {default:g})"
        group.add_argument(option, type=kind, default=default, metavar=unit, help=help_text)


def main(argv: Sequence[str] | None = None, *, program: str = PROGRAM) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser(program)
    args = parser.parse_args(argv)
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f'{", ".join(missing)}: not installed; pip install "slowfast-vtn[serve]"')
    return run_command(program, lambda: _serve(args, program), expected=(SlowFastError, OSError))


def _serve(args: argparse.Namespace, program: str) -> int:
    import uvicorn

    from vtn.serving.app import create_app
    from vtn.serving.protection import LOOPBACK_NAMES, LimitedConnection, is_loopback

    is_private = is_loopback(args.host)
    with _log_requests(), _listen(args.host, args.port) as listener:
        service = _build_service(args)
        try:
            is_checked = is_private or args.allow_host
            hosts = {*LOOPBACK_NAMES, args.host, *args.allow_host} if is_checked else ()
            app = create_app(service, hosts=hosts, origins=args.allow_host)
            config = uvicorn.Config(
                app,
                log_config=None,  # its lines would lack the time
                log_level="warning",
                access_log=False,
                http=LimitedConnection,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=args.stop_limit,
            )
            if not is_private:
                print(
                    f"{program}: warning: --host {args.host}: every computer that reaches this address can "
                    "use the model without a password",
                    file=sys.stderr,
                )
            host = f"[{args.host}]" if ":" in args.host else args.host
            server = _build_server(config, service)
            loading = _Loading(service, server, f"http://{host}:{listener.getsockname()[1]}")
            loading.start()
            with suppress(KeyboardInterrupt):  # uvicorn may raise it again after its orderly end
                server.run(sockets=[listener])
        finally:
            service.close()
    loading.finish()
    return 0


def _build_server(config: uvicorn.Config, service: Service) -> uvicorn.Server:
    """Returns a server that at its end refuses the requests which no worker has taken."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            service.pool.refuse_waiting()
            await super().shutdown(sockets)

    return Server(config)


@contextmanager
def _log_requests() -> Iterator[None]:
    """Lets the lines of the server and its requests go to stderr, with the time, while the block runs."""
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("vtn.serving", "uvicorn")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = True


class _Loading(threading.Thread):
    """The loading of the model while the server already answers probes, which ends the server if it fails.

    Args:
        service: whose workers are started.
        server: that answers.
        address: printed as soon as the model is loaded.
    """

    def __init__(self, service: Service, server: uvicorn.Server, address: str) -> None:
        super().__init__(name="loading", daemon=True)
        self._service = service
        self._server = server
        self._address = address
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._service.pool.start()
            print(f"{self._address} (Ctrl-C ends the server)", flush=True)
        except BaseException as error:  # raised again in the main thread
            # The end of the server also ends the loading.
            self._failure = None if self._server.should_exit else error
            self._server.should_exit = True

    def finish(self) -> None:
        """Waits for the end of the thread; raises the error with which it has ended the server."""
        self.join()
        if self._failure is not None:
            raise self._failure


def _listen(host: str, port: int) -> socket.socket:
    """Returns a listening socket.

    Raises:
        InputError: for an address that cannot be used.
    """
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[0]  # the address follows
        raise InputError(
            f"--host {host} --port {port}: cannot be listened on ({reason}); choose another "
            "port, or 0 for any free one"
        ) from None


def _build_service(args: argparse.Namespace) -> Service:
    """Returns a service whose workers have not been started."""
    from vtn.serving.messages import ModelSource
    from vtn.serving.service import Service
    from vtn.serving.uploads import UploadFolder
    from vtn.serving.worker_pool import WorkerPool

    limits = Limits(
        upload_bytes=int(args.max_upload * MEGABYTE),
        video_seconds=args.max_duration,
        queue_length=args.max_queue,
        compute_seconds=args.time_limit,
    )
    examples = _find_examples(args.examples) if args.examples else []
    folder = UploadFolder(Path(args.folder) if args.folder else None)
    pool = WorkerPool(ModelSource(args.source, predictor_options(args)), args.workers, folder.worker_path)
    return Service(Path(args.source).name, pool, folder, limits, examples)


def _find_examples(folder: str) -> list[Path]:
    """Returns the first videos of a folder.

    Raises:
        InputError: for a folder without videos.
    """
    from slowfast.datasets.video_folder import find_videos

    found = find_videos(folder) if Path(folder).is_dir() else []
    if not found:
        raise InputError(f"--examples {folder}: must be a folder with videos")
    return [Path(folder, name) for name in found[:_MAX_EXAMPLES]]


if __name__ == "__main__":
    sys.exit(main())
