"""Errors of HTTP requests, such as missing images, rejected fields and exceeded rate limits."""

from __future__ import annotations

from core.errors.base import ImageError


class ImageNotFound(ImageError):
    code, status, retryable = "IMG-FIND-001", 404, False
    message = "There is no such image."
    suggestions = ("Look in your gallery or its trash.",)


class RequestRejected(ImageError):
    code, status, retryable = "IMG-REQ-001", 400, False
    message = "This request can't be processed."
    suggestions: tuple[str, ...] = ("Check the address, the method and the fields of the request.",)


class HostRejected(RequestRejected):
    code = "IMG-REQ-HOST-001"
    message = "Atelier doesn't answer to the name in this address."
    suggestions = (
        "Open the address that Atelier showed when it started.",
        "Ask your administrator to add the name to ALLOWED_HOSTS.",
    )


class OriginRejected(RequestRejected):
    code, status = "IMG-REQ-ORIGIN-001", 403
    message = "This request came from another site."
    suggestions = (
        "Open Atelier in a tab of its own, then try again.",
        "Ask your administrator whether the proxy passes on the Host header unchanged.",
    )


class BodyTooLarge(RequestRejected):
    code, status = "IMG-REQ-SIZE-001", 413
    message = "This request is too large."
    suggestions = ("Send less in one request.",)


class PageNotFound(RequestRejected):
    code, status = "IMG-REQ-PAGE-001", 404
    message = "There is nothing at this address."
    suggestions = ("Check the address.",)


class RangeRejected(RequestRejected):
    code, status = "IMG-REQ-RANGE-001", 416
    message = "The requested range is outside the file."
    suggestions = ("Ask for a range that begins before the end of the file, or for the whole file.",)

    def __init__(self, message: str | None = None, *, details: str = "", size: int = 0) -> None:
        self.size = size
        super().__init__(message, details=details or f"the file has {size} bytes")


class RequestRateExceeded(RequestRejected):
    code, status, retryable = "IMG-REQ-RATE-001", 429, True
    message = "Too many requests in a minute."
    suggestions = (
        "Wait for the number of seconds given in Retry-After.",
        "Ask your administrator for a higher limit.",
    )


class IdempotencyKeyReused(RequestRejected):
    code, status = "IMG-REQ-KEY-001", 422
    message = "This Idempotency-Key was used for another request."
    suggestions = ("Give each request its own key.", "Send the original request again with this key.")


class IdempotencyKeyBusy(RequestRejected):
    code, status, retryable = "IMG-REQ-KEY-002", 409, True
    message = "The request with this Idempotency-Key is still being processed."
    suggestions = ("Send it again with the same key in a few seconds.",)


class AppStopping(RequestRejected):
    code, status, retryable = "IMG-REQ-STOP-001", 503, True
    message = "Atelier is being stopped or restarted."
    suggestions = ("Try again in a minute.",)


class PageOutdated(RequestRejected):
    code, status, retryable = "IMG-REQ-CLICK-001", 409, True
    message = "The prompt, the images or the price had changed when you clicked. Nothing was bought."
    suggestions = ("Look at what the page shows now, then click again.",)


class ClickLost(RequestRejected):
    code, status, retryable = "IMG-REQ-CLICK-002", 503, True
    message = "Atelier was restarted or out of reach when you clicked. The click wasn't taken."
    suggestions = ("Look at the page, then click again.",)


class TooManyShareLinks(RequestRejected):
    code, status = "IMG-REQ-SHARE-001", 409
    message = "You have too many share links."
    suggestions = ("Stop sharing an image that nobody needs to see any more.", "Wait until a link expires.")


class UploadRejected(RequestRejected):
    code, status = "IMG-REQ-UPLOAD-001", 422
    message = "This file can't be used as an image."
    suggestions: tuple[str, ...] = (
        "Choose a PNG, JPEG or WebP image that isn't animated.",
        "Open it in an image editor and save it again.",
    )


class UploadTooLarge(UploadRejected):
    code, status = "IMG-REQ-UPLOAD-002", 413
    message = "This image is too large."
    suggestions = ("Make it smaller, then upload it again.",)


class MaskRejected(UploadRejected):
    code = "IMG-REQ-UPLOAD-003"
    message = "The mask doesn't match the image."
    suggestions = ("Use a PNG of the same size as the image, transparent where the image may change.",)


class UploadGone(UploadRejected):
    code, status = "IMG-REQ-UPLOAD-004", 410
    message = "The uploaded image is no longer stored."
    suggestions = ("Upload it again.",)


class MethodRejected(RequestRejected):
    code, status = "IMG-REQ-METHOD-001", 405
    message = "This address doesn't support that method."
    suggestions = ("Use one of the methods in the response's Allow header.",)


class FieldsRejected(RequestRejected):
    code, status = "IMG-REQ-FIELDS-001", 422
    message = "Some fields are missing or invalid."
    suggestions = ("Correct the fields named in the details.",)


class ContentTypeRejected(RequestRejected):
    code, status = "IMG-REQ-TYPE-001", 415
    message = "This content type isn't supported here."
    suggestions = ("Send JSON, with `Content-Type: application/json`.",)
