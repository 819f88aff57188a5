import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator_assets.storage.entries import decoded, decoded_metadata, readable, sealed

WHOLE = {"fingerprint": "f", "data_version": "v", "inputs": {}, "files": [], "reported": []}
WHOLE |= {"checks": {}, "warnings": {}, "state": {}}
FIELDS = sorted(WHOLE)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary()
    | st.dictionaries(st.sampled_from(FIELDS), JSON).map(lambda given: sealed(WHOLE | given))
    | st.dictionaries(st.sampled_from(["values", "others"]), JSON).map(
        lambda given: json.dumps(given).encode()
    )
)
def test_whatever_an_entry_holds_it_is_an_entry_or_counts_as_none(data):
    entry = readable(data)
    assert entry is None or decoded(data) == entry or "NaN" in data.decode()
    try:
        values = decoded_metadata(data)
    except ValueError:
        return
    assert isinstance(values, dict)
