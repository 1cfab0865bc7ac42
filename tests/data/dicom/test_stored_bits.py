"""Stored bits against an oracle of Python's whole numbers."""

import numpy as np
import pytest

from rsna_det.data.dicom.problems import FrameError
from rsna_det.data.dicom.stored_bits import as_stored, stored_values


def oracle(word: int, *, bits: int, high_bit: int, signed: bool) -> int:
    """The binary digits from ``high_bit`` down, read as two's complement if they are signed."""
    digits = format(word, "032b")[31 - high_bit :][:bits]
    return int(digits, 2) - (2**bits if signed and digits[0] == "1" else 0)


@pytest.mark.parametrize(
    ("container", "bits", "high_bit"),
    [(8, 8, 7), (8, 6, 5), (8, 6, 7), (16, 16, 15), (16, 12, 11), (16, 12, 15), (16, 12, 13), (16, 9, 8), (32, 16, 15)],
)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", ["u", "i"])
def test_the_values_are_those_of_the_standard(
    container: int, bits: int, high_bit: int, signed: bool, kind: str
) -> None:
    drawn = np.random.default_rng(0).integers(0, 2 ** min(container, 16), (20, 30), dtype=np.uint32)
    drawn[0, :2] = 0, 2 ** min(container, 16) - 1
    found = stored_values(drawn.astype(f"{kind}{container // 8}"), bits=bits, high_bit=high_bit, signed=signed)
    assert found.tolist() == [
        [oracle(int(w), bits=bits, high_bit=high_bit, signed=signed) for w in row] for row in drawn
    ]
    assert found.dtype == np.dtype(f"{'i' if signed else 'u'}{min(container, 16) // 8}")


def test_what_is_as_it_should_be_is_not_copied() -> None:
    for dtype, signed in ((np.uint8, False), (np.int16, True)):
        words = np.zeros((2, 3), dtype=dtype)
        assert stored_values(words, bits=8 * words.itemsize, high_bit=8 * words.itemsize - 1, signed=signed) is words


@pytest.mark.parametrize(
    ("word", "refused"),
    [
        # Within the lowest 12 bits, and among the lowest 4, which a HighBit of 15 leaves empty.
        (0x0FFF, True), (0x0001, True), (0x0008, True),
        (0x0010, False), (0x0FF0, False), (0x0000, False), (0x1001, False), (0xFFFF, False), (0x8008, False),
    ],
)  # fmt: skip
def test_words_that_contradict_their_highest_bit(word: int, refused: bool) -> None:
    words = np.array([[0, word]], dtype=np.uint16)
    if not refused:
        assert stored_values(words, bits=12, high_bit=15, signed=False).tolist() == [[0, word >> 4]]
        return
    with pytest.raises(FrameError, match=r"^HighBit 15, but the values lie in the lowest 12 bits$"):
        stored_values(words, bits=12, high_bit=15, signed=False)


@pytest.mark.parametrize("bits", [1, 2, 8, 12, 16])
def test_a_headers_value_may_have_either_sign(bits: int) -> None:
    for stored in {0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2**bits - 1} & set(range(2**bits)):
        signed = oracle(stored, bits=bits, high_bit=bits - 1, signed=True)
        for written in (stored, signed, stored - 2**16, stored + 2**16):
            assert as_stored(written, bits=bits, signed=False) == stored
            assert as_stored(written, bits=bits, signed=True) == signed
