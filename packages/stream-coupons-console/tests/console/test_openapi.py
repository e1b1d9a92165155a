"""The OpenAPI document: the committed file is current, and the running API conforms to it."""

import json
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

from stream_coupons_console.api.openapi import texts

from .conftest import LiveConsole

FOLDER = Path(__file__).parents[4] / "schemas"
[(NAME, TEXT)] = texts(None).items()
schema = schemathesis.openapi.from_dict(json.loads(TEXT))


def test_the_committed_document_is_that_of_the_types() -> None:
    assert (FOLDER / NAME).read_text(encoding="utf-8") == TEXT, "run `stream-coupons schemas write schemas`"


@pytest.mark.slow
@pytest.mark.kafka
@schema.parametrize()
@hypothesis.settings(max_examples=20, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_the_api_conforms_to_the_document_for_good_and_bad_requests(live: LiveConsole, case: schemathesis.Case) -> None:
    # A time may be one of the future, and a text no time: a schema cannot say what the clock and the zone allow.
    case.call_and_validate(
        base_url=f"{live.address}",
        headers={"Authorization": f"Bearer {live.token}"},
        excluded_checks=[positive_data_acceptance],
        timeout=60,
    )
