"""A multipart request to the service, read as the JSON object that it would be without its files."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from python_multipart.multipart import Field, File, parse_form

KIND = "multipart/form-data"
_NOT_TEXT = ("n", "partial_images", "output_compression", "stream")


def read_form(content: bytes, content_type: str) -> dict[str, Any]:
    """Its fields, numbers and truth values as such; under `image` a list of files' bytes, under `mask` one.

    Raises MultipartParseError or FormParserError for what isn't a form.
    """
    body: dict[str, Any] = {"image": []}

    def take_field(field: Field) -> None:
        name = _name(field.field_name)
        body[name] = _value(name, (field.value or b"").decode())

    def take_file(file: File) -> None:
        file.file_object.seek(0)
        name, data = _name(file.field_name), file.file_object.read()
        file.close()
        if name == "image":
            body["image"].append(data)
        else:
            body[name] = data

    parse_form({"Content-Type": content_type.encode()}, BytesIO(content), take_field, take_file)
    return body


def _name(name: bytes | None) -> str:
    return (name or b"").decode().removesuffix("[]")


def _value(name: str, text: str) -> Any:
    """The text of a field, or what it stands for where that isn't a text; what is neither stays as it is."""
    if name not in _NOT_TEXT:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
