"""Builds the calls for chat, images and moderation: their paths, JSON bodies and form parts."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from core.common.media_types import file_extension
from core.common.service_settings import ServiceSettings
from core.prompts.instructions import chat_messages
from core.prompts.recipe import AUTO, GenerateParams
from core.prompts.request import PromptRequest
from core.prompts.styles import with_style
from core.provider.catalogue import count_partial_images, image_model, text_model
from core.provider.pricing import max_output_tokens
from core.responses.error_translation import ServiceFault
from core.responses.events import JsonObject
from core.settings import Settings

IMAGES_PATH, EDITS_PATH, CHAT_PATH = "/images/generations", "/images/edits", "/chat/completions"
MODERATIONS_PATH, _MODERATION_MODEL = "/moderations", "omni-moderation-latest"
# These parameters are never dropped, because the response would not be what the user asked for.
_REQUIRED_PARAMETERS = frozenset({"model", "prompt", "messages", "n", "size"})
# The formats that every service accepts as an input image (OpenAI's Images API, November 2026).
INPUT_MIMES = frozenset({"image/png", "image/jpeg", "image/webp"})
FormPart = tuple[str, tuple[str, bytes, str]]


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image to send with a call. `mime` is its media type."""

    data: bytes = field(repr=False)
    mime: str


@dataclass(frozen=True, slots=True)
class InputImages:
    """The images that an edit starts from.

    `mask`, if there is one, is a PNG image. The edit changes only the area in which the mask is transparent.
    """

    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None

    @property
    def form_parts(self) -> list[FormPart]:
        """The parts of a multipart form: each is a field name and (file name, bytes, media type).

        Several images have the field name `image[]`. A single image has the field name `image`, because all
        compatible services accept that name.
        """
        name = "image" if len(self.images) == 1 else "image[]"
        named = [(name, f"image-{number}", image) for number, image in enumerate(self.images, 1)]
        masks = [("mask", "mask", self.mask)] if self.mask else []
        return [
            (field_name, (f"{stem}.{file_extension(file.mime)}", file.data, file.mime))
            for field_name, stem, file in (*named, *masks)
        ]


NO_INPUTS = InputImages()


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the service, which isn't sent yet. `path` is relative to the service's base URL.

    `unknown` are the names of the parameters that `fallback` has removed from `body` because the service
    doesn't know them. `repeated` is true if `fallback` has returned the call once without any change.
    """

    path: str
    body: JsonObject
    inputs: InputImages = NO_INPUTS
    unknown: frozenset[str] = frozenset()
    repeated: bool = False

    @property
    def paid(self) -> bool:
        """Whether the call buys images. A call that may have been charged must never be sent again."""
        return self.path in (IMAGES_PATH, EDITS_PATH)

    @property
    def edit(self) -> bool:
        return self.path == EDITS_PATH

    @property
    def streamed(self) -> bool:
        return bool(self.body.get("stream"))

    def without(self, names: frozenset[str]) -> Call:
        """Return a copy of the call without the parameters `names` and those that need one of them."""
        dropped = _with_dependents(names)
        body = {name: value for name, value in self.body.items() if name not in dropped}
        return replace(self, body=body)

    def fallback(self, fault: ServiceFault) -> Call | None:
        """Return a copy of the call without the options that `fault` says the service refuses.

        The options are parameters that aren't required, or streaming. Returns None if the failure has another
        reason, or if none of the refused options was sent. If the service refuses options that an earlier
        fallback has removed, the refusal isn't about this call, and the call is repeated once unchanged.
        """
        names = fault.refused_parameters(frozenset(self.body) - _REQUIRED_PARAMETERS)
        if fault.refuses_streaming and self.streamed:
            names |= {"stream"}
        if not names:
            outdated = not self.repeated and fault.refused_parameters(_with_dependents(self.unknown))
            return replace(self, repeated=True) if outdated else None
        unknown = self.unknown if fault.refuses_value else self.unknown | names
        return replace(self.without(names), unknown=unknown)


def chat_call(request: PromptRequest, settings: Settings, user_tag: str) -> Call:
    """Return a streamed chat completion call that enhances `request` with the default text model.

    `user_tag` is the pseudonym that `user_tag()` returns.
    """
    model = text_model(settings.default_text_model)
    body: JsonObject = {
        "model": model.name,
        "messages": chat_messages(request),
        "max_completion_tokens": max_output_tokens(request),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if model.reasoning_effort:
        body["reasoning_effort"] = model.reasoning_effort
    return Call(CHAT_PATH, body | _user_field(settings.text_service, user_tag))


def image_call(params: GenerateParams, settings: Settings, user_tag: str, inputs: InputImages) -> Call:
    """Return a call that generates the images of `params`, or edits `inputs` if there are any.

    Options with the value `auto` aren't sent, so the service chooses. `user_tag` is the pseudonym that
    `user_tag()` returns.
    """
    model = image_model(params.model)
    api_style = params.style if params.style in model.api_styles else None
    partials = count_partial_images(params, settings)
    body: JsonObject = {
        "model": model.name,
        "prompt": with_style(params.prompt, params.style),
        "n": params.n,
        "size": params.size,
        "quality": params.quality,
        "background": params.background,
        "output_format": params.output_format if params.output_format != "png" else AUTO,
        "style": api_style or AUTO,
        "response_format": "b64_json" if model.sends_response_format else AUTO,
    }
    if partials:
        body |= {"stream": True, "partial_images": partials}
    chosen = {name: value for name, value in body.items() if value != AUTO}
    path = EDITS_PATH if inputs.images else IMAGES_PATH
    return Call(path, chosen | _user_field(settings.image_service, user_tag), inputs)


def moderation_call(texts: Sequence[str]) -> Call:
    return Call(MODERATIONS_PATH, {"model": _MODERATION_MODEL, "input": list(texts)})


def user_tag(user_id: str, secret: bytes) -> str:
    """Return a pseudonym of 32 hex digits, under which the service knows the user `user_id`.

    Only somebody who knows `secret` can link the pseudonym to the user.
    """
    return hmac.digest(secret, user_id.encode(), "sha256").hex()[:32]


def _with_dependents(names: frozenset[str]) -> frozenset[str]:
    """Return `names`, and the parameters that have no meaning without one of them."""
    return names | {"partial_images", "stream_options"} if "stream" in names else names


def _user_field(service: ServiceSettings, user_tag: str) -> JsonObject:
    """Return the body's field for `user_tag`, or no field if `service` isn't OpenAI.

    Other services may reject the field.
    """
    return {"safety_identifier": user_tag} if service.is_official else {}
