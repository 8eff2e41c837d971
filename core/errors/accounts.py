"""Errors of sign-in, registration and permissions, in Atelier and at the image service."""

from __future__ import annotations

from core.errors.base import ImageError


class ImageAuthError(ImageError):
    code, status, retryable = "IMG-AUTH-001", 401, False
    message = "Please sign in first."
    suggestions: tuple[str, ...] = ("Sign in, then try again.", "Ask your administrator for access.")


class SignInFailed(ImageAuthError):
    code = "IMG-AUTH-SIGNIN-001"
    message = "That username and password don't match."
    suggestions = (
        "Check both for typos.",
        "Ask your administrator for a link to set a new password.",
    )


class AccessWithdrawn(ImageAuthError):
    code, status = "IMG-AUTH-WITHDRAWN-001", 403
    message = "Your access to Atelier was withdrawn. Your images are kept."
    suggestions = ("Ask your administrator whether you can have access again.",)


class SignInLocked(ImageAuthError):
    code, status, retryable = "IMG-AUTH-LOCK-001", 429, True
    message = "Too many wrong passwords. Sign-in for this username is locked for 15 minutes."
    suggestions = ("Wait 15 minutes, then try again.",)


class SignInMisdirected(ImageAuthError):
    code, status = "IMG-AUTH-PATH-001", 404
    message = "The password is right, but the browser's next request didn't reach Atelier."
    suggestions = (
        "Ask your administrator to set BASE_PATH to the path at which people open Atelier.",
        "Ask your administrator whether the proxy passes everything below that path to Atelier.",
    )


class SessionEnded(ImageAuthError):
    code = "IMG-AUTH-SESSION-001"
    message = "Your session has ended."
    suggestions = ("Sign in again. Your draft and your images are kept.",)


class NotAllowed(ImageAuthError):
    code, status = "IMG-AUTH-ROLE-001", 403
    message = "Only an administrator can do this."
    suggestions = ("Ask your administrator.",)


class TokenRejected(ImageAuthError):
    code = "IMG-AUTH-TOKEN-001"
    message = "This API token isn't valid."
    suggestions = ("Check that you copied all of it.", "Create a new token on your account page.")


class ScopeMissing(ImageAuthError):
    code, status = "IMG-AUTH-SCOPE-001", 403
    message = "This token isn't allowed to do that."
    suggestions = ("Create a token with the scope named above on your account page.",)


class UsernameTaken(ImageAuthError):
    code, status = "IMG-AUTH-NAME-001", 409
    message = "This username is taken."
    suggestions = ("Choose another username.",)


class UsernameRejected(ImageAuthError):
    code, status = "IMG-AUTH-NAME-002", 422
    message = "This username can't be used."
    suggestions = ("Use 2 to 64 letters, digits or _ . @ + - and begin with a letter, a digit or _.",)


class PasswordRejected(ImageAuthError):
    code, status = "IMG-AUTH-PWD-001", 422
    message = "This password is too easy to guess."
    suggestions = ("Use 10 characters or more; a few unrelated words work well.",)


class RegistrationClosed(ImageAuthError):
    code, status = "IMG-AUTH-REG-001", 403
    message = "New accounts can't be created here."
    suggestions = ("Ask your administrator for an invitation.",)


class InviteInvalid(ImageAuthError):
    code, status = "IMG-AUTH-INVITE-001", 403
    message = "This invitation has already been used or withdrawn, or has expired."
    suggestions = ("Ask your administrator for a new invitation.",)


class ResetInvalid(ImageAuthError):
    code, status = "IMG-AUTH-RESET-001", 403
    message = "This password link has already been used or has expired."
    suggestions = ("Ask your administrator for a new link.",)


class TokenOptionsRejected(ImageAuthError):
    code, status = "IMG-AUTH-TOKEN-002", 422
    message = "This token can't be created."
    suggestions = (
        "Give it a name of up to 64 characters, at least one permission, and one of the offered lifetimes.",
    )


class ApiKeyRejected(ImageAuthError):
    code, status = "IMG-AUTH-KEY-001", 502
    message = "The image service doesn't accept the API key."
    suggestions = ("Ask your administrator to check OPENAI_API_KEY.",)
    text_suggestions = ("Ask your administrator to check TEXT_API_KEY, or OPENAI_API_KEY if it isn't set.",)


class ServiceAccessDenied(ImageAuthError):
    code, status = "IMG-AUTH-SERVICE-001", 502
    message = "The image service doesn't allow this account to do that."
    suggestions = ("Ask your administrator to check the account's permissions.",)


class OrganisationUnverified(ServiceAccessDenied):
    code = "IMG-AUTH-ORG-001"
    message = "The image service requires the organisation to be verified first."
    suggestions = ("Ask your administrator to verify the organisation with the service.",)


class StreamingUnverified(ServiceAccessDenied):
    code = "IMG-AUTH-ORG-002"
    message = "The image service streams this model only to verified organisations."
    suggestions = (
        "Ask your administrator to set PARTIAL_IMAGES to 0, or to verify the organisation with the service.",
    )


class RegionUnsupported(ServiceAccessDenied):
    code = "IMG-AUTH-REGION-001"
    message = "The image service isn't available in this country or region."
    suggestions = ("Ask your administrator about another OpenAI-compatible service.",)
