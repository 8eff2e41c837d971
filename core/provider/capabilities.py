"""Checks the parameters of a call against the capabilities of the model before anything is paid."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date

from core.errors import InvalidParameter, ModelRetired, PromptEmpty, PromptTooLong
from core.prompts.recipe import AUTO, GenerateParams
from core.prompts.styles import find_style, with_style
from core.provider.catalogue import ImageModel, image_model, text_model
from core.settings import DEFAULT_IMAGE_MODEL, DEFAULT_TEXT_MODEL

_SIZE = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")


def check_params(params: GenerateParams, *, today: date, official: bool) -> None:
    """Check all parameters of an image call.

    Raises PromptEmpty, ModelRetired, PromptTooLong or InvalidParameter. The error's `field` names the
    rejected parameter. `official` is true if the service is OpenAI itself. A model that is retired on the
    date `today` is rejected only in that case, because other services may still offer it.
    """
    model = image_model(params.model)
    if not params.prompt.strip():
        raise PromptEmpty(field="prompt")
    if official and model.is_retired(today):
        raise _retired(model.label, image_model(model.successor or DEFAULT_IMAGE_MODEL).label, field="model")
    if len(with_style(params.prompt, params.style)) > model.max_prompt_length:
        raise PromptTooLong(
            f"The prompt is too long: {model.label} accepts at most {model.max_prompt_length:,} characters.",
            field="prompt",
        )
    check_size(params.size, model)
    check_input_images(params, model)
    _check_choices(params, model)


def check_input_images(params: GenerateParams, model: ImageModel) -> None:
    """Raise InvalidParameter if `params` has more input images than `model` accepts.

    A model that can't edit images accepts none.
    """
    if params.input_count and not model.can_edit:
        raise InvalidParameter(
            f"{model.label} makes images from text only.",
            suggestions=("Choose a model that can edit images.",),
            field="model",
        )
    if params.input_count > model.max_input_images:
        raise InvalidParameter(
            f"{model.label} can work from at most {model.max_input_images} images.",
            suggestions=("Use fewer images.",),
            field="image",
        )


def check_text_model(name: str, *, today: date) -> None:
    """Raise ModelRetired if OpenAI no longer serves the text model `name` on the date `today`.

    The error message names the model to use instead.
    """
    model = text_model(name)
    if model.retires_on is not None and today >= model.retires_on:
        retired = _retired(model.label, text_model(model.successor or DEFAULT_TEXT_MODEL).label)
        retired.suggestions = ("Ask your administrator to set TEXT_MODEL to the successor named above.",)
        raise retired


def _retired(label: str, successor: str, *, field: str | None = None) -> ModelRetired:
    return ModelRetired(
        f"{label} has been retired by the service. Its successor is {successor}.", field=field
    )


def check_size(size: str, model: ImageModel) -> None:
    """Raise InvalidParameter if `model` doesn't support `size`.

    `size` is a width and a height such as `1024x1536`, or `auto`, which every model supports.
    """
    if size == AUTO or size in model.sizes:
        return
    match = _SIZE.fullmatch(size)
    if match and model.size_rule and model.size_rule.allows(int(match[1]), int(match[2])):
        return
    rule = f", or any size with {model.size_rule}" if model.size_rule else ""
    raise InvalidParameter(
        f"{model.label} supports {', '.join(model.sizes)}{rule}.",
        suggestions=("Choose a size from the list.",),
        field="size",
    )


def _check_choices(params: GenerateParams, model: ImageModel) -> None:
    if not 1 <= params.n <= model.max_images:
        raise InvalidParameter(f"{model.label} makes 1 to {model.max_images} images at once.", field="n")
    _check_choice(model, "quality", params.quality, (AUTO, *model.qualities))
    _check_choice(model, "background", params.background, (AUTO, *model.backgrounds))
    _check_choice(model, "output_format", params.output_format, model.formats)
    if params.style and find_style(params.style) is None:
        _check_choice(model, "style", params.style, model.api_styles)
    if params.background == "transparent" and params.output_format == "jpeg":
        raise InvalidParameter("A JPEG can't be transparent: choose PNG or WebP.", field="background")


def _check_choice(model: ImageModel, field_name: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        label = field_name.replace("_", " ")
        raise InvalidParameter(
            f"{model.label} has no {label} “{value}”.",
            suggestions=(f"Choose another {label}.",),
            field=field_name,
        )
