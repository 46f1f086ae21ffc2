from hashlib import sha1
from pathlib import Path

import pytest

from voicegate.testing.fuzz import corpus


def own(folder: Path, data: bytes) -> Path:
    path = folder / sha1(data).hexdigest()
    path.write_bytes(data)
    return path


def test_what_somebody_has_named_stays_and_the_rest_is_replaced(tmp_path: Path) -> None:
    kept, found = tmp_path / "kept", tmp_path / "found"
    kept.mkdir()
    found.mkdir()
    (kept / "browser").write_bytes(b"from a browser")
    own(kept, b"of old")
    assert corpus.named(kept) == [kept / "browser"]
    corpus.keep(kept, [own(found, b"new")])
    assert [path.read_bytes() for path in corpus.inputs(kept)] in (
        [b"from a browser", b"new"],
        [b"new", b"from a browser"],
    )


@pytest.mark.slow
def test_a_corpus_stays_small_in_files_and_in_bytes(tmp_path: Path) -> None:
    for name, many in (
        ("files", [bytes((number,)) for number in range(100)]),
        ("bytes", [bytes((number,)) * 10_000 for number in range(20)]),
    ):
        found = tmp_path / f"found-{name}"
        found.mkdir()
        corpus.keep(tmp_path / name, [own(found, data) for data in many])
        kept = corpus.inputs(tmp_path / name)
        assert len(kept) <= corpus.MAX_FILES
        assert sum(path.stat().st_size for path in kept) <= corpus.MAX_BYTES
        assert len(kept) in {corpus.MAX_FILES, corpus.MAX_BYTES // 10_000}


def test_small_inputs_are_kept_first(tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.mkdir()
    large, small = own(found, bytes(corpus.MAX_BYTES - 1)), own(found, b"ab")
    corpus.keep(tmp_path / "kept", [large, small])
    assert [path.name for path in corpus.inputs(tmp_path / "kept")] == [small.name]


def test_a_folder_that_is_not_there_has_no_inputs(tmp_path: Path) -> None:
    assert corpus.inputs(tmp_path / "nowhere") == []


def test_the_corpus_of_the_checkout_is_the_one_that_tests_replay() -> None:
    assert corpus.shipped() == Path(__file__).parents[2] / "corpus"


def test_what_is_shipped_is_small() -> None:
    for folder in corpus.shipped().iterdir():
        files = corpus.inputs(folder)
        assert len(files) <= corpus.MAX_FILES, folder.name
        assert sum(path.stat().st_size for path in files) <= corpus.MAX_BYTES, folder.name


def test_seeds_are_of_the_checkout_and_of_the_users_corpus_each_once(tmp_path: Path) -> None:
    target = "ice.stun.Message.decode"
    ours = corpus.shipped() / target
    (tmp_path / target).mkdir()
    own(tmp_path / target, b"theirs")
    assert corpus.seeds(target) == [ours]
    assert corpus.seeds(target, tmp_path) == [ours, tmp_path / target]
    assert corpus.seeds(target, corpus.shipped()) == [ours]
    assert corpus.seeds("nobody.knows") == []


def test_what_stays_is_what_is_named_and_all_of_another_checkout(tmp_path: Path) -> None:
    target = "ice.stun.Message.decode"
    (tmp_path / target).mkdir()
    own(tmp_path / target, b"theirs")
    (tmp_path / target / "named").touch()
    ours = corpus.shipped() / target
    assert corpus.staying(target, tmp_path) == [tmp_path / target / "named", *corpus.inputs(ours)]
    assert corpus.staying(target, corpus.shipped()) == corpus.named(ours)
