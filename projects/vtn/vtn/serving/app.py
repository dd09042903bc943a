"""The routes of the server: the page, the endpoint, its schema, and the examples."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import slowfast
from slowfast.visualization.page import fill_template
from vtn.predictor.texts import safe_text
from vtn.serving.answers import Answer, Example, Health, Probe, Problem
from vtn.serving.form import FIELD
from vtn.serving.limits import Refusal
from vtn.serving.protection import (
    LIVE_PATH,
    METRICS_PATH,
    READY_PATH,
    HeadAsGet,
    Protection,
    page_policy,
)
from vtn.serving.request_log import Metrics, RequestLog, record_of
from vtn.serving.service import Service

_logger = logging.getLogger(__name__)

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {FIELD: {"type": "string", "format": "binary", "description": "a video file"}},
            }
        }
    },
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The form is damaged or has no video."},
    403: {"model": Problem, "description": "The request comes from a page of another site."},
    408: {"model": Problem, "description": "The upload takes too long, or stops."},
    413: {"model": Problem, "description": "The upload is too large."},
    415: {"model": Problem, "description": "The request is not a form."},
    422: {"model": Problem, "description": "The video cannot be decoded, or is too long."},
    429: {"model": Problem, "description": "Too many requests are being answered."},
    500: {"model": Problem, "description": "The model or the server has a defect."},
    503: {"model": Problem, "description": "The model is not available now; see the header Retry-After."},
    504: {"model": Problem, "description": "Decoding and scoring take too long."},
}


def create_app(service: Service, *, hosts: Collection[str] = (), origins: Collection[str] = ()) -> FastAPI:
    """Returns the application of a running service, which it closes at its end.

    Args:
        service: whose pool has been started.
        hosts: names of this server in requests; empty: all are accepted.
        origins: names of sites whose pages may use it, see :class:`vtn.serving.protection.Protection`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    # The pages of FastAPI load scripts from other sites; the schema itself is at /openapi.json.
    app = FastAPI(
        title="VTN",
        description="Classes of videos by a Video Transformer Network.",
        version=slowfast.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy, the address of the redirection would be another one
    )
    app.add_middleware(AnswerDefects)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Protection, hosts=hosts, origins=origins)
    metrics = Metrics()
    app.add_middleware(RequestLog, metrics=metrics)
    _handle_errors(app)
    _add_page(app)
    _add_endpoints(app, service)
    _add_probes(app, service)
    _add_metrics(app, service, metrics)
    _add_examples(app, service)
    return app


def _add_page(app: FastAPI) -> None:
    page = fill_template("vtn.serving", "page.html")
    headers = {"Content-Security-Policy": page_policy(page)}

    @app.get("/", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)

    @app.get("/favicon.ico", include_in_schema=False)
    async def show_no_icon() -> Response:
        return Response(status_code=204)


def _add_endpoints(app: FastAPI, service: Service) -> None:
    @app.post("/predict", response_model=Answer, responses=_PROBLEMS, openapi_extra={"requestBody": _FORM})
    async def predict(request: Request, pictures: bool = True) -> dict[str, Any]:
        """Classifies a video: scores of all classes, over time, and the frames that the model attends to.

        `pictures=false` leaves the pictures out, which is faster: `shown_frames` is empty.
        """

        async def wait_for_departure() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        return await service.classify(
            aiter(request.stream()),
            request.headers,
            wait_for_departure,
            pictures=pictures,
            record=record_of(request.scope),
        )


