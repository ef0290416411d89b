"""The files of examples/operating and the Dockerfile: their command lines run, their names meet."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdp_lite.__main__ import main
from mdp_lite.serve.command import LAST, NOTICE
from support.places import ROOT
from support.serving import KEY

OPERATING = ROOT / "examples" / "operating"
UNIT = OPERATING / "mdp-lite.service"
PROGRAM = "/opt/mdp-lite/bin/mdp-lite"
REST = NOTICE + LAST  # seconds that a stop takes beside --drain


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((OPERATING / "compose.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def docker() -> str:
    return (ROOT / "Dockerfile").read_text("utf-8")


@pytest.fixture(scope="module")
def unit() -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text("utf-8"))
    assert parser["Install"]["WantedBy"] == "multi-user.target"
    return dict(parser["Service"])


def dry_run(
    words: list[str], places: dict[str, str], checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> dict[str, Any]:  # fmt: skip
    """What the command line says that it would do, with these places for those of its machine."""
    for old, new in places.items():
        words = [word.replace(old, new) for word in words]
    more = ["--model", str(checkpoint), "--port", "0", "--dry-run", "--json"]
    assert main([*words, *more]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "api_keys").write_text(f"{KEY}\n{KEY}2\n")
    return tmp_path / "api_keys"


def test_compose_s_command_line(
    compose: dict[str, Any], docker: str, checkpoint: Path, keys: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = re.search(r"^ENTRYPOINT (\[.*\])$", docker, re.M)
    assert found
    program, *words = json.loads(found[1]) + compose["services"]["mdp-lite"]["command"]
    places = {"/run/secrets/api_keys": str(keys), "/data": str(keys.parent)}
    facts = dry_run(words, places, checkpoint, capsys)
    assert program == "mdp-lite" and facts["host"] == "0.0.0.0" and facts["keys"] == 2
    grace = compose["services"]["mdp-lite"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > facts["drain"] + REST


def test_compose_s_names_meet(compose: dict[str, Any]) -> None:
    services, ports = compose["services"], {}
    for name, one in services.items():
        assert set(one.get("secrets", ())) <= set(compose["secrets"])
        for volume in one.get("volumes", ()):
            source, target, *_ = volume.split(":")
            assert source in compose["volumes"] or (OPERATING / source).is_file(), volume
            ports[name, target] = source
        pinned = one.get("image", "of/this:v1").rpartition(":")[2]
        assert pinned and pinned != "latest"
    prometheus = yaml.safe_load((OPERATING / "prometheus.yml").read_text("utf-8"))
    assert all(("prometheus", file) in ports for file in prometheus["rule_files"])
    (scraped,) = prometheus["scrape_configs"]
    (target,) = scraped["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in services and f"127.0.0.1:{port}:{port}" in services[host]["ports"]
    assert f'job="{scraped["job_name"]}"' in (OPERATING / "alerts.yml").read_text("utf-8")
    secret = Path(scraped["authorization"]["credentials_file"]).name
    assert secret in services["prometheus"]["secrets"]
    folder = OPERATING / "grafana" / "provisioning"
    source, provider = (
        yaml.safe_load((folder / name).read_text("utf-8"))
        for name in ("datasource.yml", "dashboard.yml")
    )
    assert source["datasources"][0]["url"].startswith("http://prometheus:")
    path = provider["providers"][0]["options"]["path"]
    assert ("grafana", f"{path}/mdp-lite.json") in ports


def test_the_unit_s_command_line(
    unit: dict[str, str], checkpoint: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = shlex.split(unit["ExecStart"])
    places = {"%d/api_keys": str(keys), "%S/mdp-lite": str(keys.parent)}
    facts = dry_run(words, places, checkpoint, capsys)
    assert program == PROGRAM and facts["host"] == "0.0.0.0" and facts["keys"] == 2
    assert int(unit["TimeoutStopSec"]) > facts["drain"] + REST
    assert facts["limits"]["connections"] + 512 <= int(unit["LimitNOFILE"])


def test_the_unit_may_do_little(unit: dict[str, str]) -> None:
    for name, value in {
        "DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict",
        "ProtectHome": "yes", "PrivateTmp": "yes", "StateDirectory": "mdp-lite",
        "KillSignal": "SIGTERM", "CapabilityBoundingSet": "", "RestrictNamespaces": "yes",
    }.items():  # fmt: skip
        assert unit[name] == value, name
    assert re.fullmatch(r"\d+G", unit["MemoryMax"])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text("utf-8").replace(PROGRAM, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and UNIT.name not in done.stderr, done.stderr
    copy.write_text(copy.read_text("utf-8").replace("DynamicUser=yes", "DynamicUsr=yes"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60
    )
    assert "DynamicUsr" in done.stderr  # so that what it says is read


def test_the_image_s_user_is_a_number_that_may_write_to_data(docker: str) -> None:
    (user,) = re.findall(r"^USER (\d+)$", docker, re.M)
    assert f"--uid {user}" in docker and "install -d -o service /data" in docker
    assert "STOPSIGNAL SIGTERM" in docker and "/health/live" in docker
