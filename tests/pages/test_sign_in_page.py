"""The sign-in page and sessions, without a browser."""

from __future__ import annotations

from core import errors
from core.studio import Studio
from pages.ui.formatting import escape_markdown
from tests.support.page_elements import OpenPage, admin_of, captions, labels
from tests.support.sign_in import ticket_of


def test_a_visitor_sees_only_the_sign_in_page(open_page: OpenPage) -> None:
    test = open_page(None)
    assert "Username" in labels(test.text_input)
    assert not {"Base prompt", "Prompt", "Search", "Current password"} & {
        *labels(test.text_area),
        *labels(test.text_input),
    }


def test_the_first_visitor_reads_that_the_first_account_is_the_administrators(open_page: OpenPage) -> None:
    test = open_page(None)
    assert any("administrator" in info.value for info in test.info)


def test_a_user_without_access_is_signed_out_at_the_next_click(open_page: OpenPage, studio: Studio) -> None:
    admin = open_page("chief")
    assert admin
    test = open_page("guest")
    assert labels(test.multiselect) == ["Traits"]
    [guest] = [one for one in studio.users.list(admin_of(studio)) if one.username == "guest"]
    studio.users.withdraw(admin_of(studio), guest.user_id)
    test.run()
    assert "Username" in labels(test.text_input)
    assert not test.multiselect


def test_password_fields_are_marked_for_password_managers(open_page: OpenPage) -> None:
    known = {field.label: field.proto.autocomplete for field in open_page(None).text_input}
    assert set(known.values()) == {"username", "new-password"}
    open_page("ada")
    known = {field.label: field.proto.autocomplete for field in open_page(None).text_input}
    assert set(known.values()) == {"username", "new-password", "current-password"}


def test_an_invalid_link_is_counted_as_one_failure(open_page: OpenPage, studio: Studio) -> None:
    open_page("chief")
    test = open_page(None)
    test.query_params["reset"] = "no-such-link"
    for _ in range(3):
        test.run()
    assert any(errors.ResetInvalid.code in caption.value for caption in test.caption)
    admin = studio.sessions.authenticate(studio.sessions.redeem_ticket(ticket_of(studio, "chief")))
    assert admin
    assert [(error.code, error.total) for error in studio.error_counts.frequencies(admin)] == [
        (errors.ResetInvalid.code, 1)
    ]


def test_the_rule_for_usernames_stands_at_the_field(open_page: OpenPage) -> None:
    [rule] = errors.UsernameRejected.suggestions
    assert escape_markdown(rule) in captions(open_page(None))
