"""Words that would rather run are shown as words, on every page, in every dialog and in every download."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta

import pytest
from PIL import Image as Pillow
from playwright.sync_api import Browser, Dialog, Locator, Page, expect

from core import bootstrap
from core.common.clock import utc_now
from core.common.ids import new_id
from core.database.models import Image, Job, JobState, User
from core.enhancement.drafts import DraftState, PromptVersion
from core.errors.stored import StoredError
from core.generation.job_queue import LONGEST_PAUSE
from core.prompts.recipe import Recipe
from core.settings import load_settings
from core.studio import Studio
from core.web.cookies import LEGACY_COOKIE
from pages.ui.error_panel import HELP
from tests.support.app_process import AppProcess
from tests.support.browser_user import Visitor
from tests.support.hostile_text import CORPUS, MARK, one_line
from tests.support.openai_service import Behaviour, ErrorRow, OpenAIService, openai_service
from tests.support.sign_in import ticket_of
from tests.support.waiting import until

KEY = "sk-test-0123456789abcdef"
OWNER, CHIEF = "person", "chief"
RECIPE = Recipe(prompt="a fox", model="offline-painter", size="256x256")
# So many strings stand in one text: each page is loaded for many of them.
CHUNK = 25
CHUNKS = [CORPUS[start : start + CHUNK] for start in range(0, len(CORPUS), CHUNK)]
# What fits where a title is cut short.
SHORT = [text for text in CORPUS if len(one_line(text)) <= 40]
NAME = CORPUS[5][:64]


@dataclass
class Watch:
    """Somebody at a browser in which nothing of the corpus may do anything."""

    person: Visitor
    opened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.person.context.on("dialog", self._note_dialog)
        self.person.context.on("page", self._note_page)

    def _note_dialog(self, dialog: Dialog) -> None:
        self.opened.append(dialog.message)
        dialog.dismiss()

    def _note_page(self, page: Page) -> None:
        self.opened.append(page.url)

    def quiet(self) -> None:
        """Nothing ran, nothing was opened, nothing was fetched from elsewhere or had to be stopped."""
        assert self.person.page.evaluate(f"window.{MARK} ?? null") is None
        assert self.opened == self.person.failures == self.person.foreign == []

    def shows(self, place: Locator, texts: Sequence[str]) -> None:
        """Each of `texts` stands there, letter by letter."""
        expect(place).to_contain_text(one_line(texts[-1]))
        self.person.settle()
        shown = one_line(place.text_content() or "")
        assert [text for text in texts if one_line(text) not in shown] == []
        self.quiet()


@dataclass(frozen=True, slots=True)
class House:
    """The running app, and by which token each of its two people is signed in."""

    app: AppProcess
    tokens: dict[str, str]

    def enter(self, person: Visitor, name: str) -> None:
        cookie = {"name": LEGACY_COOKIE, "value": self.tokens[name], "url": self.app.base_url}
        person.context.add_cookies([cookie])
        person.open()


@pytest.fixture(scope="module")
def service() -> Iterator[OpenAIService]:
    with openai_service() as running:
        yield running


@pytest.fixture(scope="module")
def house(service: OpenAIService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("corpus")
    studio = bootstrap.build(load_settings(_env_file=None, data_dir=folder / "data"))
    tokens = _fill(studio)
    studio.close()
    env = {"OPENAI_BASE_URL": service.base_url, "OPENAI_API_KEY": KEY, "IMAGE_MODEL": "dall-e-3"}
    with AppProcess(folder, env=env) as app:
        yield House(app, tokens)
        assert "Traceback" not in app.output


def _fill(studio: Studio) -> dict[str, str]:
    """Lay everything down that people and services could have written."""
    tokens = {}
    for name in (CHIEF, OWNER):
        studio.registration.create_user(name, "!")
        tokens[name] = studio.sessions.redeem_ticket(ticket_of(studio, name))
    owner = studio.sessions.authenticate(tokens[OWNER])
    assert owner
    with studio.database.write() as session:
        row = session.get(User, owner.user_id)
        assert row
        row.display_name = NAME
        for number, text in enumerate(CORPUS):
            name = f"{number:03} {text[:60]}"
            session.add(User(username=name, display_name=name, password_hash="!"))
    _pictures(studio, owner.user_id)
    _jobs(studio, owner.user_id)
    versions = tuple(
        PromptVersion(text, "edited", (utc_now() + timedelta(seconds=number)).isoformat())
        for number, text in enumerate(SHORT[:20])
    )
    draft = DraftState(name=CORPUS[0], traits=CORPUS[:CHUNK], versions=versions, prompt="a fox")
    studio.drafts.save(owner.user_id, draft, before=DraftState())
    return tokens


def _pictures(studio: Studio, owner_id: str) -> None:
    """A picture named by each string, and one for each chunk that has its strings in all its texts."""
    studio.jobs.submit(owner_id, [RECIPE])
    (first,) = until(lambda: studio.jobs.recent(owner_id)[0].image_ids)
    studio.jobs.dismiss(owner_id, studio.jobs.recent(owner_id)[0].id)
    model = studio.gallery.get(owner_id, first)
    data, small = studio.gallery.original(owner_id, first), studio.gallery.thumbnail(owner_id, first)
    texts = ("prompt", "base_prompt", "enhanced_prompt", "sent_prompt", "revised_prompt")
    rows = [{"name": text, **dict.fromkeys(texts, text)} for text in CORPUS]
    for chunk in CHUNKS:
        told = {"name": " ".join(chunk), "traits": list(chunk), "style": chunk[0][:64], "model": chunk[1]}
        rows.append({**dict.fromkeys(texts, "\n".join(chunk)), **told, "quality": chunk[2][:16]})
    with studio.database.write() as session:
        for number, row in enumerate(rows):
            made = model.model_dump() | row | {"id": new_id(), "file_key": f"{model.file_key}-{number}"}
            made["created_at"] = model.created_at + timedelta(seconds=number)
            studio.storage.put(made["file_key"], data)
            studio.storage.put(f"thumbnails/{made['id']}.webp", small)
            session.add(Image(**made))
    studio.gallery.trash(owner_id, first)


def _jobs(studio: Studio, owner_id: str) -> None:
    """Jobs whose errors a service has worded, and some that wait after such an error."""
    waits = {"state": JobState.QUEUED, "due_at": utc_now() + LONGEST_PAUSE, "batch_id": "waits"}
    jobs = [
        _job(
            owner_id, SHORT[number], chunk, state=JobState.FAILED, batch_id=str(number), finished_at=utc_now()
        )
        for number, chunk in enumerate(CHUNKS)
    ]
    jobs += [_job(owner_id, name, CHUNKS[0], **waits) for name in SHORT[-3:]]
    with studio.database.write() as session:
        session.add_all(jobs)


def _job(owner_id: str, name: str, told: Sequence[str], **fields: object) -> Job:
    error = StoredError("IMG-GEN-FAIL-001", " ".join(told), tuple(told), "\n".join(told))
    request = replace(RECIPE, name=name, prompt=name).to_json()
    return Job(owner_id=owner_id, request=request, error=asdict(error), **fields)


def test_what_is_stored_stays_words(browser: Browser, house: House) -> None:
    with Visitor(browser, house.app.base_url, height=1800, fresh=True) as person:
        watch = Watch(person)
        house.enter(person, OWNER)
        _create(watch)
        _account(watch)
        _gallery(watch)
        _dialogs(watch)


def _create(watch: Watch) -> None:
    page = watch.person.page
    expect(page.get_by_text("Latest images")).to_be_visible()
    main = page.get_by_test_id("stMain")
    page.locator("summary", has_text=re.compile("more images? (failed|cancelled)")).click()
    watch.shows(main, [*CORPUS, *SHORT[-3:]])
    for trait in CORPUS[:CHUNK]:
        expect(page.get_by_role("button", name=f"Remove {trait}", exact=True)).to_be_visible()
    assert watch.person.field("Name").input_value() == CORPUS[0]
    page.get_by_role("button", name=re.compile("^History")).click()
    watch.shows(page.get_by_test_id("stPopoverBody"), [text for text in SHORT[:20] if text != "a fox"])
    page.keyboard.press("Escape")
    page.get_by_role("button", name="3 waiting").click()
    watch.shows(page.get_by_test_id("stPopoverBody"), SHORT[-3:])
    page.keyboard.press("Escape")


def _account(watch: Watch) -> None:
    watch.person.go("Account")
    watch.shows(watch.person.page.get_by_test_id("stMain"), [NAME, f"Signed in as {NAME}, member."])


def _gallery(watch: Watch) -> None:
    page = watch.person.page
    watch.person.go("Gallery")
    expect(watch.person.tiles.first).to_be_visible()
    captions: list[str] = []
    while True:
        watch.person.settle()
        shown = page.locator(".tile .caption").all_text_contents()
        captions += map(one_line, shown)
        watch.quiet()
        older = page.get_by_role("button", name="Older")
        if not older.is_enabled():
            break
        older.click()
        expect(page.locator(".tile .caption").first).not_to_have_text(shown[0])
    assert [text for text in CORPUS if one_line(text) not in captions] == []


def _dialogs(watch: Watch) -> None:
    person, page = watch.person, watch.person.page
    person.open("/gallery")
    for place, chunk in enumerate(reversed(CHUNKS)):
        dialog = person.open_tile(place)
        expect(dialog.get_by_role("heading")).to_have_text(one_line(" ".join(chunk)))
        others = (
            "Base prompt",
            "Enhanced prompt",
            "Prompt sent to the model",
            "Prompt as revised by the service",
        )
        for label in others:
            dialog.get_by_text(label, exact=True).click()
        expect(dialog.get_by_test_id("stCode")).to_have_count(1 + len(others))
        watch.shows(dialog, [*chunk, chunk[0][:64], chunk[1]])
        for code in dialog.get_by_test_id("stCode").all():
            watch.shows(code, chunk)
        _download(person, dialog, chunk)
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)


def _download(person: Visitor, dialog: Locator, chunk: Sequence[str]) -> None:
    """The file has a name that no system minds, and the prompt in it as it is."""
    source = dialog.get_by_role("img").first.get_attribute("src") or ""
    answer = person.context.request.get(f"{source}/download?prompt=true")
    name = answer.headers["content-disposition"]
    plain, encoded = (rf"[{signs}]+-[0-9a-f]{{8}}-with-prompt\.png" for signs in (r"\w-", r"\w%-"))
    assert re.fullmatch(rf"attachment; filename=\"{plain}\"; filename\*=UTF-8''{encoded}", name, re.ASCII)
    known = person.context.request.get(f"{source}/metadata").json()
    assert (known["prompt"], known["traits"]) == ("\n".join(chunk), list(chunk))
    with Pillow.open(io.BytesIO(answer.body())) as picture:
        assert picture.info["prompt"] == "\n".join(chunk)


def test_the_administrator_reads_names_as_names(browser: Browser, house: House) -> None:
    with Visitor(browser, house.app.base_url, height=1800, fresh=True) as person:
        watch = Watch(person)
        house.enter(person, CHIEF)
        person.go("Account")
        names = [f"{number:03} {text[:60]}" for number, text in enumerate(CORPUS)]
        expect(person.page.get_by_text(re.compile(f"^{len(CORPUS) - 1:03} "))).to_be_visible()
        watch.shows(person.page.get_by_test_id("stMain"), names)


def test_what_the_service_answers_stays_words(browser: Browser, house: House, service: OpenAIService) -> None:
    everything = "\n".join(CORPUS)
    with Visitor(browser, house.app.base_url, height=1800, fresh=True) as person:
        watch, page = Watch(person), person.page
        person.enter(house.app.ticket("listener"))
        person.describe(name="Pip", base_prompt="on a kite")
        service.script(Behaviour(text=everything))
        assert person.enhance().startswith(everything.strip())
        watch.quiet()
        service.script(ErrorRow(400, {"message": everything, "type": CORPUS[0], "code": CORPUS[1]}))
        person.type("Prompt", "a refused fox")
        person.generate()
        page.get_by_text(HELP).first.click()
        expect(page.get_by_text(re.compile("^Code IMG-"))).to_be_visible()
        watch.shows(page.get_by_test_id("stMain"), [CORPUS[0], CORPUS[1]])
        page.get_by_role("button", name="Dismiss").click()
        person.type("Prompt", everything)
        person.generate()
        person.finished()
        person.go("Gallery")
        dialog = person.open_tile()
        dialog.get_by_text("Prompt as revised by the service", exact=True).click()
        expect(dialog.get_by_test_id("stCode").last).to_contain_text(one_line(CORPUS[-1]))
        watch.shows(dialog, CORPUS)
