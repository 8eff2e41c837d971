"""Several machines in small: what `deploy/` describes, as plain processes, loses nothing when one dies."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import yaml
from playwright.sync_api import Browser, Response, expect

from core.database.models import Image, Job, JobState, Usage, User
from core.errors import BodyTooLarge
from core.settings import Settings
from core.web.guard import MAX_BODY_BYTES
from tests.support.app_process import ROOT
from tests.support.browser_user import Visitor
from tests.support.deployment import PLACES, STICKY, Proxy, Topology, session_of, topology
from tests.support.generation import a_job, a_user
from tests.support.openai_service import Behaviour, OpenAIService
from tests.support.servers import S3Server
from tests.support.waiting import until

SECRETS = {"POSTGRES_PASSWORD": "p", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
COLOURS = ("red", "white", "grey", "black", "silver", "blue")
# Longer than it takes to see that a replica is gone.
LONG_CALL = 20


# One worker runs these in `make proof`, so that everything is started once.
pytestmark = pytest.mark.xdist_group("deployment")


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server, shared_service: OpenAIService
) -> Iterator[Topology]:
    with topology(tmp_path_factory.mktemp("topology"), s3, shared_service) as everything:
        yield everything


@pytest.fixture
def whole(running: Topology) -> Topology:
    """Both replicas at work, and a service that has forgotten the test before."""
    running.service.reset()
    return running


# People at the proxy


def _jobs(whole: Topology, username: str) -> list[Job]:
    (owner,) = (user.id for user in whole.rows(User) if user.username == username)
    return [job for job in whole.rows(Job) if job.owner_id == owner]


def test_a_browser_stays_on_one_replica_and_its_pictures_come_from_any(
    browser: Browser, whole: Topology
) -> None:
    failed: list[str] = []

    def note(answer: Response) -> None:
        # The frontend only looks where its server is; a preview is gone when its picture has come.
        if answer.status >= 400 and not re.search("/_stcore/|/partials/", answer.url):
            failed.append(f"{answer.status} {answer.url}")

    with (
        Visitor(browser, whole.proxy.base_url, fresh=True) as person,
        Visitor(browser, whole.proxy.base_url, fresh=True) as stranger,
    ):
        person.context.on("response", note)
        person.enter(whole.ticket("stayer"))
        place = whole.place_of(person)
        person.describe(name="Juniper", base_prompt="reading under a tree")
        assert "Juniper" in person.enhance()
        person.generate()
        person.finished()
        person.go("Gallery")
        expect(person.tiles).to_have_count(1)
        person.page.reload()
        expect(person.tiles).to_have_count(1)
        source = person.tiles.first.get_by_role("img").get_attribute("src") or ""
        elsewhere = f"{whole.other(place).base_url}{urlsplit(source).path}"
        picture = httpx2.get(elsewhere, headers=session_of(person), trust_env=False)
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/webp")

        other = "two" if place == "one" else "one"
        stranger.context.add_cookies([{"name": STICKY, "value": other, "url": whole.proxy.base_url}])
        stranger.enter(whole.ticket("stranger"))
        refused = httpx2.get(elsewhere, headers=session_of(stranger), trust_env=False)
        assert refused.status_code == 404
        stranger.go("Gallery")
        expect(stranger.page.get_by_role("button", name="stranger", exact=True)).to_be_visible()
        expect(stranger.tiles).to_have_count(0)
        assert (whole.place_of(person), whole.place_of(stranger)) == (place, other)
    assert failed == []


def test_being_looked_at_every_second_leaves_no_line_in_the_log(whole: Topology) -> None:
    until(lambda: whole.proxy.gives_to("one") and whole.proxy.gives_to("two"))
    for app in whole.replicas.values():
        assert not re.search("/readyz|/healthz", app.output)


@pytest.mark.proof
def test_when_a_replica_dies_the_other_goes_on_with_its_work_and_its_people(
    browser: Browser, whole: Topology
) -> None:
    with Visitor(browser, whole.proxy.base_url, fresh=True) as person:
        person.enter(whole.ticket("survivor"))
        place = whole.place_of(person)
        whole.service.script(*[Behaviour(latency=LONG_CALL / 2)] * PLACES)
        person.type("Prompt", f"a {{{'|'.join(COLOURS)}}} fox")
        person.page.get_by_text("Many prompts").click()
        person.generate(PLACES)
        until(lambda: len(whole.asked()) == PLACES)
        before = whole.alive()
        whole.replicas[place].kill()
        (gone,) = until(lambda: before - whole.alive())
        lost = {job.id for job in _jobs(whole, "survivor") if job.process == gone}
        assert lost, "the replica had nothing under way"

        until(lambda: all(job.finished_at for job in _jobs(whole, "survivor")), seconds=90)
        ended = {job.id: job.state for job in _jobs(whole, "survivor")}
        assert ended == {job: JobState.UNKNOWN if job in lost else JobState.DONE for job in ended}
        assert Counter(whole.asked()) == Counter(f"a {colour} fox" for colour in COLOURS)
        made = len(ended) - len(lost)

        # The page has come back by itself, at the other replica.
        expect(person.page.get_by_text("outcome unknown").first).to_be_visible()
        person.finished(made)
        person.expect_signed_in("survivor")
        person.go("Gallery")
        expect(person.tiles).to_have_count(made)
        person.page.reload()
        person.expect_signed_in("survivor")
        expect(person.tiles).to_have_count(made)
        assert whole.place_of(person) != place

    whole.replicas[place].start()
    until(lambda: len(whole.alive()) == 2)
    until(lambda: whole.proxy.gives_to(place))


@pytest.mark.proof
def test_a_replica_that_is_stopped_finishes_its_images_and_hands_its_people_on(
    browser: Browser, whole: Topology
) -> None:
    with Visitor(browser, whole.proxy.base_url, fresh=True) as person:
        person.enter(whole.ticket("mover"))
        place = whole.place_of(person)
        whole.service.script(*[Behaviour(latency=4)] * PLACES)
        person.type("Prompt", "a {red|white|grey} fox")
        person.page.get_by_text("Many prompts").click()
        person.generate(PLACES)
        until(lambda: len(whole.asked()) == PLACES)
        before = whole.alive()
        whole.replicas[place].stop()
        (stopped,) = before - whole.alive()
        assert stopped in {job.process for job in _jobs(whole, "mover")}
        person.finished(PLACES)
        person.expect_signed_in("mover")
        assert whole.place_of(person) != place
        assert {job.state for job in _jobs(whole, "mover")} == {JobState.DONE}
        assert len(whole.asked()) == PLACES
    whole.replicas[place].start()
    until(lambda: whole.proxy.gives_to(place))


@pytest.mark.proof
def test_a_restart_of_the_database_takes_no_job_from_a_living_replica(whole: Topology) -> None:
    whole.service.script(Behaviour(latency=LONG_CALL), always=True)
    with whole.database() as database:
        user = a_user(database)
        mine = [a_job(database, user, JobState.QUEUED).id for _ in range(PLACES)]
    until(lambda: len(whole.asked()) == PLACES)
    before = whole.alive()
    whole.postgres.restart()
    until(lambda: whole.alive() == before)
    until(lambda: all(job.finished_at for job in _jobs(whole, user.username)), seconds=90)
    assert {job.state for job in _jobs(whole, user.username)} == {JobState.DONE}
    assert len(whole.asked()) == PLACES
    assert sorted(image.job_id for image in whole.rows(Image) if image.owner_id == user.id) == sorted(mine)
    assert {call.outcome for call in whole.rows(Usage) if call.user_id == user.id} == {"ok"}


@pytest.mark.proof
def test_without_a_database_no_replica_is_ready_and_each_answers_in_its_own_words(whole: Topology) -> None:
    token = {"Authorization": "Bearer atl_made-up"}
    whole.postgres.stop("fast")
    try:
        until(lambda: _code_at(f"{whole.proxy.base_url}/readyz").startswith("IMG-DATA-"))
        assert _code_at(f"{whole.proxy.base_url}/api/images", token).startswith("IMG-DATA-")
        assert httpx2.get(whole.proxy.base_url, trust_env=False).is_success
    finally:
        whole.postgres.start()
    until(lambda: whole.proxy.gives_to("one") and whole.proxy.gives_to("two"))
    until(lambda: len(whole.alive()) == 2)
    assert httpx2.get(f"{whole.proxy.base_url}/readyz", trust_env=False).json() == {"status": "ready"}


def _code_at(url: str, headers: dict[str, str] | None = None) -> str:
    """The code of the error at the address, or "" if there is none, or the answer isn't Atelier's."""
    answer = httpx2.get(url, headers=headers, trust_env=False, timeout=30)
    is_error = answer.is_error and "json" in answer.headers["content-type"]
    return str(answer.json()["error"]["code"]) if is_error else ""


@dataclass
class StandIn:
    """A server in a replica's place, which says its name. `/api/wait` is answered once `go_on` is set."""

    name: str
    ready: bool = True
    waiting: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def status(self, path: str) -> int:
        if path == "/api/wait":
            self.waiting.set()
            self.go_on.wait(60)
        return 503 if path == "/readyz" and not self.ready else 200


