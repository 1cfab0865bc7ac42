"""Prepare the data: ``python -m rsna_det.prepare data.root=<challenge folder> data.image_size=512``.

Checks the labels, decodes every radiograph once into a cache that training maps into memory, and reports on the folds.
``folds_only=true`` reports on label tables without images; ``sheets=true`` draws the augmentation sets.
"""

import logging
from pathlib import Path

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rsna_det.config.check import check_config
from rsna_det.config.compose import CONF, build, compose_config
from rsna_det.config.console import check_command_line, errors_as_messages, set_up
from rsna_det.data.augmentation.examples import augmented_picture, network_image, rows_with_boxes
from rsna_det.data.cache.building import build_cache
from rsna_det.data.datamodule import RsnaDataModule
from rsna_det.data.labels.folds import fold_report, with_folds
from rsna_det.data.labels.reading import read_labels, read_test_ids
from rsna_det.drawing.boxes import sheet
from rsna_det.structures import Category

log = logging.getLogger(__name__)

DRAWS = 9
TILE = 384


def main() -> None:
    """Prepare as the command line says."""
    set_up()
    with errors_as_messages():
        check_command_line("prepare")
    _start()


@hydra.main(config_path=str(CONF), config_name="prepare", version_base="1.3")
def _start(config: DictConfig) -> None:
    config.run_dir = HydraConfig.get().runtime.output_dir
    with errors_as_messages():
        run(config)


def run(config: DictConfig) -> None:
    """Prepare as configured.

    Raises:
        ConfigError: before any data is read, for a configuration that cannot run.
    """
    check_config(config)
    if config.folds_only:
        _report_label_tables(config)
        return
    data = build(config.data, augmentation=None)
    data.prepare_data()
    if config.sheets:
        _draw_sheets(config, data)
        return
    if data.cache_dir is None:
        raise ValueError("data.cache_dir is null: name the folder that decoded radiographs go to")
    # Labels are checked before hours may be spent on pixels.
    data.setup("fit")
    with Progress() as bar:
        task = bar.add_task(f"decoding at {data.image_size} px", total=None)
        cache = build_cache(
            root=data.root,
            cache_dir=data.cache_dir,
            side=data.image_size,
            workers=config.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    log.info("%d radiographs decoded in %s", len(cache), cache.file.parent)
    _show(fold_report(data.images), "folds", Path(config.run_dir) / "folds.csv")


def _report_label_tables(config: DictConfig) -> None:
    """Report on the folds of label tables, with true patients kept together and without."""
    options = config.data
    images = read_labels(root=Path(options.root).expanduser(), patients_csv=_path(options.patients_csv))
    test_ids = read_test_ids(Path(options.test_ids).expanduser()) if options.test_ids else frozenset()
    numbers = {"num_folds": options.num_folds, "seed": options.fold_seed, "test_ids": test_ids}
    folder = Path(config.run_dir)
    if options.folds_csv:
        published = with_folds(images, folds_csv=Path(options.folds_csv).expanduser(), **numbers)
        _show(fold_report(published), f"folds of {options.folds_csv}", folder / "folds_published.csv")
        return
    for grouped, title in ((True, "folds grouped by true patient"), (False, "folds of images, patients not looked at")):
        report = fold_report(with_folds(images, group_by_patient=grouped, **numbers))
        _show(report, title, folder / f"folds_{'grouped' if grouped else 'ungrouped'}.csv")


def _show(report: pd.DataFrame, title: str, path: Path) -> None:
    """Print the report and write it: images and boxes apart, and how many share a true patient with other folds."""
    report.to_csv(path, index=False)
    table = Table(title=f"{title} ({path})", title_justify="left")
    for name in ("fold", "images", "with boxes", "boxes", "abnormal", "normal", "leaking", "leaking, with boxes"):
        table.add_column(name, justify="right")
    for row in report.to_dict("records"):
        categories = [str(row[Category(c).label]) for c in (Category.ABNORMAL, Category.NORMAL)]
        shared = [f"{row[f'shared_{n}']} ({row[f'shared_{n}_percent']:.1f}%)" for n in ("images", "positives")]
        counts = [str(row[name]) for name in ("fold", "images", "positives", "boxes")]
        table.add_row(*counts, *categories, *shared)
    Console().print(table)


def _draw_sheets(config: DictConfig, data: RsnaDataModule) -> None:
    """One picture for each augmentation set: a radiograph with its boxes under nine draws (paper, figure 5)."""
    data.setup("fit")
    row = rows_with_boxes(data.images, image_id=config.sheet_image, where=data.root).iloc[0]
    image, boxes = network_image(row, root=data.root, side=data.image_size)
    for path in sorted((CONF / "augmentation").glob("*.yaml")):
        augmentation = build(compose_config("train", [f"augmentation={path.stem}"]).augmentation)
        pictures = [augmented_picture(augmentation, image, boxes, seed=seed, side=TILE) for seed in range(DRAWS)]
        picture = sheet(pictures, captions=[f"{path.stem} {seed}" for seed in range(DRAWS)], columns=3, side=TILE)
        target = Path(config.run_dir) / f"{path.stem}.png"
        Image.fromarray(picture).save(target)
        log.info("%s", target)


def _path(name: str | None) -> Path | None:
    return Path(name).expanduser() if name else None


if __name__ == "__main__":
    main()
