"""Starting the app: it prints its address, protects its data, and says what to fix when it can't start."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

import app as app_module
from core import bootstrap, errors
from core.database.installation_key import KEY_BYTES
from core.prompts.recipe import GenerateParams, Recipe
from core.settings import load_settings
from core.studio import Studio
from tests.support.app_process import ROOT, START_COMMAND, AppProcess, free_port, healthy
from tests.support.openai_service import OpenAIService, openai_service
from tests.support.service_client import PIP
from tests.support.waiting import until

EXIT_CANT_START = app_module.EXIT_CANT_START


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Restore the file mode mask: building a studio may make new files private."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Studio]]:
    """`build(**settings)`: a studio in this process, closed afterwards."""
    built: list[Studio] = []

    def make(**settings: object) -> Studio:
        studio = bootstrap.build(load_settings(**{"data_dir": tmp_path / "data"} | settings))
        built.append(studio)
        return studio

    yield make
    for studio in built:
        studio.close()


def page_of(app: AppProcess) -> str:
    answer = httpx2.get(app.base_url, trust_env=False)
    assert answer.status_code == 200
    return answer.text


# The process


def test_the_app_serves_and_says_where_it_is(tmp_path: Path) -> None:
    with AppProcess(tmp_path, data_dir=tmp_path / "elsewhere", command=START_COMMAND) as app:
        assert "<html" in page_of(app)
        assert f"http://localhost:{app.port}" in app.output
        assert "offline engine" in app.output
        assert (tmp_path / "elsewhere" / "atelier.db").exists()

        second = AppProcess(tmp_path, data_dir=tmp_path / "elsewhere")
        second.spawn()
        assert second.wait() == EXIT_CANT_START
        assert "Another Atelier is already using" in second.output
        assert "Traceback" not in second.output
        assert healthy(app.base_url)

        code = app.stop()
        assert code in (0, -15)
        assert "Traceback" not in app.output
        assert not (tmp_path / "elsewhere" / "atelier.db-wal").exists()  # closed, not cut off

        app.start()
        assert "<html" in page_of(app)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            ("-m", "streamlit", "run", str(ROOT / "app.py"), "--server.port", "{port}"), id="streamlit run"
        ),
        pytest.param(("-m", "uvicorn", "--app-dir", str(ROOT), "app:app", "--port", "{port}"), id="uvicorn"),
    ],
)
def test_other_servers_start_the_app_too(tmp_path: Path, command: tuple[str, ...]) -> None:
    with AppProcess(tmp_path, command=(sys.executable, *command)) as app:
        assert "<html" in page_of(app)
        answer = httpx2.get(f"{app.base_url}/api/images/x", trust_env=False)
        assert answer.json()["error"]["code"] == "IMG-AUTH-001"


def test_a_failed_start_under_another_server_says_what_to_fix(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "app:app", "--port", "{port}")
    process = AppProcess(tmp_path, command=command, env={"CONCURRENCY": "many"})
    process.spawn()
    assert process.wait() == EXIT_CANT_START
    assert "CONCURRENCY" in process.output
    assert "Traceback" not in process.output


def test_the_app_starts_without_a_reachable_service(tmp_path: Path) -> None:
    closed = f"http://somebody:hunter2@127.0.0.1:{free_port()}/v1"
    with AppProcess(tmp_path, env={"OPENAI_BASE_URL": closed}) as app:
        assert healthy(app.base_url)
        assert "<html" in page_of(app)
        assert "hunter2" not in app.output


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is set up on Linux only")
def test_the_host_is_honoured(tmp_path: Path) -> None:
    app = AppProcess(tmp_path, env={"HOST": "127.0.0.2"})
    app.base_url = f"http://127.0.0.2:{app.port}"
    with app:
        assert healthy(app.base_url)
        assert not healthy(f"http://127.0.0.1:{app.port}")


def _unwritable(folder: Path) -> dict[str, str]:
    if os.geteuid() == 0:  # whom no mode keeps out
        return {"DATA_DIR": "/sys/atelier"}
    folder.mkdir(mode=0o500)
    return {"DATA_DIR": str(folder)}


def _damaged(name: str) -> Callable[[Path], dict[str, str]]:
    def damage(folder: Path) -> dict[str, str]:
        folder.mkdir()
        (folder / name).write_bytes(b"this was a file once " * 500)
        return {"DATA_DIR": str(folder)}

    return damage


def _of_the_future(folder: Path) -> dict[str, str]:
    folder.mkdir()
    with closing(sqlite3.connect(folder / "atelier.db")) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    return {"DATA_DIR": str(folder)}


FAULTS: dict[str, tuple[Callable[[Path], dict[str, str]], str, str]] = {
    "read-only folder": (_unwritable, "IMG-STORE-READ-001", "set DATA_DIR"),
    "a file in its place": (
        lambda folder: {"DATA_DIR": __file__},
        "IMG-SET-001",
        f"{__file__} is a file where a folder is needed. Move the file aside",
    ),
    "a file on the way": (
        lambda folder: {"DATA_DIR": f"{__file__}/data/atelier"},
        "IMG-SET-001",
        f"{__file__} is a file where a folder is needed. Move the file aside",
    ),
    "damaged database": (_damaged("atelier.db"), "IMG-DATA-DAMAGED-001", "restore the last backup"),
    "newer database": (_of_the_future, "IMG-DATA-VERSION-001", "another version"),
    "damaged key": (_damaged("secret.key"), "IMG-SET-001", "secret.key"),
    "bad setting": (lambda _: {"SESSION_DAYS": "often"}, "IMG-SET-001", "SESSION_DAYS"),
    "dead bucket": (
        lambda _: {
            "STORAGE_URL": "s3://pictures",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
            "AWS_ACCESS_KEY_ID": "AKIA",
            "AWS_SECRET_ACCESS_KEY": "hunter2",
        },
        "IMG-STORE-CONN-001",
        "The bucket s3://pictures at http://127.0.0.1:",
    ),
    "half a bucket": (
        lambda _: {"STORAGE_URL": "s3://pictures", "AWS_SECRET_ACCESS_KEY": "hunter2"},
        "IMG-SET-001",
        "AWS_ACCESS_KEY_ID",
    ),
    "bad key": (lambda _: {"OPENAI_API_KEY": "sk-hunter2 hunter2"}, "IMG-SET-KEY-001", "OPENAI_API_KEY"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_start_says_what_to_fix(tmp_path: Path, fault: str) -> None:
    prepare, code, words = FAULTS[fault]
    process = AppProcess(tmp_path, env=prepare(tmp_path / "data"))
    process.spawn()
    assert process.wait() == EXIT_CANT_START
    assert code in process.output
    assert words in process.output
    assert "\n  - " in process.output
    assert "Traceback" not in process.output
    assert "hunter2" not in process.output
    assert "Atelier is at" not in process.output


def test_a_wrong_proxy_keeps_the_app_from_starting(
    build: Callable[..., Studio], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(errors.SettingsError, match="ALL_PROXY"):
        build(openai_base_url="http://127.0.0.1:9/v1")
    assert build().settings.offline


def test_a_service_may_enhance_text_while_the_offline_engine_draws(
    build: Callable[..., Studio], service: OpenAIService
) -> None:
    studio = build(text_base_url=service.base_url, text_model="a-local-model")
    text = studio.client.chat.enhance(PIP, user_tag="t")
    assert list(text)
    image = studio.client.images.generate(GenerateParams("a fox", "offline-painter"), user_tag="t")
    assert (text.result.model, image.model) == ("a-local-model", "offline-painter")
    (seen,) = service.requests
    assert seen.path == "/v1/chat/completions"
    assert image.price_micros == 0


def test_a_port_in_use_is_reported_before_the_banner(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = AppProcess(tmp_path, port=taken.getsockname()[1])
        process.spawn()
        assert process.wait() == EXIT_CANT_START
    assert "PORT" in process.output
    assert "Atelier is at" not in process.output
    assert not process.data_dir.exists()


def test_small_packets_are_sent_without_delay() -> None:
    listener = app_module.open_listener(load_settings(port=free_port()))
    with listener, socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_start_loads_only_what_it_needs(tmp_path: Path) -> None:
    """Neither the image code nor the API, nor alembic if the tables are up to date."""
    look = (
        "import sys, app, core.bootstrap as root; root.studio(); "
        "print(*{'openai', 'numpy', 'fastapi', 'alembic'} & set(sys.modules))"
    )
    start = [sys.executable, "-c", look]
    env = os.environ | {"PYTHONPATH": str(ROOT), "DATA_DIR": str(tmp_path / "data")}
    said = [
        subprocess.run(start, env=env, capture_output=True, text=True, check=True).stdout for _ in range(2)
    ]
    assert said[0].split() == ["alembic"]
    assert said[1].split() == []


# The composition root


def test_the_data_folder_is_locked_while_the_studio_lives(build: Callable[..., Studio]) -> None:
    first = build()
    with pytest.raises(errors.SettingsError, match="Another Atelier"):
        build()
    first.close()
    build()


def test_a_failed_start_releases_the_data_folder(build: Callable[..., Studio], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    key = tmp_path / "data" / "secret.key"
    key.write_bytes(b"short")
    with pytest.raises(errors.SettingsError, match=r"secret\.key"):
        build()
    key.unlink()
    build()


def test_the_installations_key_is_made_once(build: Callable[..., Studio]) -> None:
    keys = set()
    for _ in range(2):
        studio = build()
        keys.add(studio.jobs.worker.secret)
        studio.close()
    (key,) = keys
    assert len(key) == KEY_BYTES


def test_a_key_file_of_an_older_version_is_imported(build: Callable[..., Studio], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret.key").write_bytes(b"k" * KEY_BYTES)
    assert build().jobs.worker.secret == b"k" * KEY_BYTES


def test_a_new_data_folder_is_private_to_its_owner(build: Callable[..., Studio], tmp_path: Path) -> None:
    build(data_dir=tmp_path / "new" / "data").storage.put("images/x/0", b"picture")
    assert _open_to_others(tmp_path / "new" / "data") == []


def test_an_existing_data_folder_keeps_its_mode(build: Callable[..., Studio], tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o750)
    build(data_dir=folder).storage.put("images/x/0", b"picture")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert folder / "files" / "images" / "x" / "0" in _open_to_others(folder)


def _open_to_others(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077]


@pytest.mark.parametrize("name", ["atelier.db", "secret.key", "atelier.lock"])
def test_a_folder_in_place_of_a_file_is_named(
    build: Callable[..., Studio], tmp_path: Path, name: str
) -> None:
    (tmp_path / "data" / name).mkdir(parents=True)
    with pytest.raises(errors.SettingsError, match=rf"{name} is a folder where a file is needed\. Move"):
        build()


def test_a_file_in_place_of_the_image_folder_is_named(build: Callable[..., Studio], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "files").write_bytes(b"in the way")
    with pytest.raises(errors.SettingsError, match=r"files is a file where a folder is needed\. Move"):
        build()


def test_closing_waits_for_running_images_as_long_as_the_setting_says(build: Callable[..., Studio]) -> None:
    with openai_service() as service:
        service.script("silent")
        studio = build(openai_base_url=service.base_url, shutdown_grace=0, partial_images=0)
        user = studio.registration.create_user("ada", "!")
        studio.jobs.submit(user.id, [Recipe(prompt="a fox", model="gpt-image-2.6-flare")])
        until(service.requests.copy)
        before = time.monotonic()
        studio.close()
        assert time.monotonic() - before < 15
    # The call runs on until the process ends.
    until(lambda: studio.jobs.recent(user.id)[0].image_ids)


def test_a_data_folder_in_an_unknown_users_home_is_a_settings_error(build: Callable[..., Studio]) -> None:
    with pytest.raises(errors.SettingsError, match="DATA_DIR"):
        build(data_dir=Path("~no-such-user-here/atelier"))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, errors.StorageFull),
        (errno.EDQUOT, errors.StorageFull),
        (errno.EROFS, errors.StorageReadOnly),
        (errno.EACCES, errors.StorageReadOnly),
    ],
)
def test_a_disk_that_refuses_writes_is_named(
    build: Callable[..., Studio],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: type[errors.ImageError],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(expected, match="data"):
        build()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_the_banner_gives_an_address_that_a_browser_can_open(host: str) -> None:
    assert "http://localhost:9000" in app_module.banner(load_settings(host=host, port=9000))


def test_the_banner_names_the_service_without_its_password() -> None:
    settings = load_settings(
        openai_base_url="https://me:hunter2@models.example/v1?code=hunter2", text_api_key="sk-hunter2",
        text_base_url="http://localhost:11434/v1", text_model="a-local-model",
    )  # fmt: skip
    said = app_module.banner(settings)
    assert "https://models.example/v1," in said
    assert "Prompts: http://localhost:11434/v1, a-local-model" in said
    assert "hunter2" not in said
    assert "OpenAI" in app_module.banner(load_settings(openai_api_key="sk-abc"))
