"""The model catalogue: what each model can do and what its tokens cost.

Calls are checked against the catalogue before they are sent. Prices are in USD per million tokens, which is
the same number as micro-USD per token. A price or a token count of None is unknown. None never stands for
zero.

Sources, as of November 2026: sizes, options and retirement dates come from OpenAI's model and deprecation
pages. Prices and tokens per image come from third-party reports of September and November 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from core.common.media_types import MAX_IMAGE_PIXELS
from core.prompts.recipe import AUTO, GenerateParams
from core.settings import (
    DEFAULT_IMAGE_MODEL,
    DEFAULT_TEXT_MODEL,
    OFFLINE_IMAGE_MODEL,
    OFFLINE_TEXT_MODEL,
    Settings,
)

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
# The most partial images that any model sends per image.
DEFAULT_PARTIAL_IMAGES, MAX_PARTIAL_IMAGES = 1, 3
# In characters, for most models.
MAX_PROMPT_LENGTH = 32_000
_FINE_QUALITIES = (AUTO, "low", "medium", "high", "xhigh", "max")
_SQUARE = "1024x1024"
_QUALITY_LABELS = {"hd": "HD", "xhigh": "Extra high"}
# Output tokens of gpt-image-2.5-flare: by quality for a 1024x1024 image, and for each partial image. Other
# models' token counts aren't published.
FLARE_TOKENS = {"low": 196, "medium": 439, "high": 1_756, "xhigh": 3_122, "max": 7_024}
PARTIAL_TOKENS = 100
# For each date, the text models that are no longer served from that day on.
_TEXT_RETIREMENTS = {
    date(2026, 10, 23): ("gpt-4", "gpt-4-turbo", "gpt-3.5-turbo", "gpt-4.1-nano", "o1", "o3-mini", "o4-mini"),
    date(2026, 12, 11): ("gpt-5", "gpt-5-mini", "gpt-5-nano", "o3"),
    date(2027, 1, 14): ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini"),
}


@dataclass(frozen=True, slots=True)
class SizeRule:
    """A rule that allows image sizes in addition to a model's listed sizes.

    Both edges must be multiples of `step` pixels and at most `max_edge` pixels long. `max_ratio` limits the
    longer edge divided by the shorter. `min_pixels` and `max_pixels` limit the area.
    """

    step: int
    max_edge: int
    max_ratio: int
    min_pixels: int
    max_pixels: int

    def allows(self, width: int, height: int) -> bool:
        long, short = max(width, height), min(width, height)
        return (
            width % self.step == height % self.step == 0
            and long <= self.max_edge
            and long <= short * self.max_ratio
            and self.min_pixels <= width * height <= self.max_pixels
        )

    def __str__(self) -> str:
        return (
            f"edges divisible by {self.step} and at most {self.max_edge}, "
            f"a ratio of at most {self.max_ratio}:1, and {self.min_pixels:,} to {self.max_pixels:,} pixels"
        )


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """The prices of an image model's tokens, in USD per million tokens.

    Input tokens for text and for images have different prices.
    """

    text_input: Decimal
    image_input: Decimal
    output: Decimal


@dataclass(frozen=True, slots=True)
class ImageModel:
    """The capabilities and the token prices of one image model.

    `status` is "current" (one of OpenAI's newest models), "live" (an older model that is still served),
    "ending" (its retirement date is set), "retired", "compatible" (served only by services other than OpenAI)
    or "offline". `retires_on` is the first day on which OpenAI doesn't serve the model. Forms list the
    `sizes`. `size_rule`, if there is one, allows further sizes. `output_tokens` maps (size, quality) to the
    output tokens of one image; combinations without a published number are missing. `max_input_images` is 0
    if the model can't edit images.
    """

    name: str
    label: str
    status: str
    retires_on: date | None = None
    successor: str | None = None
    sizes: tuple[str, ...] = (AUTO, "1024x1024", "1536x1024", "1024x1536")
    size_rule: SizeRule | None = None
    qualities: tuple[str, ...] = (AUTO, "low", "medium", "high")
    max_images: int = 10
    max_prompt_length: int = MAX_PROMPT_LENGTH
    backgrounds: tuple[str, ...] = (AUTO, "opaque", "transparent")
    formats: tuple[str, ...] = ("png", "webp", "jpeg")
    max_partial_images: int = MAX_PARTIAL_IMAGES
    max_input_images: int = 16
    api_styles: tuple[str, ...] = ()
    sends_response_format: bool = False
    price: TokenPrice | None = None
    output_tokens: dict[tuple[str, str], int] = field(default_factory=dict, hash=False)
    partial_tokens: int | None = None

    @property
    def accepts_custom_sizes(self) -> bool:
        return self.size_rule is not None

    @property
    def can_edit(self) -> bool:
        return self.max_input_images > 0

    def is_retired(self, today: date) -> bool:
        return self.status == "retired" or (self.retires_on is not None and today >= self.retires_on)


@dataclass(frozen=True, slots=True)
class TextModel:
    """The prices and the options of one text model.

    Prices are in USD per million tokens. `reasoning_effort` is a parameter of each call; if it is None, the
    parameter isn't sent.
    """

    name: str
    label: str
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    reasoning_effort: str | None = None
    retires_on: date | None = None
    successor: str | None = None


CUSTOM_SIZES = SizeRule(step=16, max_edge=3840, max_ratio=3, min_pixels=655_360, max_pixels=8_294_400)
_COMPATIBLE_SIZES = SizeRule(
    step=1, max_edge=8192, max_ratio=16, min_pixels=4096, max_pixels=MAX_IMAGE_PIXELS
)
_GPT_PRICE = TokenPrice(text_input=Decimal(5), image_input=Decimal(8), output=Decimal(30))
_GPT_2 = ImageModel("gpt-image-2", "GPT Image 2", "live", size_rule=CUSTOM_SIZES, price=_GPT_PRICE)
_GPT_1 = ImageModel("gpt-image-1", "GPT Image 1", "retired", date(2026, 10, 23), DEFAULT_IMAGE_MODEL)
_RETIRING_GPT_1 = replace(_GPT_1, status="ending", retires_on=date(2026, 12, 1))
_DALL_E_3 = ImageModel(
    "dall-e-3",
    "DALL·E 3",
    "retired",
    date(2026, 5, 12),
    DEFAULT_IMAGE_MODEL,
    sizes=(_SQUARE, "1792x1024", "1024x1792"),
    qualities=("standard", "hd"),
    max_images=1,
    max_prompt_length=4_000,
    backgrounds=(AUTO,),
    formats=("png",),
    max_partial_images=0,
    max_input_images=0,
    api_styles=("vivid", "natural"),
    sends_response_format=True,
)
_CURRENT = replace(_GPT_2, status="current", qualities=_FINE_QUALITIES)
IMAGE_MODELS: tuple[ImageModel, ...] = (
    replace(_CURRENT, name=DEFAULT_IMAGE_MODEL, label="GPT Image 2.6 Flare"),
    replace(_CURRENT, name="gpt-image-2.6-sunburst", label="GPT Image 2.6 Sunburst"),
    replace(
        _GPT_2,
        name="gpt-image-2.5-flare",
        label="GPT Image 2.5 Flare",
        qualities=_FINE_QUALITIES,
        output_tokens={(_SQUARE, quality): tokens for quality, tokens in FLARE_TOKENS.items()},
        partial_tokens=PARTIAL_TOKENS,
    ),
    replace(_GPT_2, name="gpt-image-2.5-sunburst", label="GPT Image 2.5 Sunburst", qualities=_FINE_QUALITIES),
    _GPT_2,
    replace(_RETIRING_GPT_1, name="gpt-image-1.5", label="GPT Image 1.5"),
    replace(_RETIRING_GPT_1, name="gpt-image-1-mini", label="GPT Image 1 mini"),
    replace(_RETIRING_GPT_1, name="chatgpt-image-latest", label="ChatGPT Image"),
    _GPT_1,
    _DALL_E_3,
    replace(
        _DALL_E_3,
        name="dall-e-2",
        label="DALL·E 2",
        sizes=("256x256", "512x512", _SQUARE),
        qualities=("standard",),
        max_images=10,
        max_prompt_length=1_000,
        api_styles=(),
    ),
    ImageModel(
        OFFLINE_IMAGE_MODEL,
        "Offline painter",
        "offline",
        sizes=(_SQUARE, "1536x1024", "1024x1536"),
        size_rule=CUSTOM_SIZES,
        qualities=("low", "medium", "high"),
    ),
)
# The data of models that aren't listed: first for the gpt-image family, then for all others.
_UNKNOWN_GPT_IMAGE = replace(_GPT_2, status="compatible", qualities=_FINE_QUALITIES, price=None)
_COMPATIBLE = ImageModel(
    "",
    "",
    "compatible",
    size_rule=_COMPATIBLE_SIZES,
    qualities=(AUTO, "low", "medium", "high", "standard", "hd"),
    max_partial_images=0,
    sends_response_format=True,
)
TEXT_MODELS: tuple[TextModel, ...] = (
    TextModel(DEFAULT_TEXT_MODEL, "GPT-6 Luna", Decimal("0.10"), Decimal("0.50"), reasoning_effort="none"),
    TextModel("gpt-6.1-terra", "GPT-6.1 Terra", Decimal(1), Decimal(5), reasoning_effort="none"),
    TextModel("gpt-6.1-sol", "GPT-6.1 Sol", Decimal(2), Decimal(10)),
    *(
        TextModel(name, name, retires_on=day, successor=DEFAULT_TEXT_MODEL)
        for day, names in _TEXT_RETIREMENTS.items()
        for name in names
    ),
    TextModel(OFFLINE_TEXT_MODEL, "Offline writer", Decimal(0), Decimal(0)),
)
_IMAGE_BY_NAME = {model.name: model for model in IMAGE_MODELS}
_TEXT_BY_NAME = {model.name: model for model in TEXT_MODELS}


def image_model(name: str) -> ImageModel:
    """Return the catalogue's data for the image model called `name`.

    A dated snapshot, whose name is a model's name and a date, has the data of that model. A model that isn't
    in the catalogue gets data that allow most options.
    """
    known = _IMAGE_BY_NAME.get(name) or _IMAGE_BY_NAME.get(_SNAPSHOT.sub("", name))
    if known is not None:
        return replace(known, name=name)
    if "gpt-image" in name:
        return replace(_UNKNOWN_GPT_IMAGE, name=name, label=name)
    return replace(_COMPATIBLE, name=name, label=name)


def quality_label(quality: str) -> str:
    """Return the label that users see for `quality`, such as "Extra high" for `xhigh`."""
    return _QUALITY_LABELS.get(quality, quality.capitalize())


def text_model(name: str) -> TextModel:
    """Return the catalogue's data for the text model called `name`.

    A dated snapshot, whose name is a model's name and a date, has the data of that model. A model that isn't
    in the catalogue has no prices and no reasoning effort.
    """
    known = _TEXT_BY_NAME.get(name) or _TEXT_BY_NAME.get(_SNAPSHOT.sub("", name))
    return replace(known, name=name) if known else TextModel(name, name)


def offered_models(settings: Settings, *, today: date | None = None) -> tuple[ImageModel, ...]:
    """Return the image models that a form lists, with the default model first.

    Offline, only the default model is listed. If the service is OpenAI, models that are retired on the date
    `today` are left out, except for the default model. If `today` is None, the current date is used.
    """
    default = image_model(settings.default_image_model)
    if settings.offline:
        return (default,)
    offered = [model for model in IMAGE_MODELS if model.status != "offline"]
    if settings.image_service.is_official:
        offered = [model for model in offered if not model.is_retired(today or date.today())]
    return (default, *(model for model in offered if model.name != default.name))


def count_partial_images(params: GenerateParams, settings: Settings) -> int:
    """Return the number of partial images that a call requests and pays for.

    A partial image is a preview of the unfinished image. Services send none if `params` asks for several
    images, so the number is then 0. Unless PARTIAL_IMAGES is set, only OpenAI itself and the offline engine
    are asked for partial images. Other services may charge for an image that they then fail to stream.
    """
    if params.n > 1:
        return 0
    wanted = settings.partial_images
    if wanted is None:
        wanted = DEFAULT_PARTIAL_IMAGES if streams_images(settings) else 0
    return min(wanted, image_model(params.model).max_partial_images)


def streams_images(settings: Settings) -> bool:
    """Return whether the service is known to stream images: OpenAI itself, or the offline engine."""
    return settings.offline or settings.image_service.is_official
