"""Enhancements: a request to enhance, the end of a run, the calls to the service and the money spent."""

from __future__ import annotations

from dataclasses import replace

from core.accounts.audit_log import AuditLog
from core.database.database import Database
from core.database.models import User
from core.enhancement.runs import EnhancementRun, Enhancements
from core.prompts.request import PromptRequest
from core.settings import load_settings
from core.usage.budget_limits import BudgetKind
from core.usage.budgets import Budgets
from tests.support.clock import Clock
from tests.support.openai_service import OpenAIService
from tests.support.waiting import until

FOX = PromptRequest(name="Juniper", traits=("red fox",), base_prompt="reading a book")
SECRET = b"installation"
DRAFT = "one draft"


def wait_for_end(enhancements: Enhancements, user: User) -> EnhancementRun:
    """The user's run once it has ended."""

    def ended() -> EnhancementRun | None:
        run = enhancements.current(user.id)
        return run if run and not run.is_live else None

    return until(ended)


def enhanced_text(
    enhancements: Enhancements, user: User, request: PromptRequest = FOX, *, rewrite: bool = False
) -> str:
    """Start a run and return its text."""
    enhancements.start(user.id, request, DRAFT, rewrite=rewrite)
    return wait_for_end(enhancements, user).text


def count_calls(service: OpenAIService) -> int:
    return len(service.requests_to("/chat/completions"))


def request_number(number: int) -> PromptRequest:
    """A request for each number, all of the same length and price."""
    return replace(FOX, base_prompt=f"reading {number:03}")


def ignore(_chunk: str) -> None:
    pass


def spent_today(database: Database, user: User, clock: Clock) -> int:
    """The micro-USD that count towards the user's daily budget."""
    budgets = Budgets(database, load_settings(), AuditLog(database, clock=clock), clock=clock)
    statement = budgets.statement(user.id)
    return next(line.used for line in statement.lines if line.kind is BudgetKind.DAY_MICROS)
