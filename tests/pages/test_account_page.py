"""The Account page, without a browser."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from core import errors
from core.database.models import Scope
from core.prompts.recipe import Recipe
from core.studio import Studio
from pages.ui.formatting import escape_markdown
from tests.support.page_elements import (
    WITH_BUDGETS,
    OpenPage,
    captions,
    create_token,
    find,
    labels,
    metrics,
    user_id_of,
)


def test_only_the_administrator_sees_other_people(open_page: OpenPage) -> None:
    assert "People" in [text.value for text in open_page("chief", "account.py").header]
    assert "People" not in [text.value for text in open_page("guest", "account.py").header]


@WITH_BUDGETS
def test_the_account_page_shows_the_used_and_remaining_budget(open_page: OpenPage, studio: Studio) -> None:
    open_page("chief")
    owner = user_id_of(studio, "chief")
    studio.jobs.stop(grace_seconds=10)
    studio.jobs.submit(owner, [Recipe(prompt="fox", model="offline-painter")])
    test = open_page("chief", "account.py")
    shown = metrics(test)
    assert (shown["Images today"], shown["Spent this month"]) == ("1", r"\$0\.00")
    assert {r"of 2, 1 left", r"of \$5\.00, \$5\.00 left", "no limit"} <= set(captions(test))


def test_the_account_page_shows_budgets_without_a_limit(open_page: OpenPage) -> None:
    assert captions(open_page("chief", "account.py")).count("no limit") == 4


@pytest.mark.parametrize(
    "settings",
    [pytest.param({"openai_base_url": "http://127.0.0.1:9/v1", "budget_day_usd": "1"}, id="money")],
    indirect=True,
)
def test_the_account_page_explains_the_amount_set_aside_for_unknown_prices(open_page: OpenPage) -> None:
    assert any("likely to cost is set aside" in words for words in captions(open_page("chief", "account.py")))


@WITH_BUDGETS
def test_the_administrator_changes_another_users_budget(open_page: OpenPage, studio: Studio) -> None:
    open_page("chief")
    open_page("guest")
    guest = user_id_of(studio, "guest")
    test = open_page("chief", "account.py")
    [opener] = [button for button in test.button if button.key == f"budget-{guest}"]
    opener.click().run()
    [kind] = [box for box in test.selectbox if box.label == "Images per day"]
    assert kind.options == ["Default (2)", "No limit", "Custom"]
    [money] = [box for box in test.selectbox if box.label == "Money per day"]
    assert money.options[0] == "Default (no limit)"


def test_a_member_cannot_change_budgets(open_page: OpenPage) -> None:
    open_page("chief")
    assert "Budget" not in labels(open_page("guest", "account.py").button)


def shown_tokens(test: AppTest) -> list[str]:
    return [code.value for code in test.code if code.value.startswith("atl_")]


def test_a_token_is_shown_once_and_listed(open_page: OpenPage, studio: Studio) -> None:
    test = create_token(open_page, "my *script*")
    (token,) = shown_tokens(test)
    found = studio.api_tokens.authenticate(token)
    assert found is not None
    assert (found.username, found.scopes) == ("ada", set(Scope))
    test.run()
    assert shown_tokens(test) == [token]
    find(test.button, "I have copied it").click().run()
    assert shown_tokens(test) == []
    assert shown_tokens(open_page("ada", "account.py")) == []
    assert r"**my \*script\***" in [text.value for text in test.markdown]
    assert any("never expires · last used" in caption.value for caption in test.caption)


def test_a_token_is_revoked_on_the_page(open_page: OpenPage, studio: Studio) -> None:
    test = create_token(open_page, "script")
    (token,) = shown_tokens(test)
    find(test.button, "Revoke it").click().run()
    assert studio.api_tokens.authenticate(token) is None
    assert "Revoke it" not in labels(test.button)


def test_a_token_without_a_name_is_refused(open_page: OpenPage) -> None:
    test = create_token(open_page, " ")
    assert shown_tokens(test) == []
    assert any(errors.TokenOptionsRejected.code in caption.value for caption in test.caption)


def test_the_next_user_of_a_tab_does_not_see_token_names(open_page: OpenPage) -> None:
    create_token(open_page, "adas script")
    texts = [text.value for text in open_page("grace", "account.py").markdown]
    assert not any("adas script" in words for words in texts)


def test_the_administrator_sees_the_counts_of_failures(open_page: OpenPage, studio: Studio) -> None:
    assert "Nothing failed in the last 30 days." in captions(open_page("chief", "account.py"))
    for _ in range(3):
        studio.error_counts.count(errors.QuotaSpent())
    [table] = open_page("chief", "account.py").table
    assert table.value.to_dict("records") == [
        {
            "Code": escape_markdown(errors.QuotaSpent.code),
            "What people saw": escape_markdown(str(errors.QuotaSpent.message)),
            "Last 24 hours": "3",
            "Last 30 days": "3",
        }
    ]
    assert "What failed" not in [text.value for text in open_page("guest", "account.py").header]


@pytest.mark.parametrize("settings", [pytest.param({"registration": "invite"}, id="invite")], indirect=True)
def test_an_invitation_has_a_name_and_says_when_only_this_computer_can_open_it(
    open_page: OpenPage, address: str
) -> None:
    open_page("chief")
    test = open_page("chief", "account.py")
    find(test.text_input, "Who is it for?").set_value("Grace *H*")
    find(test.button, "Create invitation link").click().run()
    assert any(code.value.startswith(f"{address}/?invite=") for code in test.code)
    assert any("only works on this computer" in words for words in captions(test))
    assert any(r"Grace \*H\*" in text.value for text in test.markdown)
    assert r"Withdraw invitation for Grace \*H\*" in labels(test.button)


@pytest.mark.parametrize("settings", [pytest.param({"registration": "invite"}, id="invite")], indirect=True)
def test_an_invitation_to_a_public_address_needs_no_note(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.ui.links.origin", lambda: "https://atelier.example")
    test = open_page("chief", "account.py")
    find(test.button, "Create invitation link").click().run()
    assert any(code.value.startswith("https://atelier.example/?invite=") for code in test.code)
    assert not any("only works on this computer" in words for words in captions(test))
