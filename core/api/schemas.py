"""What the Images API takes and answers, as its documentation shows it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints

from core import errors
from core.database.models import Image, JobState
from core.errors.stored import StoredError
from core.generation.views import Batch, JobView
from core.prompts.recipe import Recipe
from core.prompts.request import PromptRequest
from core.prompts.styles import STYLES
from core.usage.money import MICROS
from core.web.error_responses import Failed
from core.web.urls import events_url, image_url, job_url, thumbnail_url

_STYLES = ", ".join(f"`{style.key}`" for style in STYLES)
Style = Annotated[str, StringConstraints(max_length=64)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="A unique key for this request. Sent again within a day with the same body, it gets the "
        "same answer and nothing is bought; with another body it is refused.",
    ),
]
Prefer = Annotated[
    str | None,
    Header(max_length=255, description="`respond-async`: answer at once with the address of the job."),
]


class Asked(BaseModel):
    """A request's body; a field that isn't known is refused, for it may be a known one misspelt."""

    model_config = ConfigDict(extra="forbid")


class ImageRequest(Asked):
    """What is said of an image, whether it is made from words alone or from a picture."""

    prompt: str
    style: Style | None = Field(None, description=f"A preset ({_STYLES}) or one of the model's own styles")
    model: str | None = Field(
        None, max_length=128, description="An image model; by default the installation's own choice"
    )
    size: str = Field("auto", max_length=16, description="`auto`, or a WIDTHxHEIGHT that the model supports")
    quality: str = Field("auto", max_length=16, description="`auto`, or one of the model's qualities")
    n: int = Field(1, ge=1, le=10, description="How many images")
    name: str = Field("", description="Kept with the image: the subject's name")

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

    prompt: str = Field(description="What to draw")
    n: StrictInt = Field(1, ge=1, le=10, description="How many images")
    traits: list[str] = Field(default_factory=list, description="Kept with the image: the subject's traits")
    base_prompt: str = Field("", description="Kept with the image: what the prompt was made from")

    def recipe(self, default_model: str) -> Recipe:
        made_from = super().recipe(default_model)
        return replace(made_from, traits=tuple(self.traits), base_prompt=self.base_prompt)


class EnhanceRequest(Asked):
    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "Fern", "traits": ["red scarf"], "base_prompt": "a fox"}}
    )

    name: str = Field("", description="The subject's name")
    traits: list[str] = Field(default_factory=list, description="What it is like")
    base_prompt: str = Field("", description="What the picture shows")
    style: Style | None = Field(None, description=f"A preset: {_STYLES}")

    def request(self) -> PromptRequest:
        return PromptRequest(self.name, tuple(self.traits), self.base_prompt, self.style)


class ChangeRequest(Asked):
    """What is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"example": {"favourite": True}})

    favourite: StrictBool | None = None
    name: str | None = None


class MissingImage(BaseModel):
    """Why one image of a batch didn't come."""

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
    """The images of a batch that has ended."""

    url: str = Field(description="Where the first image is")
    urls: list[str]
    id: str = Field(description="The first image's id")
    ids: list[str]
    job: str = Field(description="The batch's id")
    model: str
    size: str = Field(description="The first image's actual size", examples=["1024x1024"])
    price: float | None = Field(description="Total cost in USD; null if unknown")
    seconds: float = Field(description="From the request to the last image")
    errors: list[MissingImage] = Field(description="Why images are missing, if any are")

    @classmethod
    def of(cls, batch: Batch) -> Self:
        first = batch.images[0]
        return cls(
            url=image_url(first.id),
            urls=[image_url(image.id) for image in batch.images],
            id=first.id,
            ids=[image.id for image in batch.images],
            job=batch.id,
            model=first.model,
            size=f"{first.width}x{first.height}",
            price=usd(batch.price),
            seconds=round(batch.seconds, 3),
            errors=[MissingImage.of(error) for error in batch.failures],
        )


