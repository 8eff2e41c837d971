"""The routes that list, read, change, delete and restore images, and the page of a share link.

A browser that opens a share link gets a page. Programs, and the page's own image, get the bytes from the same
address.
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope as ASGIScope

from core import errors
from core.api.dependencies import CurrentStudio, ImageViewer, Reader, Spender, VisibleImageOwner
from core.api.documented_errors import IMAGE_RESPONSES, document_errors
from core.api.image_responses import SAFETY_HEADERS, image_response, is_by_share_link
from core.api.schemas import ChangeRequest, ImageList, Metadata
from core.database.models import Scope
from core.images.gallery_queries import MAX_PAGE_SIZE, PAGE_SIZE, Filters
from core.images.share_links import SHARE_PARAM, SharedImage
from core.web.error_responses import accepts_html, html_page
from core.web.urls import with_query

# The parts of other routes' paths that are in the place of an image's id.
_NOT_IMAGES = ("generate", "enhance-prompt", "edit", "jobs")
# A link with this parameter opens the image alone in a browser.
RAW_PARAM = "raw"
_ENDED_TITLE = "This link shows no image"
_ENDED = f"""<h1>{_ENDED_TITLE}</h1>
<p>It may have expired, or whoever shared it has stopped sharing it. Or a part of it is missing.</p>
<p>Copy all of it, or ask the person who sent it to you for a new one.</p>"""
_IMAGE = """<a href="{raw}"><img src="{source}" width="{width}" height="{height}" alt=""></a>
<h1 dir="auto">{title}</h1>
<p>Shared by <bdi>{owner}</bdi>. The link works until {expires} UTC.</p>"""


class ImageRoute(APIRoute):
    """A route whose path may contain the id of an image.

    It doesn't match the paths of other routes, such as `/images/generate`. Otherwise `generate` would be read
    as an image's id, and the `Allow` header of a response there would list the methods of an image.
    """

    def matches(self, scope: ASGIScope) -> tuple[Match, ASGIScope]:
        match, child_scope = super().matches(scope)
        if child_scope.get("path_params", {}).get("image_id") in _NOT_IMAGES:
            return Match.NONE, {}
        return match, child_scope


class SharePageRoute(APIRoute):
    """A route that matches only if a person opens a share link in a browser."""

    def matches(self, scope: ASGIScope) -> tuple[Match, ASGIScope]:
        if scope["type"] == "http" and accepts_html(Headers(scope=scope).get("accept", "")):
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if SHARE_PARAM in query and RAW_PARAM not in query:
                return super().matches(scope)
        return Match.NONE, {}


share_page = APIRouter(prefix="/images", route_class=SharePageRoute, include_in_schema=False)
gallery = APIRouter(prefix="/images", tags=["Images"], route_class=ImageRoute)


@gallery.get(
    "", response_model=ImageList, summary="List images", responses=document_errors(errors.RequestRejected)
)
def list_images(
    studio: CurrentStudio,
    user: Reader,
    cursor: Annotated[
        str | None, Query(max_length=200, description="From the previous page's `next`")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = PAGE_SIZE,
    q: Annotated[
        str,
        Query(max_length=1000, description="Words that must all occur in the image's name, style or prompt"),
    ] = "",
    favourite: Annotated[bool, Query(description="Favourites only")] = False,
    style: Annotated[str | None, Query(max_length=64)] = None,
    model: Annotated[str | None, Query(max_length=128)] = None,
    trash: Annotated[bool, Query(description="Deleted images only")] = False,
) -> ImageList:
    """Lists the newest images first. With `trash`, the images that were deleted most recently come first."""
    filters = Filters(search=q, style=style, model=model, favourites=favourite, trash=trash)
    page = studio.gallery.page_or_empty(user.user_id, filters, after=cursor, limit=limit)
    filter_query = {"q": q, "style": style, "model": model, "favourite": favourite, "trash": trash}
    next_query = {"cursor": page.next, "limit": limit} | {
        name: "true" if value is True else value for name, value in filter_query.items() if value
    }
    next_url = with_query(studio.urls.images, next_query) if page.next else None
    return ImageList(images=[Metadata.of(image, studio.urls) for image in page.images], next=next_url)


@gallery.get(
    "/{image_id}",
    summary="Get an image",
    response_class=Response,
    responses=document_errors(errors.ImageNotFound, errors.RangeRejected, errors.FileDamaged)
    | IMAGE_RESPONSES,
)
def get_image(
    image_id: str, request: Request, studio: CurrentStudio, owner_id: VisibleImageOwner
) -> Response:
    """Responds with the original bytes from the image service.

    For a share link, the prompt is removed from the metadata of a PNG.
    """
    image = studio.gallery.get(owner_id, image_id)
    if is_by_share_link(request):
        return image_response(
            request,
            f"s-{image.sha256}",
            image.mime,
            lambda: studio.gallery.download(owner_id, image_id, with_prompt=False).data,
        )
    data = partial(studio.gallery.original, owner_id, image_id)
    return image_response(request, image.sha256, image.mime, data, image.file_bytes)


@gallery.get(
    "/{image_id}/thumbnail",
    summary="Get an image's thumbnail",
    response_class=Response,
    responses=document_errors(errors.ImageNotFound, errors.RangeRejected, errors.FileDamaged)
    | IMAGE_RESPONSES,
)
def get_thumbnail(
    image_id: str, request: Request, studio: CurrentStudio, owner_id: VisibleImageOwner
) -> Response:
    """Responds with a WebP image whose sides are at most 512 pixels long."""
    etag = f"t-{studio.gallery.get(owner_id, image_id).sha256}"
    return image_response(request, etag, "image/webp", partial(studio.gallery.thumbnail, owner_id, image_id))


@gallery.get(
    "/{image_id}/download",
    summary="Download an image as a file",
    response_class=Response,
    responses=document_errors(errors.ImageNotFound, errors.FileDamaged) | {200: IMAGE_RESPONSES[200]},
)
def download(
    image_id: str,
    studio: CurrentStudio,
    user: ImageViewer,
    prompt: Annotated[bool, Query(description="Write the prompt into the file")] = False,
) -> Response:
    """Responds with the image as a file to save.

    With `prompt`, the metadata of a PNG file holds the prompts and the traits.
    """
    file = studio.gallery.download(user.user_id, image_id, with_prompt=prompt)
    # Programs such as curl read only `filename`.
    disposition = f"attachment; filename=\"{file.ascii_name}\"; filename*=UTF-8''{quote(file.file_name)}"
    headers = SAFETY_HEADERS | {"Content-Disposition": disposition, "Cache-Control": "private, no-store"}
    return Response(file.data, media_type=file.mime, headers=headers)


@gallery.get(
    "/{image_id}/metadata",
    response_model=Metadata,
    summary="Get an image's metadata",
    responses=document_errors(errors.ImageNotFound),
)
def get_metadata(image_id: str, studio: CurrentStudio, user: Reader) -> Metadata:
    return Metadata.of(studio.gallery.get(user.user_id, image_id), studio.urls)


@gallery.patch(
    "/{image_id}",
    response_model=Metadata,
    summary="Change an image's name, or whether it is a favourite",
    responses=document_errors(errors.ImageNotFound, errors.TextRejected)
    | {204: {"description": "Changed; the response to a token without the scope `read`"}},
)
def change_image(image_id: str, body: ChangeRequest, studio: CurrentStudio, user: Spender) -> Any:
    """Responds with the changed image's metadata. A token without the scope `read` gets no body (204)."""
    image = studio.gallery.change(user.user_id, image_id, name=body.name, favourite=body.favourite)
    return Metadata.of(image, studio.urls) if user.may(Scope.READ) else Response(status_code=204)


@gallery.delete(
    "/{image_id}",
    status_code=204,
    summary="Move an image to the trash",
    responses=document_errors(errors.ImageNotFound),
)
def delete_image(image_id: str, studio: CurrentStudio, user: Spender) -> None:
    """The image can be restored until the installation removes it from the trash."""
    studio.gallery.trash(user.user_id, image_id)


@gallery.post(
    "/{image_id}/restore",
    status_code=204,
    summary="Restore an image from the trash",
    responses=document_errors(errors.ImageNotFound),
)
def restore_image(image_id: str, studio: CurrentStudio, user: Spender) -> None:
    studio.gallery.restore(user.user_id, image_id)


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