def _add_probes(app: FastAPI, service: Service) -> None:
    def unavailable(model: type[Probe], description: str) -> dict[int | str, dict[str, Any]]:
        return {503: {"model": model, "description": description}}

    not_ready = "No process has the model now."

    @app.get("/health", response_model=Health, responses=unavailable(Health, not_ready))
    async def show_health(response: Response) -> Health:
        """Returns the state of the server, with the status of HTTP that /health/ready has."""
        response.status_code = 200 if service.pool.is_ready else 503
        return Health(
            status=service.pool.status,
            is_ready=service.pool.is_ready,
            model=safe_text(service.name),
            classes=len(service.pool.class_names),
            workers=len(service.pool.workers),
            replaced_workers=service.pool.num_replaced,
            requests=service.num_requests,
            queue_length=service.limits.queue_length,
            max_upload_bytes=service.limits.upload_bytes,
            max_video_seconds=service.limits.video_seconds,
        )

    @app.get(READY_PATH, response_model=Probe, responses=unavailable(Probe, not_ready))
    async def show_readiness(response: Response) -> Probe:
        """Answers a readiness probe: 200 while videos can be scored, 503 while none should be sent."""
        response.status_code = 200 if service.pool.is_ready else 503
        return Probe(status=service.pool.status)

    no_model = "No process could load the model."

    @app.get(LIVE_PATH, response_model=Probe, responses=unavailable(Probe, no_model))
    async def show_liveness(response: Response) -> Probe:
        """Answers a liveness probe: 200 while the server starts or works, 503 where it must be restarted."""
        response.status_code = 200 if service.pool.is_alive else 503
        return Probe(status=service.pool.status)


def _add_metrics(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get(METRICS_PATH, response_class=PlainTextResponse)
    async def show_metrics() -> PlainTextResponse:
        """Returns counts and durations of the requests since the start, in the text format of Prometheus."""
        text = metrics.describe(
            gauges={
                "vtn_requests_in_progress": service.num_requests,
                "vtn_workers_ready": sum(worker.is_ready for worker in service.pool.workers),
            },
            counters={"vtn_workers_replaced_total": service.pool.num_replaced},
        )
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


def _add_examples(app: FastAPI, service: Service) -> None:
    @app.get("/examples", response_model=list[Example])
    async def list_examples() -> list[Example]:
        """Returns the videos to try."""
        return [Example(number=k, name=safe_text(path.name)) for k, path in enumerate(service.examples)]

    responses: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/octet-stream": {}}, "description": "The file."},
        404: {"model": Problem, "description": "The example does not exist."},
        422: {"model": Problem, "description": "The number is not an integer."},
    }

    @app.get("/examples/{number}", response_class=FileResponse, responses=responses)
    async def send_example(number: int) -> FileResponse:
        """Returns the file of a video to try."""
        if not 0 <= number < len(service.examples):
            raise Refusal(404, f"example {number} does not exist", "choose a number that GET /examples lists")
        path = service.examples[number]
        if not path.is_file():
            raise Refusal(404, f"example {number} was removed", "choose another example")
        return FileResponse(path, media_type="application/octet-stream")


def _handle_errors(app: FastAPI) -> None:
    """Makes all errors answers of the same form, without details of the server."""

    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> JSONResponse:
        return _answer(refusal.status, refusal.error, refusal.remedy)

    @app.exception_handler(HTTPException)
    async def refuse_route(request: Request, error: HTTPException) -> JSONResponse:
        remedy = "see /openapi.json for what exists here"
        return _answer(error.status_code, str(error.detail).lower(), remedy, error.headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_values(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = ", ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return _answer(422, f"the request has wrong values ({wrong})", "see /openapi.json for their types")

    @app.exception_handler(ClientDisconnect)
    async def end_request(request: Request, error: ClientDisconnect) -> JSONResponse:
        return _answer(400, "the upload ended early", "send the file again")  # the client has left


def _answer(status: int, error: str, remedy: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    retry = {"Retry-After": "2"} if status in (429, 503) else {}
    return JSONResponse({"error": error, "remedy": remedy}, status, headers={**(headers or {}), **retry})


class AnswerDefects:
    """Middleware that answers a request at which the server fails.

    A handler of exceptions would answer outside of all middleware: without the headers that protect browsers,
    and for the log as if the client had left.

    Args:
        app: answers the requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, see the specification of ASGI."""
        has_begun = False

        async def note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:
            if has_begun or scope["type"] != "http":
                raise
            _logger.error("%s %r failed", scope["method"], scope["path"], exc_info=error)
            remedy = "tell its operator; the server's log has the details"
            await _answer(500, "the server has a defect", remedy)(scope, receive, send)