class JobImage(BaseModel):
    """One image's place in a batch."""

    id: str = Field(description="The id of this place, under which its partial pictures are found")
    state: JobState
    partials: int = Field(description="How many partial pictures there are so far")
    urls: list[str] = Field(description="Where its images are, once they are made")
    error: MissingImage | None

    @classmethod
    def of(cls, job: JobView) -> Self:
        error = MissingImage.of(job.error) if job.error else None
        urls = [image_url(image_id) for image_id in job.image_ids]
        return cls(id=job.id, state=job.state, partials=job.partials, urls=urls, error=error)


class JobStatus(BaseModel):
    """A batch as it stands; `result` is there when any image has come and all have ended."""

    job: str
    state: JobState
    images: list[JobImage]
    result: Generated | None

    @classmethod
    def of(cls, batch: Batch) -> Self:
        ended = not batch.is_live and batch.images
        return cls(
            job=batch.id,
            state=batch.state,
            images=[JobImage.of(job) for job in batch.jobs],
            result=Generated.of(batch) if ended else None,
        )


class Accepted(BaseModel):
    job: str
    url: str = Field(description="Where to ask for its status, as in the header `Location`")
    events: str = Field(description="Where its progress is streamed")

    @classmethod
    def of(cls, batch_id: str) -> Self:
        return cls(job=batch_id, url=job_url(batch_id), events=events_url(batch_id))


class EnhancedPrompt(BaseModel):
    enhanced_prompt: str


class Metadata(BaseModel):
    """All that is known of an image."""

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
    prompt: str = Field(description="As the user last edited it")
    sent_prompt: str = Field(description="As sent to the service")
    revised_prompt: str = Field(description="As revised by the service")
    style: str
    model: str
    size: str = Field(examples=["1024x1024"])
    quality: str
    type: str = Field(examples=["image/png"])
    bytes: int
    sha256: str
    price: float | None = Field(description="In USD; null if unknown")
    seconds: float
    offline: bool = Field(description="Whether the offline engine painted it")
    source_id: str | None = Field(description="The image that this is an edit or a variation of")

    @classmethod
    def of(cls, image: Image) -> Self:
        made: dict[str, Any] = {
            "url": image_url(image.id),
            "thumbnail_url": thumbnail_url(image.id),
            "size": f"{image.width}x{image.height}",
            "type": image.mime,
            "bytes": image.file_bytes,
            "price": usd(image.price_micros),
        }
        return cls.model_validate(image.model_dump() | made)


class ImageList(BaseModel):
    images: list[Metadata]
    next: str | None = Field(description="The address of the next page; null on the last")


def usd(micros: int | None) -> float | None:
    return None if micros is None else micros / MICROS


_REF = "#/components/schemas/{model}"
# What any of these routes may answer, for reasons that lie outside of it.
_ANYWHERE: tuple[type[errors.ImageError], ...] = (
    errors.RequestRejected,
    errors.ImageAuthError,
    errors.TokenRejected,
    errors.ScopeMissing,
    errors.OriginRejected,
    errors.BodyTooLarge,
    errors.RequestRateExceeded,
    errors.ImageError,
    errors.DatabaseError,
    errors.StorageError,
    errors.StorageFull,
)


def failures(*kinds: type[errors.ImageError]) -> dict[int | str, dict[str, Any]]:
    """The documentation of all failures of a route, each with its codes."""
    found = {422: [f"`{errors.RequestRejected.code}` A field is missing, unknown or of the wrong type."]}
    for kind in (*_ANYWHERE, *kinds):
        found.setdefault(kind.status, []).append(f"`{kind.code}` {kind.message}")
    # By name: a model for each status of each route would take a tenth of a second from every start.
    content = {"application/json": {"schema": {"$ref": _REF.format(model=Failed.__name__)}}}
    return {
        status: {"content": content, "description": "\n\n".join(dict.fromkeys(words))}
        for status, words in sorted(found.items())
    }


def failure_schemas() -> dict[str, Any]:
    """What `failures` names, for the document."""
    schema = Failed.model_json_schema(ref_template=_REF)
    parts: dict[str, Any] = schema.pop("$defs")
    return parts | {Failed.__name__: schema}
