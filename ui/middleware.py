"""What Streamlit's server does to a browser's console and history, mended on the way out."""

from typing import Any

from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class QuietProbes:
    """Answer `<page>/_stcore/health` without an error in the browser console.

    On a link to a page the browser first looks for the server below the page's own path, and only then one level up
    (Streamlit issue 7074). A 404 makes it go on too, but is logged as an error; status 300 without a location is "not
    here" as well, and is not. Only what Streamlit has not found is answered so: what its own address is depends on
    `server.baseUrlPath`, and on the proxy before it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def quietly(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 404:
                message = {**message, "status": 300}
            await send(message)

        probe = scope["type"] == "http" and scope["path"].endswith(("/_stcore/health", "/_stcore/host-config"))
        await self.app(scope, receive, quietly if probe else send)


class OneEntryAPage(BaseHTTPMiddleware):
    """Let only another page be another entry of the browser's history.

    Streamlit makes one of every change of the query: whoever moves a slider ten times would have to go back eleven
    times to leave the page. The script stands in the document itself, for a link that is mended changes the query
    before a page could bring it.
    """

    SCRIPT = b"""<script>
const push = history.pushState.bind(history);
history.pushState = (state, title, url) => {
  const here = new URL(url, location).pathname === location.pathname;
  here ? history.replaceState(state, title, url) : push(state, title, url);
};
</script>"""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return await call_next(request)
        request.scope["headers"] = [(name, value) for name, value in request.headers.raw if name != b"accept-encoding"]
        response = await call_next(request)
        if not response.headers.get("content-type", "").startswith("text/html"):
            return response
        stream: Any = response  # of a private class, with the iterator of a `StreamingResponse`
        document = b"".join([chunk async for chunk in stream.body_iterator])
        kept = {name: value for name, value in response.headers.items() if name == "cache-control"}
        return HTMLResponse(document.replace(b"<head>", b"<head>" + self.SCRIPT, 1), response.status_code, kept)
