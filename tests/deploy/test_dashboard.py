"""Dashboard and alerts ask for what a worker exports, and a real Prometheus understands them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from stream_coupons.observability.metrics import Metrics

from .exporter import populate
from .server import Prometheus

METRIC = re.compile(r"\bstream_coupons_[a-z0-9_]+")
SELECTOR = re.compile(r"\b(?:stream_coupons[_:][a-z0-9_:]+|up)(?:\{[^}]*\})?")

# ALERTS is made by Prometheus itself and may be empty; everything else the exporter has.
MAY_BE_EMPTY = {'ALERTS{alertname=~"StreamCoupons.*", alertstate="firing"}'}


def resolved(expression: str) -> str:
    """The expression with Grafana's variables filled in."""
    return expression.replace("$__rate_interval", "1m").replace("$domain", ".*")


def drawn(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


@pytest.mark.process
def test_every_expression_of_the_dashboard_finds_something(prometheus: Prometheus, dashboard: dict[str, Any]) -> None:
    for panel in drawn(dashboard):
        for target in panel["targets"]:
            found = prometheus.query(resolved(target["expr"]))
            assert found, f"{panel['title']}: {target['expr']} found nothing"
            values = [series["value"][1] for series in found]
            assert "NaN" not in values, f"{panel['title']}: {target['expr']} found {values}"


@pytest.mark.process
def test_annotations_and_variables_of_the_dashboard_are_understood(
    prometheus: Prometheus, dashboard: dict[str, Any]
) -> None:
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            assert annotation["expr"] in MAY_BE_EMPTY
            prometheus.query(annotation["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])[0]
            assert prometheus.get(f"/api/v1/label/{label}/values", **{"match[]": metric}) == ["ecommerce"]


@pytest.mark.process
def test_every_legend_names_labels_that_the_expression_leaves(
    prometheus: Prometheus, dashboard: dict[str, Any]
) -> None:
    for panel in drawn(dashboard):
        for target in panel["targets"]:
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for series in prometheus.query(resolved(target["expr"])):
                assert labels == series["metric"].keys() - {"__name__"}, f"{panel['title']}: {target['expr']}"


@pytest.mark.process
def test_every_rule_is_evaluated_without_error(prometheus: Prometheus, rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        prometheus.query(rule["expr"])
    groups = prometheus.get("/api/v1/rules")["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in loaded} == {rule.get("alert") or rule["record"] for rule in rules}
    assert [rule for rule in loaded if rule.get("lastError")] == []


@pytest.mark.process
def test_every_series_that_a_rule_asks_for_exists(prometheus: Prometheus, rules: list[dict[str, Any]]) -> None:
    selectors = {selector for rule in rules for selector in SELECTOR.findall(rule["expr"])}
    assert len(selectors) > 20
    assert [selector for selector in sorted(selectors) if not prometheus.query(f"count({selector})")] == []


@pytest.mark.parametrize(
    "path",
    ["grafana/dashboards/stream-coupons.json", "prometheus/alerts.yml", "prometheus/alerts_test.yml"],
)
def test_every_metric_named_in_deploy_is_exported(root: Path, path: str) -> None:
    metrics = Metrics(CollectorRegistry())
    populate(metrics)
    exported = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    named = set(METRIC.findall((root / "deploy" / path).read_text(encoding="utf-8")))
    assert len(named) > 15
    assert named - exported == set()


def test_the_dashboard_shows_every_metric(dashboard: dict[str, Any]) -> None:
    metrics = Metrics(CollectorRegistry())
    expressions = " ".join(target["expr"] for panel in drawn(dashboard) for target in panel["targets"])
    names = [family.name for family in metrics.registry.collect()]
    assert [name for name in names if name not in expressions] == []


def test_every_panel_explains_itself_and_has_a_unit(dashboard: dict[str, Any]) -> None:
    for panel in drawn(dashboard):
        assert len(panel["description"]) > 40, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_a_panel_that_is_empty_while_all_is_well_says_so(dashboard: dict[str, Any]) -> None:
    says = {panel["title"]: panel["fieldConfig"]["defaults"].get("noValue") for panel in drawn(dashboard)}
    assert all(says[title] for title in ("Refused records", "Dead letters", "Feedback"))


def test_panels_have_names_and_ids_of_their_own(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)


def test_panels_fill_the_grid_without_overlap(dashboard: dict[str, Any]) -> None:
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    height = max(y for _, y in cells) + 1
    assert len(cells) == len(set(cells))
    assert set(cells) == {(x, y) for x in range(24) for y in range(height)}


def test_grafana_finds_the_dashboard_and_its_data(
    root: Path, dashboard: dict[str, Any], compose: dict[str, Any]
) -> None:
    provisioning = root / "deploy" / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    chosen = next(each for each in dashboard["templating"]["list"] if each["name"] == "datasource")
    assert [source["uid"] for source in sources] == [chosen["current"]["value"]]
    assert sources[0]["url"] == "http://prometheus:9090"
    scraped = yaml.safe_load((root / "deploy" / "prometheus" / "prometheus.yml").read_text())
    assert sources[0]["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]

    providers = yaml.safe_load((provisioning / "dashboards" / "stream-coupons.yml").read_text())["providers"]
    mounts = [volume.split(":") for volume in compose["services"]["grafana"]["volumes"]]
    inside = {target: source for source, target, *_ in mounts}
    assert inside[providers[0]["options"]["path"]] == "./grafana/dashboards"
    assert inside["/etc/grafana/provisioning"] == "./grafana/provisioning"
