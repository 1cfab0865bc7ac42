"""The embedded data set: drawn radiographs, written if they are missing, then read like the challenge's."""

import logging
from typing import Any

from rsna_det.data.datamodule import RsnaDataModule
from rsna_det.data.synthetic.writing import write_synthetic

log = logging.getLogger(__name__)


class SyntheticDataModule(RsnaDataModule):
    """Drawn radiographs in the challenge's layout, written below ``root`` if they are missing.

    Args:
        num_images: how many are drawn.
        source_side: side of the drawn radiographs in source pixels.
        data_seed: what the drawings depend on.
        options: ``root``, where they are written, and all others of :class:`RsnaDataModule`.
    """

    def __init__(self, *, num_images: int, source_side: int, data_seed: int, **options: Any) -> None:
        self.num_images = num_images
        self.source_side = source_side
        self.data_seed = data_seed
        super().__init__(**options)

    def prepare_data(self) -> None:
        """Draw the radiographs if they are missing.

        Raises:
            SyntheticDataError: the folder holds something else.
            StorageError: it cannot be written.
        """
        if not self.root.exists():
            log.info("drawing %d radiographs of %d px in %s", self.num_images, self.source_side, self.root)
        write_synthetic(root=self.root, num_images=self.num_images, side=self.source_side, seed=self.data_seed)

    def setup(self, stage: str | None = None) -> None:
        """Draw what is missing, then as in :class:`RsnaDataModule`."""
        self.prepare_data()
        super()._check_files()
        super().setup(stage)

    def _check_files(self) -> None:
        """Do nothing yet: the files are drawn later."""
