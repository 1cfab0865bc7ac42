"""The documents: their blocks, the small settings that their commands run with, and how they are run."""
