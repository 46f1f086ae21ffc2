import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls.alert import Alert, AlertDescription, AlertLevel
from voicegate.errors import WireError


@given(st.integers(0, 255), st.integers(0, 255))
def test_an_alert_survives_the_wire_whatever_its_code_points(level: int, description: int) -> None:
    alert = Alert(level=level, description=description)
    assert Alert.decode(alert.encode()) == alert


@given(st.binary(max_size=5).filter(lambda data: len(data) != 2))
def test_an_alert_is_two_bytes(data: bytes) -> None:
    with pytest.raises(WireError):
        Alert.decode(data)


def test_the_code_points_are_those_of_the_rfc() -> None:
    alert = Alert(level=AlertLevel.FATAL, description=AlertDescription.BAD_CERTIFICATE)
    assert alert.encode() == b"\x02\x2a"
