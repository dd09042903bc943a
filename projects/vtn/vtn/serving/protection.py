"""Protection of the server: limits of connections, checks of senders, and headers that protect browsers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_ELEMENT = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
READY_PATH, LIVE_PATH, METRICS_PATH = "/health/ready", "/health/live", "/metrics"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

HEADER_SECONDS = 15.0
"""Longest time in which the header of a request must arrive."""
ANSWER_SECONDS = 120.0
"""Longest time in which a client must make room for the next part of an answer."""
MAX_CONNECTIONS = 150
"""Most open connections; further ones are closed. Systems allow 256 or 1024 open files."""


class LimitedConnection(H11Protocol):
    """A connection of uvicorn that is closed where a client sends or reads nothing, or too many are open.

    Uvicorn has no such limits: clients that do nothing would use up all open files of the server.
    """

    _header_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first header."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        """Waits for the rest of a header that has begun."""
        super().data_received(data)
        self._expect_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the waiting."""
        for timer in (self._header_timer, self._answer_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begins to wait for a client that does not read its answer as fast as it is sent."""
        super().pause_writing()
        self._answer_timer = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Ends the waiting for the client."""
        if self._answer_timer is not None:
            self._answer_timer.cancel()
        super().resume_writing()

    def _expect_header(self) -> None:
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self._close_without_header, self.cycle)

    def _close_without_header(self, last: object) -> None:
        """Closes the connection if no request has begun since the one that was the last."""
        self._header_timer = None
        if self.cycle is last:
            self.transport.close()


def is_loopback(host: str) -> bool:
    """Returns whether only programs of the same computer reach a host name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def page_policy(page: str) -> str:
    """Returns the Content-Security-Policy that allows a page its own script and style alone.

    Args:
        page: HTML whose ``<script>`` and ``<style>`` elements have no attributes.
    """
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _ELEMENT.findall(page):
        found = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{found}'")
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(hashes['script'])}",
            f"style-src {' '.join(hashes['style'])}",
            "img-src data:",
            "media-src blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


class HeadAsGet:
    """Middleware that answers HEAD wherever GET is answered; the server sends no content then.

    Args:
        app: answers the requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, see the specification of ASGI."""
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send)


class Protection:
    """Middleware that refuses requests from pages of other sites and adds headers to all answers.

    A page of another site could otherwise use a server on the loopback address through the user's browser,
    directly or by a name that it resolves to that address (DNS rebinding).

    Args:
        app: answers the requests.
        hosts: names in the header ``Host`` that are accepted; empty: all. Probes are answered by any name, as
            those of Kubernetes name the address of the container, and tell nothing but the status; so are
            requests for metrics, which tell counts and durations.
        origins: names of the sites whose pages are accepted beside the server's own: those of a proxy that
            changes the header ``Host``.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = (), origins: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(name.lower() for name in hosts)
        self._origins = frozenset(name.lower() for name in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, see the specification of ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
            await send(message)

        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        app = self._app
        is_probe = scope["path"] in (READY_PATH, LIVE_PATH, METRICS_PATH)
        if self._hosts and _name_of(host) not in self._hosts and not is_probe:
            app = _refuse("the host name of the request is not one of this server")
        elif origin is not None and not self._is_own(origin, host):
            app = _refuse("the request comes from a page of another site")
        await app(scope, receive, send_protected)

    def _is_own(self, origin: str, host: str) -> bool:
        """Returns whether a header ``Origin`` is of a page of this server, or of a proxy in front of it."""
        try:
            found = urlsplit(origin)
            return found.netloc == host or (found.hostname or "") in self._origins
        except ValueError:
            return False


def _name_of(host: str) -> str:
    """Returns the name in a ``Host`` header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _refuse(error: str) -> ASGIApp:
    remedy = (
        "open the address that the server prints; behind a proxy, start the server with --allow-host NAME"
    )
    return JSONResponse({"error": error, "remedy": remedy}, 403)
