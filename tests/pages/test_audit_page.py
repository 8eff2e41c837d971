"""The Audit page, without a browser."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from core import errors
from core.accounts.audit_log import PAGE_SIZE as AUDIT_PAGE
from core.accounts.audit_log import Action
from core.studio import Studio
from pages.ui.formatting import escape_markdown
from tests.support.page_elements import OpenPage, create_token, find
from tests.support.sign_in import ticket_of


def audit_rows(test: AppTest) -> list[str]:
    """The rows of the audit log's table."""
    (table,) = [text.value for text in test.markdown if text.value.startswith("| When")]
    return list(table.splitlines())[2:]


def test_the_administrator_filters_the_audit_log(open_page: OpenPage, studio: Studio) -> None:
    open_page("chief")
    create_token(open_page, "<b>*|=1")
    test = open_page("chief", "audit.py")
    assert r"\<b\>\*\|\=1" in audit_rows(test)[1]
    find(test.selectbox, "Action").set_value(Action.TOKEN_MADE).run()
    assert len(audit_rows(test)) == 1
    find(test.selectbox, "Person").set_value("chief").run()
    assert [info.value for info in test.info] == ["No matching entries."]
    find(test.selectbox, "Action").set_value("").run()
    assert all("chief" in line for line in audit_rows(test))


def test_the_audit_log_has_pages(open_page: OpenPage, studio: Studio) -> None:
    open_page("chief")
    for _ in range(AUDIT_PAGE):
        studio.sessions.redeem_ticket(ticket_of(studio, "chief"))
    test = open_page("chief", "audit.py")
    first = audit_rows(test)
    assert len(first) == AUDIT_PAGE
    find(test.button, "Older").click().run()
    older = audit_rows(test)
    assert "Registration" in older[-1]
    find(test.button, "Newer").click().run()
    assert audit_rows(test) == first


def test_a_member_cannot_open_the_audit_log(open_page: OpenPage) -> None:
    open_page("chief")
    test = open_page("guest", "account.py")
    assert "Audit" not in [text.value for text in test.header]
    test.switch_page("audit.py").run()
    assert [error.value for error in test.error] == [f"**{escape_markdown(errors.NotAllowed.message)}**"]
    assert not [text.value for text in test.markdown if text.value.startswith("| When")]
