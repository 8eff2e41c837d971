"""The page that a browser shows for a share link: the image, its title, and who shared it.

A browser that opens the link gets this page. Programs, and the page's own image, get the bytes from the same
address (core.api.gallery_routes).
"""

from __future__ import annotations

from html import escape
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from core import errors
from core.api.dependencies import CurrentStudio
from core.images.share_links import SHARE_PARAM, SharedImage
from core.web.html_pages import accepts_html, html_page
from core.web.urls import with_query

# A link with this parameter opens the image alone in a browser.
RAW_PARAM = "raw"
_ENDED_TITLE = "This link shows no image"
_ENDED = f"""<h1>{_ENDED_TITLE}</h1>
<p>It may have expired, or whoever shared it has stopped sharing it. Or a part of it is missing.</p>
<p>Copy all of it, or ask the person who sent it to you for a new one.</p>"""
_IMAGE = """<a href="{raw}"><img src="{source}" width="{width}" height="{height}" alt=""></a>
<h1 dir="auto">{title}</h1>
<p>Shared by <bdi>{owner}</bdi>. The link works until {expires} UTC.</p>"""


class SharePageRoute(APIRoute):
    """A route that matches only if a person opens a share link in a browser."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and accepts_html(Headers(scope=scope).get("accept", "")):
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if SHARE_PARAM in query and RAW_PARAM not in query:
                return super().matches(scope)
        return Match.NONE, {}


share_page = APIRouter(prefix="/images", route_class=SharePageRoute, include_in_schema=False)


@share_page.get("/{image_id}")
def show_shared_image(
    image_id: str, request: Request, studio: CurrentStudio, share: Annotated[str, Query()]
) -> Response:
    shared = studio.share_links.shared_image(share, image_id)
    if shared is None:
        return html_page(_ENDED_TITLE, _ENDED, errors.ImageNotFound.status, base=studio.urls.base)
    try:
        studio.gallery.check_file(shared.owner_id, shared.id)
    except errors.StorageError as error:
        return html_page(
            error.message, f"<h1>{escape(error.message)}</h1>", error.status, base=studio.urls.base
        )
    return html_page(
        shared.title, _content(shared, studio.urls.image(shared.id), share), base=studio.urls.base
    )


def _content(shared: SharedImage, address: str, token: str) -> str:
    return _IMAGE.format(
        source=escape(with_query(address, {SHARE_PARAM: token})),
        raw=escape(with_query(address, {SHARE_PARAM: token, RAW_PARAM: "true"})),
        width=shared.width,
        height=shared.height,
        title=escape(shared.title),
        owner=escape(shared.owner_name),
        expires=f"{shared.expires_at:%d %b %Y, %H:%M}",
    )
