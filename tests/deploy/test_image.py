"""The image: what its file says, and that a gateway installed and started by it serves, locked down, and stops."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import Image, unavailable
from tests.deploy.dockerfile import ROOT, stages
from tests.services import free_port

MASTER_KEY = "sk-0123456789abcdef"
UID = 10001

LOCKED_DOWN = """
data=$1 user=$2 python=$3 closed=$4 aside=$5
shift 5
if [[ $closed ]]; then
    # The interpreter is in a home that only its owner may enter: let it be all that is there.
    mount --bind "$python" "$aside" && mount -t tmpfs -o mode=0755 none "$closed" || exit 71
    mkdir -p "$python" && mount --move "$aside" "$python" || exit 71
fi
mount --bind "$data" "$data" || exit 71
for place in /tmp /var/tmp /dev/shm /run; do
    ! mountpoint -q "$place" || mount -o remount,bind,ro "$place" || exit 71
done
mount -o remount,bind,ro / || exit 71
exec setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
"""
"""Only the data folder can be written, by a user without a name and without rights."""


class Container:
    """A running gateway, as `docker run --read-only --cap-drop ALL --volume …:/data` would run it."""

    def __init__(self, image: Image, process: subprocess.Popen[str], environment: dict[str, str]) -> None:
        self.image = image
        self.process = process
        self.environment = environment
        self.url = f"http://127.0.0.1:{environment['QUAYMASTER_SERVER__PORT']}"

    def wait_until_running(self) -> str:
        """What it says until it runs."""
        assert self.process.stdout is not None
        said = ""
        too_late = threading.Timer(30, self.process.kill)
        too_late.start()
        try:
            while "RUNNING on" not in said:
                line = self.process.stdout.readline()
                assert line, f"the gateway did not start: {said}"
                said += line
        finally:
            too_late.cancel()
        return said

    def healthcheck(self) -> int:
        """The exit code of the image's HEALTHCHECK."""
        command = self.image.final.command("HEALTHCHECK")
        return subprocess.run(command, check=False, env=self.environment, capture_output=True, timeout=30).returncode

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        request = urllib.request.Request(f"{self.url}{path}", body, method=method)
        request.add_header("Authorization", f"Bearer {MASTER_KEY}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()


@contextmanager
def running(image: Image, **environment: str) -> Iterator[Container]:
    """Start what ENTRYPOINT and CMD say."""
    environment = image.environment() | {"QUAYMASTER_SERVER__PORT": str(free_port())} | environment
    user, _, group = image.final.one("USER").partition(":")
    assert user == group == str(UID)
    command = [*image.final.command("ENTRYPOINT"), *image.final.command("CMD")]
    python = Path(sys.base_prefix)
    closed = next((str(path) for path in reversed(python.parents) if not path.stat().st_mode & 0o001), "")
    locked_down = ["unshare", "--mount", "--propagation=private", "bash", "-c", LOCKED_DOWN, "bash"]
    process = subprocess.Popen(
        [*locked_down, image.moved("/data"), user, python, closed, image.root / "aside", *command],
        cwd=image.workdir,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Container(image, process, environment)
    finally:
        process.kill()
        process.communicate()
        if process.returncode == 71:
            unavailable("this machine lets nobody mount")


def multipart(fields: dict[str, str], file: bytes) -> tuple[bytes, str]:
    """A form with a file first and fields after it, and its content type."""
    disposition = b'Content-Disposition: form-data; name="%b"'
    parts = [disposition % b"file" + b'; filename="large.bin"\r\n\r\n' + file]
    parts += [disposition % name.encode() + b"\r\n\r\n" + value.encode() for name, value in fields.items()]
    body = b"".join(b"--boundary\r\n" + part + b"\r\n" for part in parts) + b"--boundary--\r\n"
    return body, "multipart/form-data; boundary=boundary"


def test_both_stages_start_from_one_pinned_slim_base() -> None:
    build, final = stages()
    assert build.base == final.base
    base = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-\w+", final.base)
    assert base, "name the base to the patch, so that a build can be repeated"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {base[1]}" in project["classifiers"]


def test_only_what_the_image_needs_is_sent_to_the_build() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert patterns[0] == "*"
    allowed = {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")}
    copied = {
        source.removeprefix("./")
        for stage in stages()
        for arguments in stage.all("COPY")
        if "--from" not in arguments
        for source in shlex.split(arguments)[:-1]
    }
    assert allowed == copied
    assert all((ROOT / path).exists() for path in copied)


def test_the_final_stage_is_what_an_orchestrator_expects() -> None:
    _, final = stages()
    assert final.one("STOPSIGNAL") == "SIGTERM"
    assert final.one("EXPOSE") == "4000"
    assert final.one("VOLUME") == "/data"
    environment = final.environment({"PATH": ""})
    assert environment["QUAYMASTER_DATA_DIR"] == environment["TMPDIR"] == "/data"
    assert "org.opencontainers.image.licenses" in final.one("LABEL")
    assert not any("KEY" in name or "PASSWORD" in name for name in environment), "no secret is baked in"


def test_it_installs_the_project_and_leaves_the_tools_behind(image: Image) -> None:
    (packages,) = image.root.glob("opt/quaymaster/lib/python3*/site-packages")
    assert (packages / "app" / "gateway" / "pipeline.py").exists()
    assert (packages / "app" / "storage" / "migrations" / "versions").is_dir()
    assert (packages / "quaymaster" / "py.typed").exists()
    for tool in ("pip", "hatchling", "editables"):
        assert not (packages / tool).exists()
    assert list((packages / "app").glob("__pycache__/*.pyc")), "compiled ahead: the running gateway cannot write"


def test_it_refuses_to_start_where_everybody_could_reach_it_without_a_key(image: Image) -> None:
    with running(image) as container:
        said, _ = container.process.communicate(timeout=30)
        assert container.process.returncode == 2
        assert "QUAYMASTER_MASTER_KEY" in said
    assert not list((image.root / "data").iterdir())


def test_it_serves_with_only_the_data_folder_to_write_to_and_stops_cleanly(image: Image) -> None:
    # Two deployments, so that an upload whose last part says where it goes has to wait on disk.
    with running(image, QUAYMASTER_MASTER_KEY=MASTER_KEY, OPENAI_API_KEY="sk-not-used") as container:
        said = container.wait_until_running()
        assert MASTER_KEY not in said
        assert container.healthcheck() == 0
        assert container.request("GET", "/health/readiness")

        made = container.request(
            "POST",
            "/v1/containers",
            b'{"name": "image", "custom_llm_provider": "local"}',
            content_type="application/json",
        )
        file = os.urandom(3 * 2**20)
        body, content_type = multipart({"custom_llm_provider": "local"}, file)
        files = f"/v1/containers/{json.loads(made)['id']}/files"
        uploaded = json.loads(container.request("POST", files, body, content_type=content_type))
        assert container.request("GET", f"{files}/{uploaded['id']}/content", custom_llm_provider="local") == file
        key = json.loads(container.request("POST", "/key/generate", b"{}", content_type="application/json"))
        assert key["key"].startswith("sk-qm-")

        with pytest.raises(urllib.error.HTTPError, match="401"):
            container.request("GET", "/v1/containers", authorization="Bearer sk-wrong")

        container.process.send_signal(signal.SIGTERM)
        container.process.communicate(timeout=30)
        assert container.process.returncode == 0
        assert container.healthcheck() != 0

    data = image.root / "data"
    written = [data, *data.rglob("*")]
    assert len(written) > 5
    assert {path.stat().st_uid for path in written} == {UID}
    assert not any(path.stat().st_mode & 0o077 for path in written if path.parent == data and path.is_dir())
    assert not list(Path(data, "spool").iterdir())
