"""Parses a multipart form into the dict that the equivalent JSON request would give."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from python_multipart.multipart import Field, File, parse_form

CONTENT_TYPE = "multipart/form-data"
_JSON_FIELDS = ("n", "partial_images", "output_compression", "stream")


def read_form(content: bytes, content_type: str) -> dict[str, Any]:
    """Return the form's fields by name. `image` is a list of files, and `mask` is one file, all as bytes.

    The values of number and boolean fields are decoded. Raises python-multipart's MultipartParseError or
    FormParserError if the form is invalid.
    """
    body: dict[str, Any] = {"image": []}

    def add_field(field: Field) -> None:
        name = _name(field.field_name)
        body[name] = _value(name, (field.value or b"").decode())

    def add_file(file: File) -> None:
        file.file_object.seek(0)
        name, data = _name(file.field_name), file.file_object.read()
        file.close()
        if name == "image":
            body["image"].append(data)
        else:
            body[name] = data

    parse_form({"Content-Type": content_type.encode()}, BytesIO(content), add_field, add_file)
    return body


def _name(name: bytes | None) -> str:
    return (name or b"").decode().removesuffix("[]")


def _value(name: str, text: str) -> Any:
    """Return the value of the form field `name`, whose content is `text`.

    A field that holds a number or a boolean gives that value. Otherwise, or if the content can't be decoded,
    the value is `text`.
    """
    if name not in _JSON_FIELDS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
