"""The dashboard and the alerts of examples/operating, and the counts that they read."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from mdp_lite.editor import Editor
from mdp_lite.serve.app import ROUTES
from mdp_lite.serve.metrics import KINDS, REASONS, REFUSALS
from mdp_lite.serve.settings import Limits
from support.inverting import picture
from support.places import ROOT
from support.promql import find_groups, find_selectors
from support.serving import KEY, RunningService, file_of, open_client, run_service

FILE = file_of(picture())
OPERATING = ROOT / "examples" / "operating"
OWN = {"job", "instance"}  # labels that Prometheus adds
VALUES = {  # of labels, all that there may be
    "kind": set(KINDS),
    "reason": {*REFUSALS, *REASONS},
    "finished": {"true", "false"},
    "route": {path for _, path, *_ in ROUTES} | {"none"},
}
Labels = dict[str, set[str]]


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor, keys=(KEY,), limits=Limits(prompt=20)) as one:
        yield one


@pytest.fixture(scope="module")
def client(at: RunningService) -> Iterator[httpx2.Client]:
    with open_client(at) as one:
        one.headers["Authorization"] = f"Bearer {KEY}"
        yield one


@pytest.fixture(scope="module")
def exported(client: httpx2.Client) -> Labels:
    """The names of all samples, each with its labels, once every kind of sample is there."""
    data = {"prompt": "a", "num_inference_steps": "1"}
    assert client.post("/v1/images/edits", data=data, files={"image": FILE}).status_code == 200
    found: Labels = defaultdict(set)
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for one in family.samples:
            found[one.name] |= set(one.labels)
    return found


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads((OPERATING / "grafana" / "mdp-lite.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((OPERATING / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def find_unknown(expression: str, exported: Labels) -> list[str]:
    """What an expression reads that the service does not export."""
    wrong: list[str] = []
    selectors = [one for one in find_selectors(expression) if one.metric != "up"]
    for metric, matchers in selectors:
        there = exported.get(metric, set()) | OWN
        wrong += [] if metric in exported else [metric]
        wrong += [f"{metric}: {label}" for label, _ in matchers if label not in there]
        for label, value in matchers:
            choices = set(value.split("|")) if label in VALUES else set()
            wrong += [f"{label}={one}" for one in choices - VALUES.get(label, set())]
    for label in find_groups(expression):
        bare = [one.metric for one in selectors if label not in exported.get(one.metric, set())]
        wrong += [f"{metric} by {label}" for metric in bare if label not in OWN]
    return wrong


def list_expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_each_panel_reads_what_is_exported(dashboard: dict[str, Any], exported: Labels) -> None:
    expressions = list_expressions(dashboard)
    assert len(expressions) > 20
    for one in expressions:
        assert find_selectors(one) and find_unknown(one, exported) == [], one
        assert one.count("(") == one.count(")") and one.count("{") == one.count("}")


def test_each_alert_reads_what_is_exported(rules: list[dict[str, Any]], exported: Labels) -> None:
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    for rule in rules:
        assert find_unknown(rule["expr"], exported) == [], rule["alert"]
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket")
        assert re.fullmatch(r"\d+[sm]", rule.get("for", "0s"))


def test_what_is_not_exported_is_found(exported: Labels) -> None:
    good = 'sum by (status) (rate(mdp_lite_requests_total{route="none"}[5m])) > 0.5'
    assert find_unknown(good, exported) == []
    for old, new in (
        ("requests_total", "requests"), ("by (status)", "by (kind)"), ("route=", "path="),
        ('"none"', '"/v2"'), ("0.5", "mdp_lite_nothing"),
    ):  # fmt: skip
        assert find_unknown(good.replace(old, new), exported), new


def test_the_dashboard_shows_every_metric(dashboard: dict[str, Any], exported: Labels) -> None:
    shown = {one.metric for text in list_expressions(dashboard) for one in find_selectors(text)}
    base = {re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in shown}
    all_names = {re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in exported}
    assert all_names - base == {"mdp_lite_waiting_work"}  # in FLOPs: waiting_rows shows the same


def test_the_dashboard_is_one_that_grafana_loads(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert dashboard["uid"] and dashboard["title"] and dashboard["schemaVersion"] >= 36
    assert "id" not in dashboard  # it is the database's, and another's would be overwritten
    assert len({one["id"] for one in panels}) == len({one["title"] for one in panels})
    cells: list[set[tuple[int, int]]] = []
    for panel in panels:
        assert panel["type"] in ("stat", "timeseries") and panel["datasource"]["uid"]
        at = panel["gridPos"]
        assert 0 <= at["x"] and at["x"] + at["w"] <= 24  # columns of Grafana's grid
        cells.append({
            (x, y) for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        })  # fmt: skip
        names = [target["refId"] for target in panel["targets"]]
        assert len(set(names)) == len(names)
    assert not any(a & b for a, b in combinations(cells, 2))
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) - {"__rate_interval"}
    assert used == variables == {"datasource", "job", "instance"}


def count_requests(client: httpx2.Client) -> dict[tuple[str, str], float]:
    """Answered requests by route and status."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    (found,) = (one for one in families if one.name == "mdp_lite_requests")
    return {
        (one.labels["route"], one.labels["status"]): one.value
        for one in found.samples
        if one.name.endswith("_total")
    }


def test_requests_add_up(client: httpx2.Client) -> None:
    before, body = count_requests(client), {"prompt": "a", "num_inference_steps": 1}
    sent = {
        ("/v1/images/generations", "200"): {"json": body},
        ("/v1/images/generations", "400"): {"json": body | {"prompt": "a" * 21}},
        ("/v1/sources/{source}", "404"): {},
        ("none", "404"): {},
        ("none", "401"): {"headers": {"Authorization": "Bearer wrong"}},
    }
    for (route, status), more in sent.items():
        path = "/v1/nothing" if route == "none" else route
        answer = client.request("POST" if "json" in more else "GET", path, **more)
        assert answer.status_code == int(status)
    grown = {k: n - before.get(k, 0) for k, n in count_requests(client).items()}
    want = dict.fromkeys(sent, 1) | {("/metrics", "200"): 1}  # the one that read before
    assert {k: n for k, n in grown.items() if n} == want


def test_seconds_of_requests_are_measured(client: httpx2.Client, exported: Labels) -> None:
    assert exported["mdp_lite_request_seconds_count"] == {"route"}
    text = client.get("/metrics").text
    found = {
        one.labels["route"]: one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == "mdp_lite_request_seconds_count"
    }
    by_route: dict[str, float] = defaultdict(float)
    for (route, _), number in count_requests(client).items():
        by_route[route] += number
    by_route["/metrics"] -= 1
    assert found == by_route
