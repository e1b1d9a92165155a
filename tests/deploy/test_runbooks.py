"""Each alert has its runbook, each runbook its alert, and the dashboard links to them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from stream_coupons.cli.main import app
from stream_coupons.observability.metrics import Metrics

from .exporter import populate
from .runbooks import SECTIONS, Runbook, commands, panels_named, runbooks_of, unknown_command

METRIC = re.compile(r"\bstream_coupons[_:][a-z0-9_:]+")
SUFFIX = re.compile(r"_(?:bucket|count|sum)$")
LABEL = "{{ $externalLabels.runbooks }}"


@pytest.fixture(scope="module")
def groups(root: Path) -> list[dict[str, Any]]:
    loaded = yaml.safe_load((root / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = loaded["groups"]
    return found


@pytest.fixture(scope="module")
def runbooks(root: Path) -> list[Runbook]:
    return runbooks_of(root / "docs" / "runbooks")


def test_every_alert_links_to_its_runbook_and_every_runbook_is_linked_to(
    groups: list[dict[str, Any]], runbooks: list[Runbook]
) -> None:
    links = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule]
    assert links == [f"{LABEL}/{each.page}.html#{each.alert.lower()}" for each in in_order(runbooks, groups)]
    named = [(group["name"], rule["alert"]) for group in groups for rule in group["rules"] if "alert" in rule]
    assert sorted(named) == sorted((f"stream-coupons-{each.page}", each.alert) for each in runbooks)


def in_order(runbooks: list[Runbook], groups: list[dict[str, Any]]) -> list[Runbook]:
    """The runbooks in the order of the alerts' groups."""
    names = [group["name"].removeprefix("stream-coupons-") for group in groups]
    return sorted(runbooks, key=lambda each: names.index(each.page))


def test_every_runbook_has_all_sections_in_order(runbooks: list[Runbook]) -> None:
    assert {each.alert: tuple(each.sections) for each in runbooks} == {each.alert: SECTIONS for each in runbooks}
    assert [each.alert for each in runbooks if min(map(len, each.sections.values())) < 5] == []


def test_every_runbook_shows_a_command_or_a_query_for_the_cause_and_for_the_end(runbooks: list[Runbook]) -> None:
    for each in runbooks:
        assert "```" in each.sections["Diagnosis"], each.alert
    assert sum("```promql" in each.sections["Resolved when"] for each in runbooks) > 0.8 * len(runbooks)


@pytest.mark.process  # what some commands import asks the system of which architecture it is
def test_every_command_of_a_runbook_exists(runbooks: list[Runbook]) -> None:
    found = {line for each in runbooks for line in commands(each.text)}
    assert {line: fault for line in sorted(found) if (fault := unknown_command(app, line))} == {}
    assert len(found) > 30


@pytest.mark.process
def test_a_command_that_does_not_exist_is_seen() -> None:
    assert unknown_command(app, "campaigns explode spring") == "explode"
    assert unknown_command(app, "dlq list --colour red") == "--colour"
    assert unknown_command(app, "dlq list --since 1h") is None


def test_every_metric_of_a_runbook_is_exported_or_recorded(
    groups: list[dict[str, Any]], runbooks: list[Runbook]
) -> None:
    metrics = Metrics(CollectorRegistry())
    populate(metrics)
    exported = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    named = {name for each in runbooks for name in METRIC.findall(each.text)}
    assert len(named) > 30
    assert named - exported - recorded == set()


def test_every_panel_of_a_runbook_exists(runbooks: list[Runbook], dashboard: dict[str, Any]) -> None:
    named = {title for each in runbooks for title in panels_named(each.text)}
    assert len(named) > 5
    assert named <= {panel["title"] for panel in dashboard["panels"]}


def test_panels_link_to_the_runbooks_of_the_alerts_that_read_their_metrics(
    groups: list[dict[str, Any]], dashboard: dict[str, Any]
) -> None:
    read = {
        group["name"].removeprefix("stream-coupons-"): metrics(*(r["expr"] for r in group["rules"] if "alert" in r))
        for group in groups
    }
    for panel in dashboard["panels"]:
        shown = metrics(*(target["expr"] for target in panel.get("targets", ())))
        wanted = [f"${{runbooks}}/{page}.html" for page, names in read.items() if names & shown]
        assert [link["url"] for link in panel.get("links", ())] == wanted, panel["title"]


def metrics(*expressions: str) -> set[str]:
    return {SUFFIX.sub("", name) for expression in expressions for name in METRIC.findall(expression)}


def test_dashboard_and_prometheus_have_the_same_address_of_runbooks(root: Path, dashboard: dict[str, Any]) -> None:
    scraped = yaml.safe_load((root / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    [variable] = [each for each in dashboard["templating"]["list"] if each["name"] == "runbooks"]
    assert variable["current"]["value"] == scraped["global"]["external_labels"]["runbooks"]
    assert LABEL not in json.dumps(dashboard)
