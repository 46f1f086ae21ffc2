from hypothesis import given
from hypothesis import strategies as st

from voicegate.access import Admission, CapExceeded, share


def test_a_call_is_counted_until_it_is_over() -> None:
    admission = Admission(max_calls=2)
    assert admission.check(key="", client="a", max_calls=None) is None
    admission.add("1", key="", client="a")
    admission.add("2", key="", client="b")
    assert len(admission) == 2
    assert admission.check(key="", client="c", max_calls=None) is CapExceeded.SERVER
    admission.remove("1")
    admission.remove("1")
    assert admission.check(key="", client="c", max_calls=None) is None
    admission.retain(lambda call_id: call_id != "2")
    assert len(admission) == 0


def test_a_key_has_a_limit_of_its_own() -> None:
    admission = Admission(max_calls=9)
    admission.add("1", key="web", client="a")
    assert admission.check(key="web", client="b", max_calls=1) is CapExceeded.KEY
    assert admission.check(key="web", client="b", max_calls=2) is None
    assert admission.check(key="job", client="a", max_calls=1) is None


def test_an_address_has_a_limit_of_its_own() -> None:
    admission = Admission(max_calls=9, max_calls_per_client=1)
    admission.add("1", key="web", client="a")
    assert admission.check(key="job", client="a", max_calls=None) is CapExceeded.CLIENT
    assert admission.check(key="job", client="b", max_calls=None) is None


@given(limit=st.integers(1, 50), count=st.integers(1, 8))
def test_all_together_admit_what_one_would(limit: int, count: int) -> None:
    shares = [share(limit, number, count) for number in range(count)]
    assert sum(shares) == limit
    assert max(shares) - min(shares) <= 1
    admitted = 0
    for number in range(count):
        admission = Admission(max_calls=100, number=number, count=count)
        while admission.check(key="web", client="", max_calls=limit) is None:
            admission.add(str(admitted), key="web", client="")
            admitted += 1
    assert admitted == limit
