import json

import attrs
from hypothesis import given
from hypothesis import strategies as st

from voicegate.relay.control import WorkerConfig, decode_rows, decode_transceivers, encode_rows

CONFIG = WorkerConfig(
    secrets=[bytes(32), b"\xff" * 16],
    public=[5, 6],
    hop=7,
    streams=[8],
    counters=9,
    tls=["certificate.pem"],
    hop_offload=False,
    flow_limit=10,
    transceivers={17: ("::1", 9000)},
    has_directory=True,
)


def test_a_configuration_survives_its_journey() -> None:
    received = WorkerConfig.from_json(json.loads(json.dumps(CONFIG.to_json())))
    assert received == CONFIG
    assert received != attrs.evolve(CONFIG, hop=8)


def test_a_configuration_does_not_show_its_secrets() -> None:
    assert "xff" not in repr(CONFIG)


@given(st.dictionaries(st.integers(0, 0xFFFF_FFFF), st.tuples(st.just("::1"), st.integers(1, 9))))
def test_a_list_of_transceivers_survives_its_journey(transceivers: dict[int, tuple[str, int]]) -> None:
    assert decode_transceivers(json.loads(json.dumps(transceivers))) == transceivers


@given(st.dictionaries(st.binary(min_size=19, max_size=19), st.none() | st.integers(0, 0xFFFF_FFFF)))
def test_flows_survive_their_journey(rows: dict[bytes, int | None]) -> None:
    assert decode_rows(json.loads(json.dumps(encode_rows(rows)))) == rows
