"""Connects the library streamlit-authenticator to our database.

By itself, the library stores users in a YAML file. In this module, "the controller" is the library's
AuthenticationController.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Self

import streamlit as st
from streamlit_authenticator.controllers import AuthenticationController
from streamlit_authenticator.utilities import CredentialsError, Hasher, RegisterError, ResetError, Validator

from core import errors
from core.accounts.passwords import Passwords, check_password_rules, prehash
from core.accounts.registration import Registration
from core.accounts.sessions import Sessions
from core.accounts.sign_in_attempts import SignInAttempts
from core.accounts.usernames import check_username, fold_username
from pages.ui.session import studio

_STATE_KEYS = ("name", "authentication_status", "username", "email", "roles", "logout")


class Rules(Validator):  # type: ignore[misc]  # untyped library
    """Replaces streamlit-authenticator's rules for usernames and passwords, and accepts every password.

    The library's rules reject the letters of most writing systems. Usernames are checked by `check_username`,
    and Authenticator checks passwords with `check_password_rules`.
    """

    def validate_username(self, username: str) -> bool:
        return bool(check_username(username))

    def validate_name(self, name: str) -> bool:
        return True

    def validate_email(self, email: str) -> bool:
        return True

    def validate_password(self, password: str) -> bool:
        return True


class _Record(dict[str, Any]):
    """One user, as the dictionary that streamlit-authenticator's AuthenticationController requires.

    Assigning to the key `password` stores the new password hash in the database.
    """

    def __init__(self, users: SqlUsers, username: str, password_hash: str) -> None:
        super().__init__(password=password_hash, roles=None, email="", first_name=username, last_name="")
        # The controller requires this key. The real count of failed attempts is in
        # core.accounts.sign_in_attempts.
        super().__setitem__("failed_login_attempts", 0)
        self._users = users
        self._username = username

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if key == "password":
            self._users.replace(self._username, value)


class SqlUsers(MutableMapping[str, _Record]):
    """The users in the database, as the mapping that streamlit-authenticator's controller requires.

    The keys are usernames, and the values are records. If `verified_hash` is set, every username has a record
    with this password hash. Authenticator reads the hash once, and later passes the same hash to `core`.
    `core` refuses it if the user's password has changed since. For an unknown username, Authenticator sets a
    hash that no password matches, so that signing in takes as long as for a known username. After a password
    is stored, `verified_hash` is the new password's hash.
    """

    def __init__(
        self,
        registration: Registration,
        passwords: Passwords,
        *,
        verified_hash: str | None = None,
        invite: str | None = None,
    ) -> None:
        self._registration = registration
        self._passwords = passwords
        self.verified_hash = verified_hash
        self._invite = invite

    def __contains__(self, username: object) -> bool:
        return self.verified_hash is not None or self._passwords.stored_hash(str(username)) is not None

    def __getitem__(self, username: str) -> _Record:
        found = self.verified_hash or self._passwords.stored_hash(username)
        if found is None:
            raise KeyError(username)
        return _Record(self, username, found)

    def __setitem__(self, username: str, record: dict[str, Any]) -> None:
        name = record["first_name"]
        self._registration.create_user(name, record["password"], invite=self._invite)
        self.verified_hash = record["password"]

    def replace(self, username: str, password_hash: str) -> None:
        """Store `password_hash` for the user.

        Raises SignInFailed if the stored hash isn't `verified_hash`.
        """
        self._passwords.replace_hash(username, password_hash, self.verified_hash or "")
        self.verified_hash = password_hash

    def __delitem__(self, username: str) -> None:
        raise errors.NotAllowed

    def __iter__(self) -> Iterator[str]:
        """Yield nothing.

        The controller iterates only to compare e-mail addresses, which we don't store.
        """
        return iter(())

    def __len__(self) -> int:
        return 0


class Authenticator:
    """Signs users in, registers them and changes passwords, with streamlit-authenticator's controller.

    Use an Authenticator in a `with` block. The end of the block removes the values that the controller has
    put into the tab's session state. Only the session's row in the database says who is signed in.
    """

    def __init__(
        self,
        registration: Registration,
        passwords: Passwords,
        attempts: SignInAttempts,
        sessions: Sessions,
    ) -> None:
        self._registration = registration
        self._passwords = passwords
        self._attempts = attempts
        self._sessions = sessions

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in _STATE_KEYS:
            st.session_state.pop(key, None)

    def _users(self, *, verified_hash: str | None = None, invite: str | None = None) -> SqlUsers:
        return SqlUsers(self._registration, self._passwords, verified_hash=verified_hash, invite=invite)

    def _controller(self, users: SqlUsers) -> AuthenticationController:
        controller = AuthenticationController({"usernames": {}}, validator=Rules(), auto_hash=False)
        controller.authentication_model.credentials = {"usernames": users}
        return controller

    def sign_in(self, username: str, password: str) -> str:
        """Check the password, and return a sign-in ticket that the browser exchanges for a session.

        Raises SignInFailed if the username and password don't match, AccessWithdrawn if they do and the
        user's access was withdrawn, and SignInLocked after too many failures.
        """
        name = fold_username(username)
        self._attempts.begin(name)
        decoy = _decoy_hash()
        verified_hash = self._passwords.stored_hash(name, withdrawn=True) or decoy
        controller = self._controller(self._users(verified_hash=verified_hash))
        try:
            if not (name and controller.login(name, prehash(password))):
                raise errors.SignInFailed
            ticket = self._sessions.issue_ticket(name, verified_hash)
        except errors.SignInFailed:
            self._attempts.record_failure(name)
            raise
        except errors.AccessWithdrawn:
            self._attempts.record_failure(name, details="access was withdrawn")
            raise
        self._attempts.clear(name)
        return ticket

    def register(self, username: str, password: str, *, invite: str | None = None) -> str:
        """Create an account and return a sign-in ticket, which the browser exchanges for a session.

        `invite` is the token of an invitation, or None. Raises UsernameRejected, UsernameTaken,
        PasswordRejected, RegistrationClosed or InviteInvalid if the account can't be created.
        """
        self._registration.check(invite)
        name = check_username(username)
        check_password_rules(password, name)
        prehashed = prehash(password)
        users = self._users(invite=invite)
        controller = self._controller(users)
        try:
            controller.register_user(username.strip(), "", "", name, prehashed, prehashed, "")
        except RegisterError as error:
            raise errors.UsernameTaken from error
        return self._sessions.issue_ticket(name, users.verified_hash or "")

    def change_password(self, username: str, current: str, new: str) -> str:
        """Set a new password, end all sessions of the user, and return a sign-in ticket for this browser.

        Raises SignInFailed if the password `current` is wrong, and SignInLocked after too many failures.
        Raises PasswordRejected if the password `new` isn't allowed or equals the current password.
        """
        check_password_rules(new, username)
        if current == new:
            raise errors.PasswordRejected("The new password is the same as the current one.")
        self._attempts.begin(username)
        users = self._users(verified_hash=self._passwords.stored_hash(username))
        controller = self._controller(users)
        prehashed = prehash(new)
        try:
            controller.reset_password(username, prehash(current), prehashed, prehashed)
        except ResetError as error:
            raise errors.PasswordRejected(str(error)) from error
        except (CredentialsError, errors.SignInFailed) as error:
            self._attempts.record_failure(username, details="the current password, to change it")
            raise errors.SignInFailed(
                "The current password is wrong.",
                suggestions=(
                    "Type it again: upper and lower case count.",
                    "Ask for a link to set a new one.",
                ),
            ) from error
        self._attempts.clear(username)
        return self._sessions.issue_ticket(username, users.verified_hash or "")

    def reset_password(self, token: str, new: str) -> str:
        """Set a new password by means of a reset link, and return a sign-in ticket for this browser.

        Ends all sessions of the user. `token` is the secret token in the link. Raises ResetInvalid if the
        link isn't valid any more, and PasswordRejected if the password `new` isn't allowed.
        """
        check_password_rules(new, self._passwords.check_reset(token))
        password_hash = Hasher.hash(prehash(new))
        username = self._passwords.use_reset(token, password_hash)
        return self._sessions.issue_ticket(username, password_hash)


def open_authenticator() -> Authenticator:
    """Return an Authenticator that uses the database of this process (core.studio)."""
    parts = studio()
    return Authenticator(parts.registration, parts.passwords, parts.sign_in_attempts, parts.sessions)


@st.cache_resource(show_spinner=False)
def _decoy_hash() -> str:
    return str(Hasher.hash(prehash("no password has this text")))
