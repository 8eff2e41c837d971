"""The request and response bodies of the Images API."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints

from core.database.models import Image, JobState
from core.errors.stored import StoredError
from core.generation.views import Batch, JobView
from core.prompts.recipe import Recipe
from core.prompts.request import PromptRequest
from core.prompts.styles import STYLES
from core.provider import chat
from core.usage.money import MICROS
from core.web.urls import Urls

_STYLES = ", ".join(f"`{style.key}`" for style in STYLES)
Style = Annotated[str, StringConstraints(max_length=64)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="A unique key for this request. Sent again within a day with the same body, the request "
        "gets the same response and buys nothing. With another body it is refused.",
    ),
]
Prefer = Annotated[
    str | None,
    Header(max_length=255, description="`respond-async`: respond at once with the address of the job."),
]


class RequestBody(BaseModel):
    """The base of all request bodies. Unknown fields are rejected, because they may be misspelt."""

    model_config = ConfigDict(extra="forbid")


class ImageRequest(RequestBody):
    """The fields that a request to generate images and a request to edit an image have in common."""

    prompt: str
    style: Style | None = Field(None, description=f"A preset ({_STYLES}) or one of the model's own styles")
    model: str | None = Field(
        None, max_length=128, description="An image model; by default the installation's own choice"
    )
    size: str = Field("auto", max_length=16, description="`auto`, or a WIDTHxHEIGHT that the model supports")
    quality: str = Field("auto", max_length=16, description="`auto`, or one of the model's qualities")
    n: int = Field(1, ge=1, le=10, description="How many images")
    name: str = Field("", description="Stored with the image: the subject's name")

    def recipe(self, default_model: str) -> Recipe:
        return Recipe(
            prompt=self.prompt,
            model=self.model or default_model,
            name=self.name,
            style=self.style,
            size=self.size,
            quality=self.quality,
        )


class GenerateRequest(ImageRequest):
    model_config = ConfigDict(json_schema_extra={"example": {"prompt": "A fox in the snow, at dawn"}})

    prompt: str = Field(description="A description of the image")
    n: StrictInt = Field(1, ge=1, le=10, description="How many images")
    traits: list[str] = Field(default_factory=list, description="Stored with the image: the subject's traits")
    base_prompt: str = Field("", description="Stored with the image: the prompt before its enhancement")

    def recipe(self, default_model: str) -> Recipe:
        recipe = super().recipe(default_model)
        return replace(recipe, traits=tuple(self.traits), base_prompt=self.base_prompt)


class EnhanceRequest(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "Fern", "traits": ["red scarf"], "base_prompt": "a fox"}}
    )

    name: str = Field("", description="The subject's name")
    traits: list[str] = Field(default_factory=list, description="The subject's traits")
    base_prompt: str = Field("", description="What the image shows")
    style: Style | None = Field(None, description=f"A preset: {_STYLES}")

    def request(self) -> PromptRequest:
        return PromptRequest(self.name, tuple(self.traits), self.base_prompt, self.style)


class ChangeRequest(RequestBody):
    """The fields of an image that can be changed. A field that you omit stays unchanged."""

    model_config = ConfigDict(json_schema_extra={"example": {"favourite": True}})

    favourite: StrictBool | None = None
    name: str | None = None


class ReportedError(BaseModel):
    """The reason why an image of a batch is missing, or the error that the service reported beside a text."""

    code: str
    message: str
    details: str
    suggestions: list[str]
    retryable: bool

    @classmethod
    def of(cls, error: StoredError) -> Self:
        return cls(
            code=error.code,
            message=error.message,
            details=error.details,
            suggestions=list(error.suggestions),
            retryable=error.retryable,
        )


class Generated(BaseModel):
    """The images of a finished batch. A batch is all images of one request."""

    url: str = Field(description="The address of the first image")
    urls: list[str]
    id: str = Field(description="The first image's id")
    ids: list[str]
    job: str = Field(description="The batch's id")
    model: str
    size: str = Field(description="The first image's actual size", examples=["1024x1024"])
    price: float | None = Field(description="Total cost in USD; null if unknown")
    seconds: float = Field(description="From the request to the last image")
    errors: list[ReportedError] = Field(
        description="The reason for each missing image, and what the service reported beside an image"
    )

    @classmethod
    def of(cls, batch: Batch, urls: Urls) -> Self:
        first = batch.images[0]
        return cls(
            url=urls.image(first.id),
            urls=[urls.image(image.id) for image in batch.images],
            id=first.id,
            ids=[image.id for image in batch.images],
            job=batch.id,
            model=first.model,
            size=f"{first.width}x{first.height}",
            price=usd(batch.price),
            seconds=round(batch.seconds, 3),
            errors=[ReportedError.of(error) for error in batch.errors],
        )


class JobImage(BaseModel):
    """One image of a batch, and the state of the job that generates the image."""

    id: str = Field(description="The id of this job, by which its partial images are found")
    state: JobState
    partials: int = Field(description="The number of partial images so far")
    urls: list[str] = Field(description="The addresses of its images, once they are finished")
    error: ReportedError | None

    @classmethod
    def of(cls, job: JobView, urls: Urls) -> Self:
        error = ReportedError.of(job.error) if job.error else None
        found = [urls.image(image_id) for image_id in job.image_ids]
        return cls(id=job.id, state=job.state, partials=job.partials, urls=found, error=error)


class JobStatus(BaseModel):
    """The current state of a batch. A batch is all images of one request.

    `result` is null until all images of the batch have ended. It stays null if none of them succeeded.
    """

    job: str
    state: JobState
    images: list[JobImage]
    result: Generated | None

    @classmethod
    def of(cls, batch: Batch, urls: Urls) -> Self:
        has_result = not batch.is_live and batch.images
        return cls(
            job=batch.id,
            state=batch.state,
            images=[JobImage.of(job, urls) for job in batch.jobs],
            result=Generated.of(batch, urls) if has_result else None,
        )


class Accepted(BaseModel):
    job: str
    url: str = Field(description="The address of its status, as in the header `Location`")
    events: str = Field(description="The address of its event stream")

    @classmethod
    def of(cls, batch_id: str, urls: Urls) -> Self:
        return cls(job=batch_id, url=urls.job(batch_id), events=urls.events(batch_id))


class EnhancedPrompt(BaseModel):
    enhanced_prompt: str
    added_back: list[str] = Field(
        description="The name and the traits that the model had left out, and that Atelier appended"
    )
    error: ReportedError | None = Field(description="The error that the service reported beside the text")

    @classmethod
    def of(cls, prompt: chat.EnhancedPrompt) -> Self:
        error = ReportedError.of(StoredError.of(prompt.error)) if prompt.error else None
        return cls(enhanced_prompt=prompt.text, added_back=list(prompt.added_back), error=error)


class Metadata(BaseModel):
    """All data of an image except its bytes."""

    id: str
    url: str
    thumbnail_url: str
    created_at: datetime
    trashed_at: datetime | None
    favourite: bool
    name: str
    traits: list[str]
    base_prompt: str
    enhanced_prompt: str
    prompt: str = Field(description="The prompt as the user last edited it")
    sent_prompt: str = Field(description="The prompt as sent to the service, with the style")
    revised_prompt: str = Field(description="The prompt as revised by the service")
    style: str
    model: str
    size: str = Field(examples=["1024x1024"])
    quality: str
    type: str = Field(examples=["image/png"])
    bytes: int
    sha256: str
    price: float | None = Field(description="In USD; null if unknown")
    seconds: float
    offline: bool = Field(description="Whether the offline engine made it")
    source_id: str | None = Field(description="The id of the image that this is an edit or a variation of")

    @classmethod
    def of(cls, image: Image, urls: Urls) -> Self:
        computed: dict[str, Any] = {
            "url": urls.image(image.id),
            "thumbnail_url": urls.thumbnail(image.id),
            "size": f"{image.width}x{image.height}",
            "type": image.mime,
            "bytes": image.file_bytes,
            "price": usd(image.price_micros),
        }
        return cls.model_validate(image.model_dump() | computed)


class ImageList(BaseModel):
    images: list[Metadata]
    next: str | None = Field(description="The address of the next page; null on the last")


def usd(micros: int | None) -> float | None:
    return None if micros is None else micros / MICROS
