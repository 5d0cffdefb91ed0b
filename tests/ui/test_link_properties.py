"""Whatever a link says is read within its bounds, or mended and told; what is shown is in the address, and comes back.

Without a page: how links are read does not depend on which page is open.
"""

from unittest.mock import MagicMock, patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ui.test_links import NAMES, NUMBERS, PAIRS, default, same
from ui import links, state
from ui.state import FIELDS

pytestmark = pytest.mark.usefixtures("bundled")

texts = st.one_of(
    st.sampled_from(NUMBERS + NAMES),
    st.text(max_size=50),
    st.integers(-10, 100_010).map(str),
    st.floats().map(str),
    st.floats(-10, 10).map(lambda value: f"{value:.6g}"),
)
any_link = st.dictionaries(st.sampled_from(list(FIELDS)), texts, max_size=len(FIELDS))


class Address(dict[str, str]):
    """`st.query_params` without a browser."""

    def to_dict(self) -> dict[str, str]:
        return dict(self)

    def from_dict(self, params: dict[str, str]) -> None:
        self.clear()
        self.update(params)


def opened(link: dict[str, str]) -> tuple[state.Link, dict[str, str], str]:
    """What a session begins with, its address, and what is said of the link."""
    address, warning = Address(link), MagicMock()
    with patch.multiple(
        "streamlit", session_state={}, query_params=address, warning=warning, button=MagicMock(), container=MagicMock()
    ):
        links.adopt()
        state.push()
        found = state.link()
    return found, dict(address), "".join(call.args[0] for call in warning.call_args_list)


@given(any_link)
def test_a_link_is_read_or_mended_and_told(link: dict[str, str]) -> None:
    found, address, told = opened(link)
    shown = {name: state.written(getattr(found, name)) for name in FIELDS}
    assert address == {name: text for name, text in shown.items() if text != default(name)}
    for name, field in FIELDS.items():
        value = getattr(found, name)
        assert value == field.default or not field.choices or value in field.choices
        assert value == field.default or field.bounds is None or field.bounds.holds(value)
    for name, text in link.items():
        if not same(text, shown[name]):
            assert FIELDS[name].doc in told or (name in PAIRS and "an example is shown" in told)
    assert opened(address) == (found, address, ""), "the address is a link to what is shown"