@contextmanager
def listening(replica: StandIn) -> Iterator[str]:
    """The address at which the stand-in answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(replica.status(self.path))
            self.send_header("Content-Length", str(len(replica.name)))
            self.end_headers()
            self.wfile.write(replica.name.encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        yield address


@pytest.mark.proof
def test_the_proxy_takes_a_replica_out_that_is_not_ready_and_brings_it_back(tmp_path: Path) -> None:
    one, two = StandIn("one"), StandIn("two")
    with (
        listening(one) as first,
        listening(two) as second,
        Proxy(tmp_path, first, second) as proxy,
        ThreadPoolExecutor() as threads,
    ):

        def ask(path: str = "/gallery") -> str:
            cookie = {"Cookie": f"{STICKY}=one"}
            return httpx2.get(proxy.base_url + path, headers=cookie, trust_env=False, timeout=60).text

        assert ask() == ask("/api/images") == "one"
        waiting = threads.submit(ask, "/api/wait")
        assert one.waiting.wait(60)
        one.ready = False
        until(lambda: ask() == ask("/api/images") == "two")
        # What was on its way is not cut off.
        one.go_on.set()
        assert waiting.result() == "one"
        two.ready = False
        until(lambda: ask() == ask("/api/images") == "one")
        one.ready = two.ready = True
        until(lambda: ask("/readyz") == "one")
        two.ready = False
        assert ask() == ask("/api/images") == "one"


# What the proxy lets through


def test_what_is_too_large_is_refused_in_the_apps_own_words(whole: Topology) -> None:
    answer = httpx2.post(
        f"{whole.proxy.base_url}/auth/session", content=b"x" * (MAX_BODY_BYTES + 1), trust_env=False
    )
    assert answer.json()["error"]["code"] == BodyTooLarge.code
    # Only announced: the proxy answers without waiting for it.
    asked = HTTPConnection("127.0.0.1", whole.proxy.port, timeout=30)
    with closing(asked):
        asked.putrequest("POST", "/auth/session")
        asked.putheader("Content-Length", str(2**31))
        asked.endheaders()
        assert asked.getresponse().status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@contextmanager
def echo() -> Iterator[str]:
    """The address of a server that answers with the headers it was sent."""

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(self.headers.items()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Echo) as address:
        yield address


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server with this handler."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("public_https", "scheme"), [("true", "https"), ("false", "http")])
def test_the_proxy_believes_nothing_that_a_client_says_of_itself(
    tmp_path: Path, public_https: str, scheme: str
) -> None:
    said = {
        "Host": "atelier.example",
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "gopher",
        "Forwarded": "for=6.6.6.6",
        "Cookie": f"{STICKY}=one; atelier=token",
    }
    with echo() as address, Proxy(tmp_path, address, address, public_https=public_https) as proxy:
        first = httpx2.get(proxy.base_url, trust_env=False)
        seen = [(name.lower(), text) for name, text in httpx2.get(proxy.base_url, headers=said).json()]
    headers = dict(seen)
    assert len(headers) == len(seen)  # each once
    assert headers["host"] == headers["x-forwarded-host"] == "atelier.example"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == scheme
    assert "forwarded" not in headers
    assert headers["cookie"] == "atelier=token"
    attributes = {part.strip().lower() for part in first.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= attributes
    assert ("secure" in attributes) == (scheme == "https")


@pytest.mark.parametrize(
    ("outer_proxy", "told"), [("127.0.0.1", "6.6.6.6, 127.0.0.1"), ("192.0.2.7", "127.0.0.1")]
)
def test_the_proxy_hands_on_what_the_one_before_it_says_and_no_other(
    tmp_path: Path, outer_proxy: str, told: str
) -> None:
    with echo() as address, Proxy(tmp_path, address, address, outer_proxy=outer_proxy) as proxy:
        seen = httpx2.get(proxy.base_url, headers={"X-Forwarded-For": "6.6.6.6"}).json()
    assert ", ".join(text for name, text in seen if name.lower() == "x-forwarded-for") == told


# The containers' files


def compose(*, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`docker compose config` of the file in `deploy/`, whichever of its two programs is here."""
    plugin = (
        subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if shutil.which("docker")
        else None
    )
    program = ["docker", "compose"] if plugin and plugin.returncode == 0 else ["docker-compose"]
    assert shutil.which(program[0]), "No Docker Compose for the tests: apt-get install docker-compose"
    return subprocess.run(
        [*program, "--file", str(ROOT / "deploy" / "compose.yaml"), "config"],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
    )


