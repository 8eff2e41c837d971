"""streamlit-authenticator's controller, working on our users table instead of a YAML file."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Self

import streamlit as st
from streamlit_authenticator.controllers import AuthenticationController
from streamlit_authenticator.utilities import CredentialsError, Hasher, RegisterError, ResetError, Validator

from core import errors
from core.accounts.passwords import check_password, prehash
from core.accounts.usernames import check_username, fold_username
from core.accounts.users import Accounts

_STATE_KEYS = ("name", "authentication_status", "username", "email", "roles", "logout")


class Rules(Validator):  # type: ignore[misc]  # untyped library
    """Our rules for names and passwords are core's; the controller's own would refuse most scripts."""

    def validate_username(self, username: str) -> bool:
        return bool(check_username(username))

    def validate_name(self, name: str) -> bool:
        return True

    def validate_email(self, email: str) -> bool:
        return True

    def validate_password(self, password: str) -> bool:
        return True


class _Record(dict[str, Any]):
    """One user as the controller sees one; a new password is written through."""

    def __init__(self, users: SqlUsers, username: str, password_hash: str) -> None:
        super().__init__(password=password_hash, roles=None, email="", first_name=username, last_name="")
        # The controller counts here too, and fails on a record without a count; ours is in the rows.
        super().__setitem__("failed_login_attempts", 0)
        self._users = users
        self._username = username

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if key == "password":
            self._users.replace(self._username, value)


class SqlUsers(MutableMapping[str, _Record]):
    """The mapping from username to record, read from and written to the database.

    With `held`, which is read once, every name has that hash: the one that is checked is then named to core,
    which refuses when it isn't the user's any more. A hash that no password matches stands in for a name that
    nobody has, so that signing in takes the same steps and the same time. `held` becomes what is written.
    """

    def __init__(self, accounts: Accounts, *, held: str | None = None, invite: str | None = None) -> None:
        self._accounts = accounts
        self.held = held
        self._invite = invite

    def __contains__(self, username: object) -> bool:
        return self.held is not None or self._accounts.password_hash(str(username)) is not None

    def __getitem__(self, username: str) -> _Record:
        found = self.held or self._accounts.password_hash(username)
        if found is None:
            raise KeyError(username)
        return _Record(self, username, found)

    def __setitem__(self, username: str, record: dict[str, Any]) -> None:
        name = record["first_name"]
        self._accounts.create_user(name, record["password"], invite=self._invite)
        self.held = record["password"]

    def replace(self, username: str, password_hash: str) -> None:
        """Set a new password in place of the one that was checked. Raises SignInFailed."""
        self._accounts.set_password_hash(username, password_hash, self.held or "")
        self.held = password_hash

    def __delitem__(self, username: str) -> None:
        raise errors.NotAllowed

    def __iter__(self) -> Iterator[str]:
        """Nothing: the controller would read every user to compare e-mail addresses we don't keep."""
        return iter(())

    def __len__(self) -> int:
        return 0


class Authenticator:
    """Sign-in, registration and password change by the controller, on rows; to be used in a `with` block.

    At its end what the controller left in the tab's state is dropped: who is signed in is the session row's
    to say.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in _STATE_KEYS:
            st.session_state.pop(key, None)

    def _controller(self, users: SqlUsers) -> AuthenticationController:
        controller = AuthenticationController({"usernames": {}}, validator=Rules(), auto_hash=False)
        controller.authentication_model.credentials = {"usernames": users}
        return controller

    def sign_in(self, username: str, password: str) -> str:
        """A ticket for the browser. Raises SignInFailed or SignInLocked."""
        name = fold_username(username)
        self._accounts.begin_attempt(name)
        decoy = _decoy_hash()
        held = self._accounts.password_hash(name) or decoy
        controller = self._controller(SqlUsers(self._accounts, held=held))
        try:
            if not (name and controller.login(name, prehash(password))):
                raise errors.SignInFailed
            ticket = self._accounts.issue_ticket(name, held)
        except errors.SignInFailed:
            self._accounts.attempt_failed(name)
            raise
        self._accounts.clear_attempts(name)
        return ticket

    def register(self, username: str, password: str, *, invite: str | None = None) -> str:
        """Make an account and return a ticket for the browser.

        Raises UsernameRejected, UsernameTaken, PasswordRejected, RegistrationClosed or InviteInvalid.
        """
        self._accounts.check_registration(invite)
        name = check_username(username)
        check_password(password, name)
        secret = prehash(password)
        users = SqlUsers(self._accounts, invite=invite)
        controller = self._controller(users)
        try:
            controller.register_user(username.strip(), "", "", name, secret, secret, "")
        except RegisterError as error:
            raise errors.UsernameTaken from error
        return self._accounts.issue_ticket(name, users.held or "")

    def change_password(self, username: str, current: str, new: str) -> str:
        """Set a new password, which ends every session, and return a ticket for this browser.

        Raises SignInFailed, SignInLocked or PasswordRejected.
        """
        check_password(new, username)
        if current == new:
            raise errors.PasswordRejected("The new password is the same as the current one.")
        self._accounts.begin_attempt(username)
        users = SqlUsers(self._accounts, held=self._accounts.password_hash(username))
        controller = self._controller(users)
        secret = prehash(new)
        try:
            controller.reset_password(username, prehash(current), secret, secret)
        except ResetError as error:
            raise errors.PasswordRejected(str(error)) from error
        except (CredentialsError, errors.SignInFailed) as error:
            self._accounts.attempt_failed(username, details="the current password, to change it")
            raise errors.SignInFailed(
                "The current password is wrong.",
                suggestions=(
                    "Type it again: upper and lower case count.",
                    "Ask for a link to set a new one.",
                ),
            ) from error
        self._accounts.clear_attempts(username)
        return self._accounts.issue_ticket(username, users.held or "")

    def reset_password(self, token: str, new: str) -> str:
        """Set a new password by an administrator's link, which ends every session, and return a ticket.

        Raises ResetInvalid or PasswordRejected.
        """
        check_password(new, self._accounts.check_reset(token))
        password_hash = Hasher.hash(prehash(new))
        return self._accounts.issue_ticket(self._accounts.use_reset(token, password_hash), password_hash)


@st.cache_resource(show_spinner=False)
def _decoy_hash() -> str:
    return str(Hasher.hash(prehash("no password has this text")))
