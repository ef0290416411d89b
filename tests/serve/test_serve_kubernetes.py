"""examples/operating/kubernetes.yaml: its command line runs, its probes and names are right."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.serve.command import LAST, NOTICE
from support.places import ROOT
from support.serving import KEY, WAIT, run_service

FILE = ROOT / "examples" / "operating" / "kubernetes.yaml"
PROBES = {
    "startupProbe": "/health/ready", "readinessProbe": "/health/ready",
    "livenessProbe": "/health/live",
}  # fmt: skip
Part = dict[str, Any]


@pytest.fixture(scope="module")
def parts() -> dict[str, Part]:
    found = list(yaml.safe_load_all(FILE.read_text("utf-8")))
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


@pytest.fixture(scope="module")
def pod(parts: dict[str, Part]) -> Part:
    return parts["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: Part) -> Part:
    (one,) = pod["containers"]
    return one


@pytest.fixture
def facts(container: Part, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Part:
    """What a dry run of its command line says, with the bundled model."""
    docker = (ROOT / "Dockerfile").read_text("utf-8")
    found = re.search(r"^ENTRYPOINT (\[.*\])$", docker, re.M)
    assert found
    _, *words = json.loads(found[1]) + container["args"]
    (tmp_path / "api_keys").write_text(f"{KEY}\n")
    places = {"/run/keys": str(tmp_path), "/data": str(tmp_path)}
    for old, new in places.items():
        words = [word.replace(old, new) for word in words]
    assert main([*words, "--port", "0", "--device", "cpu", "--dry-run", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_its_memory_is_above_the_dry_run_s_figure(container: Part, facts: Part) -> None:
    sizes = [container["resources"][one]["memory"] for one in ("requests", "limits")]
    assert all(re.fullmatch(r"\d+Gi", one) for one in sizes) and len(set(sizes)) == 1
    assert int(sizes[0].removesuffix("Gi")) * 2**30 > facts["most_bytes"]


def test_it_stops_after_the_time_to_drain(pod: Part, facts: Part) -> None:
    assert pod["terminationGracePeriodSeconds"] > facts["drain"] + NOTICE + LAST


def test_it_needs_a_key_and_listens_to_others(facts: Part) -> None:
    assert (facts["host"], facts["keys"], facts["open"]) == ("0.0.0.0", 1, False)


def test_its_probes_are_answered_without_a_key(container: Part, editor: Editor) -> None:
    (port,) = container["ports"]
    with run_service(editor, keys=(KEY,)) as at:
        for name, path in PROBES.items():
            asked = container[name]["httpGet"]
            assert asked == {"path": path, "port": port["name"]}
            assert httpx2.get(at.url + asked["path"], timeout=WAIT).status_code == 200
        assert httpx2.get(f"{at.url}/v1/models", timeout=WAIT).status_code == 401


def test_its_names_meet(parts: dict[str, Part], pod: Part, container: Part) -> None:
    spec, service = parts["Deployment"]["spec"], parts["Service"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert labels == spec["selector"]["matchLabels"] == service["selector"]
    (port,) = container["ports"]
    assert [one["targetPort"] for one in service["ports"]] == [port["name"]]
    docker = (ROOT / "Dockerfile").read_text("utf-8")
    assert f"EXPOSE {port['containerPort']}\n" in docker
    assert f"USER {pod['securityContext']['runAsUser']}\n" in docker
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounted.keys() == {one["name"] for one in pod["volumes"]}
    claims = [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"]
              if "persistentVolumeClaim" in one]  # fmt: skip
    assert claims == [parts["PersistentVolumeClaim"]["metadata"]["name"]]
    for option in ("--key-file", "--cache"):
        path = container["args"][container["args"].index(option) + 1]
        assert any(path.startswith(one) for one in mounted.values())
    assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}
