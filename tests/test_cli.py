"""How an entry point ends: one message for what the user can mend, a traceback for our own mistakes."""

import pytest

from rsna_det.cli import errors_as_messages


@pytest.mark.parametrize(
    ("error", "message"), [(ValueError("no such fold"), "error: no such fold"), (KeyboardInterrupt(), "interrupted")]
)
def test_what_the_user_can_mend_is_one_message(error: BaseException, message: str) -> None:
    with pytest.raises(SystemExit) as raised, errors_as_messages():
        raise error
    assert raised.value.code == message


def test_our_own_mistakes_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), errors_as_messages():
        raise ZeroDivisionError
