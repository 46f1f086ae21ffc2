from collections import Counter

import pytest

from voicegate.testing import families
from voicegate.testing.targets import SCRIPTED, TARGETS


def test_each_decoder_is_in_one_family() -> None:
    counts = Counter(name for family in families.FAMILIES for name in families.members(family))
    assert counts == Counter(TARGETS.keys() - SCRIPTED)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_first_byte_picks_who_gets_the_rest(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[tuple[str, bytes]] = []
    for name in TARGETS:
        monkeypatch.setitem(TARGETS, name, lambda data, name=name: got.append((name, data)))  # type: ignore[misc]
    run = families._together(family)
    names = families.members(family)
    run(b"")
    for first in range(256):
        run(bytes([first]) + b"rest")
    assert got == [(names[first % len(names)], b"rest") for first in range(256)]
