"""The README's picture and how it is made."""
