"""What `deploy/` describes, as plain processes on loopback: proxy, two replicas, PostgreSQL, S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from sqlmodel import select

from core.database.database import Database
from core.database.process_lock import ProcessLock
from tests.support.app_process import ROOT, AppProcess, Ticket, free_port, ticket_at
from tests.support.browser_user import Visitor
from tests.support.openai_service import OpenAIService
from tests.support.proxy_process import ProxyProcess, find_program
from tests.support.servers import PostgresServer, S3Server, postgres_server

STICKY = "atelier-replica"
PLACES = 3


class Proxy(ProxyProcess):
    """HAProxy with the file from `deploy/` before servers of these addresses, which it calls one and two."""

    def __init__(
        self, folder: Path, *servers: str, public_https: str = "false", outer_proxy: str = ""
    ) -> None:
        self.port = free_port()
        one, two = servers
        listen = f"127.0.0.1:{self.port}"
        env = {"LISTEN": listen, "REPLICA_1": one, "REPLICA_2": two, "PUBLIC_HTTPS": public_https}
        env["OUTER_PROXY"] = outer_proxy
        command = [find_program("haproxy"), "-db", "-f", str(ROOT / "deploy" / "haproxy.cfg")]
        super().__init__(command, f"http://{listen}", folder / f"proxy-{self.port}.txt", env)

    def gives_to(self, name: str) -> bool:
        """Whether a browser that was on the server `name` is given to it now."""
        answer = httpx2.get(
            f"{self.base_url}/_stcore/health", headers={"Cookie": f"{STICKY}={name}"}, trust_env=False
        )
        return answer.is_success and STICKY not in answer.headers.get("set-cookie", "")


@dataclass(frozen=True, slots=True)
class Topology:
    """The running processes; `replicas` by the names that the proxy has for them."""

    postgres: PostgresServer
    database_url: str
    service: OpenAIService
    replicas: dict[str, AppProcess]
    proxy: Proxy

    def place_of(self, person: Visitor) -> str:
        """The name of the replica that a browser is kept on."""
        (sticky,) = (each for each in person.context.cookies() if each.get("name") == STICKY)
        return str(sticky.get("value"))

    def ticket(self, username: str) -> Ticket:
        """As AppProcess.ticket."""
        return ticket_at(self.database_url, username)

    def other(self, name: str) -> AppProcess:
        return next(app for place, app in self.replicas.items() if place != name)

    def rows(self, table: Any) -> list[Any]:
        with self.database() as database, database.read() as session:
            return list(session.exec(select(table)))

    def alive(self) -> frozenset[int]:
        """The numbers of the replicas that hold their locks."""
        with self.database() as database:
            onlooker = ProcessLock(database, shared=True)
            return onlooker.live_processes() - {onlooker.process_number}

    def asked(self) -> list[str]:
        """The prompts that were paid for."""
        return [str(seen.body["prompt"]) for seen in self.service.requests_to("/images/generations")]

    @contextmanager
    def database(self) -> Iterator[Database]:
        database = Database(self.database_url)
        try:
            yield database
        finally:
            database.close()


def session_of(person: Visitor) -> dict[str, str]:
    """The header by which a browser is signed in, without the proxy's cookie."""
    cookies = {each["name"]: each["value"] for each in person.context.cookies() if each["name"] != STICKY}
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


@contextmanager
def topology(folder: Path, s3: S3Server, service: OpenAIService) -> Iterator[Topology]:
    """Everything started; both replicas at once, on a database without any table."""
    with ExitStack() as ending:
        # A server of our own: the tests restart it.
        postgres = ending.enter_context(postgres_server())
        url = ending.enter_context(postgres.fresh())
        env = {
            "DATABASE_URL": url,
            **s3.environment(ending.enter_context(s3.fresh())),
            "OPENAI_BASE_URL": service.base_url,
            "PARTIAL_IMAGES": "1",
            "CONCURRENCY": str(PLACES),
            "USER_CONCURRENCY": str(PLACES),
        }
        # A folder for each, as in the containers: only the spool may be written there.
        folders = {name: folder / f"data-{name}" for name in ("one", "two")}
        replicas = {name: AppProcess(folder, env=env, data_dir=data) for name, data in folders.items()}
        for app in replicas.values():
            ending.callback(app.kill)
        with ThreadPoolExecutor() as threads:
            list(threads.map(AppProcess.start, replicas.values()))
        addresses = [f"127.0.0.1:{app.port}" for app in replicas.values()]
        proxy = ending.enter_context(Proxy(folder, *addresses))
        yield Topology(postgres, url, service, replicas, proxy)
        assert {path.name for data in folders.values() for path in data.iterdir()} == {"spool"}
