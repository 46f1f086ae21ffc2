import re
from pathlib import Path

import pytest
import trio

from voicegate.transceiver import heap

HAS_HUGE_PAGES = "[madvise]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()


def huge_bytes() -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text()
    (kilobytes,) = re.findall(r"^AnonHugePages: +(\d+) kB", rollup, re.MULTILINE)
    return int(kilobytes) * 1024


def test_what_is_moved_into_huge_pages_stays_as_it_was() -> None:
    pieces = [index.to_bytes(4, "big") * 100 for index in range(50_000)]
    collapsed = heap.collapse_heap()
    assert pieces == [index.to_bytes(4, "big") * 100 for index in range(50_000)]
    assert (collapsed >= 5) == HAS_HUGE_PAGES
    assert huge_bytes() >= 5 * heap.HUGE_PAGE or not HAS_HUGE_PAGES


async def test_it_is_done_again_and_again(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    setting = tmp_path / "enabled"
    setting.write_text("always [madvise] never\n")
    looks: list[None] = []
    monkeypatch.setattr(heap, "_SETTING", setting)
    monkeypatch.setattr(heap, "_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(heap, "collapse_heap", lambda: looks.append(None))
    nursery.start_soon(heap.keep_heap)
    with trio.fail_after(60):
        while len(looks) < 3:
            await trio.sleep(0.01)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("said", ["[always] madvise never", "always madvise [never]", None])
async def test_where_it_is_not_ours_to_do_nothing_is_done(
    said: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    setting = tmp_path / "enabled"
    if said is not None:
        setting.write_text(said)
    monkeypatch.setattr(heap, "_SETTING", setting)
    with trio.fail_after(5):
        await heap.keep_heap()
