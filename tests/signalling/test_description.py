"""The OpenAPI description: beside the routes, and beside what a running server does."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from tests.signalling.conftest import MemoryService
from voicegate.signalling.access import AccessPolicy
from voicegate.signalling.app import SignallingApp

APP = SignallingApp(MemoryService(), access=AccessPolicy())

OPERATIONS = sorted((each.path, each.method) for each in APP.endpoints)

SENSELESS = {
    # What the description takes for an offer is any text; what an offer is, only SDP says.
    "positive_data_acceptance",
}
"""Checks that cannot be meant for us."""


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def _write_text(_context: object, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "voicegate", "serve", "--agent", "echo", "--http", "127.0.0.1:0"]
    with subprocess.Popen([*command, "--udp", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = None
        while found is None and (line := server.stderr.readline()):
            found = re.search(r"open (http://\S+) and talk", line)
        assert found is not None
        yield found[1]
        server.terminate()
        server.communicate()


def test_each_route_and_method_is_described_and_nothing_else() -> None:
    described = [
        (path, method.upper()) for path, methods in APP.description["paths"].items() for method in methods
    ]
    assert sorted(described) == OPERATIONS
    assert len(set(OPERATIONS)) == len(OPERATIONS)


def test_each_operation_says_what_it_does_and_how_it_is_refused() -> None:
    names = set()
    for methods in APP.description["paths"].values():
        for operation in methods.values():
            assert operation["summary"]
            assert "421" in operation["responses"]
            assert operation["security"] == [] or "401" in operation["responses"]
            names.add(operation["operationId"])
    assert len(names) == len(OPERATIONS)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_running_server_does_what_it_says(url: str, path: str, method: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}openapi.json")
    operation = schema[path][method]
    load_all_checks()
    checks: list[Any] = [check for check in CHECKS.get_all() if check.__name__ not in SENSELESS]

    @settings(
        max_examples=15,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: "schemathesis.Case[Any]") -> None:
        case.call_and_validate(base_url=url.rstrip("/"), checks=checks, timeout=120)

    ask()
