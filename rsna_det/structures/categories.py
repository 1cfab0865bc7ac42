"""The challenge's categories of a whole image, and who is in it."""

from enum import IntEnum


class Category(IntEnum):
    """The challenge's three categories of a whole image, in the order of the global head's logits."""

    ABNORMAL = 0
    NORMAL = 1
    OPACITY = 2

    @property
    def label(self) -> str:
        """The category's name in the challenge's class table."""
        return CATEGORY_LABELS[self]


CATEGORY_LABELS: dict[Category, str] = {
    Category.ABNORMAL: "No Lung Opacity / Not Normal",
    Category.NORMAL: "Normal",
    Category.OPACITY: "Lung Opacity",
}

UNKNOWN_PATIENT = "image:"
"""Prefix of the placeholder for an unknown true patient; each such image forms a group of its own."""
