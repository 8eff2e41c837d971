"""The request bodies of image, chat and moderation calls."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace

from core.common.media_types import file_extension
from core.provider.error_translation import ServiceFault
from core.provider.responses import Body

IMAGES_PATH, EDITS_PATH, CHAT_PATH = "/images/generations", "/images/edits", "/chat/completions"
MODERATIONS_PATH, MODERATION_MODEL = "/moderations", "omni-moderation-latest"
MULTIPART_HEADERS = {"Content-Type": "multipart/form-data"}
_KEPT = frozenset({"model", "prompt", "messages", "n", "size"})
Part = tuple[str, tuple[str, bytes, str]]


@dataclass(frozen=True, slots=True)
class Attached:
    """A picture that goes with a call; `mime` is its type."""

    data: bytes = field(repr=False)
    mime: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """The pictures that an image is made from, and a PNG that is transparent where it may change."""

    images: tuple[Attached, ...] = ()
    mask: Attached | None = None

    @property
    def parts(self) -> list[Part]:
        """As parts of a form. A single one has the name that every compatible service knows."""
        name = "image" if len(self.images) == 1 else "image[]"
        named = [(name, f"image-{number}", image) for number, image in enumerate(self.images, 1)]
        masks = [("mask", "mask", self.mask)] if self.mask else []
        return [
            (field_name, (f"{stem}.{file_extension(file.mime)}", file.data, file.mime))
            for field_name, stem, file in (*named, *masks)
        ]


NO_INPUTS = Inputs()


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and how it was softened after the service had refused a part of it."""

    path: str
    body: Body
    inputs: Inputs = NO_INPUTS
    lightened: bool = False
    unstreamed: bool = False

    @property
    def paid(self) -> bool:
        return self.path in (IMAGES_PATH, EDITS_PATH)

    def softened(self, fault: ServiceFault) -> Call | None:
        """The call without what `fault` complains of, each remedy once; None when there is none."""
        if fault.refuses_streaming and not self.unstreamed and self.body.get("stream"):
            return replace(self, body=_without(self.body, "stream", "partial_images"), unstreamed=True)
        name = fault.refused_parameter(frozenset(self.body) - _KEPT)
        if name is None or self.lightened:
            return None
        also = ("partial_images", "stream_options") if name == "stream" else ()
        return replace(self, body=_without(self.body, name, *also), lightened=True)


def _without(body: Body, *names: str) -> Body:
    return {name: value for name, value in body.items() if name not in names}


def user_tag(user_id: str, secret: bytes) -> str:
    """32 hex digits that stand for a user at the service, which can't be traced back without `secret`."""
    return hmac.digest(secret, user_id.encode(), "sha256").hex()[:32]