def services(**env: str) -> dict[str, Any]:
    told = compose(env=SECRETS | env)
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = yaml.safe_load(told.stdout)["services"]
    return found


def test_compose_accepts_the_file_and_only_the_proxy_can_be_reached() -> None:
    found = services()
    assert set(found) == {"app-1", "app-2", "proxy", "database", "s3"}
    # Compose prints a volume as an object or as "name:path:mode", depending on its version.
    disks = [str(found[name].pop("volumes")) for name in ("app-1", "app-2")]
    assert found["app-1"] == found["app-2"]
    assert [re.findall(r"spool-\d|/data", disk) for disk in disks] == [
        ["spool-1", "/data"],
        ["spool-2", "/data"],
    ]
    assert [name for name, service in found.items() if service.get("ports")] == ["proxy"]
    assert "127.0.0.1" in str(found["proxy"]["ports"])
    assert found["app-1"]["environment"]["DATABASE_URL"].startswith("postgresql://")


def test_the_replicas_believe_the_proxy_and_the_proxy_what_is_said_to_stand_before_it() -> None:
    found = services()
    (address,) = (network["ipv4_address"] for network in found["proxy"]["networks"].values())
    assert found["app-1"]["environment"]["TRUSTED_PROXIES"] == address
    assert found["proxy"]["environment"]["OUTER_PROXY"] == ""
    assert services(OUTER_PROXY="192.0.2.7")["proxy"]["environment"]["OUTER_PROXY"] == "192.0.2.7"


def test_every_setting_reaches_the_containers() -> None:
    fixed = {"HOST", "PORT", "DATA_DIR", "SPOOL_DIR", "DATABASE_URL"}
    names = {name.upper() for name in Settings.model_fields} - fixed
    given = {name: f"value-of-{name}" for name in names}
    environment = services(**given)["app-2"]["environment"]
    assert {name: environment.get(name) for name in names} == given


@pytest.mark.parametrize("name", SECRETS)
def test_compose_asks_for_every_secret(name: str) -> None:
    told = compose(env={**SECRETS, name: ""})
    assert told.returncode != 0
    assert "set it in deploy/.env" in told.stderr


def test_the_images_health_check_tells_a_living_replica_from_a_dead_one(whole: Topology) -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    (found,) = re.findall(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", text, re.MULTILINE)
    command = json.loads(found)
    for port, healthy in ((whole.replicas["one"].port, True), (whole.proxy.port + 1, False)):
        asked = subprocess.run(
            command, env={**os.environ, "PORT": str(port)}, stderr=subprocess.DEVNULL, check=False
        )
        assert (asked.returncode == 0) == healthy, shlex.join(command)
