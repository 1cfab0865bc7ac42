"""Prepare the data: ``python -m rsna_det.prepare data.root=<challenge folder> data.image_size=512``.

Checks the labels, decodes every radiograph once into a cache that training maps into memory, and reports on the folds.
``folds_only=true`` reports on label tables without images; ``sheets=true`` draws the augmentation sets.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rsna_det.config.command import Command
from rsna_det.config.compose import CONF, build, compose_config
from rsna_det.config.help import Help
from rsna_det.config.options import PrepareOptions
from rsna_det.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from rsna_det.data.datamodule import RsnaDataModule

log = logging.getLogger(__name__)

DRAWS = 9
TILE = 384


def prepare(options: PrepareOptions) -> None:
    """Prepare as the options say; reports and pictures go to ``options.run_dir``, which exists.

    Raises:
        ConfigError: before any data is read, for options that do not go together.
        CacheError: if radiographs cannot be decoded or the cache cannot be written.
        LabelError: if the label tables are damaged.
    """
    if options.folds_only:
        _report_label_tables(options)
        return
    data = build(options.data, augmentation=None)
    data.prepare_data()
    if options.sheets:
        _draw_sheets(options, data)
        return
    _build_cache(options, data)


def check(options: PrepareOptions) -> None:
    """Refuse options that do not go together.

    Raises:
        ConfigError: naming the option.
    """
    if options.data["cache_dir"] is None and not (options.folds_only or options.sheets):
        raise ConfigError("data.cache_dir is null: name the folder that decoded radiographs go to")
    if options.workers is not None and options.workers < 1:
        raise ConfigError(f"workers is {options.workers}; expected 1 or more, or null for all cores")


def _build_cache(options: PrepareOptions, data: RsnaDataModule) -> None:
    from rsna_det.data.cache.building import build_cache
    from rsna_det.data.dicom.limits import Limits
    from rsna_det.data.labels.folds import fold_report

    check(options)
    # Labels are checked before hours may be spent on pixels.
    data.setup("fit")
    with Progress() as bar:
        task = bar.add_task(f"decoding at {data.image_size} px", total=None)
        cache = build_cache(
            root=data.root,
            cache_dir=Path(str(data.cache_dir)),
            side=data.image_size,
            workers=options.workers,
            limits=Limits.of(**vars(options.reading)),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    log.info("%d radiographs decoded in %s", len(cache), cache.file.parent)
    _show(fold_report(data.images), "folds", options.run_dir / "folds.csv")


def _report_label_tables(options: PrepareOptions) -> None:
    """Report on the folds of label tables, with true patients kept together and without."""
    from rsna_det.data.labels.folds import fold_report, with_folds
    from rsna_det.data.labels.reading import read_labels, read_test_ids

    data, folder = options.data, options.run_dir
    images = read_labels(root=Path(data["root"]).expanduser(), patients_csv=_path(data["patients_csv"]))
    test_ids = _path(data["test_ids"])
    numbers: dict[str, Any] = {
        "num_folds": data["num_folds"],
        "seed": data["fold_seed"],
        "test_ids": read_test_ids(test_ids) if test_ids else frozenset(),
    }
    folds_csv = _path(data["folds_csv"])
    if folds_csv:
        published = with_folds(images, folds_csv=folds_csv, **numbers)
        _show(fold_report(published), f"folds of {folds_csv}", folder / "folds_published.csv")
        return
    for grouped, title in ((True, "folds grouped by true patient"), (False, "folds of images, patients ignored")):
        report = fold_report(with_folds(images, group_by_patient=grouped, **numbers))
        _show(report, title, folder / f"folds_{'grouped' if grouped else 'ungrouped'}.csv")


def _show(report: pd.DataFrame, title: str, path: Path) -> None:
    """Print the report and write it: images and boxes apart, and how many share a true patient with other folds."""
    from rsna_det.files.tables import write_csv
    from rsna_det.structures import Category

    write_csv(report, path)
    table = Table(title=f"{title} ({path})", title_justify="left")
    for name in ("fold", "images", "with boxes", "boxes", "abnormal", "normal", "leaking", "leaking, with boxes"):
        table.add_column(name, justify="right")
    for row in report.to_dict("records"):
        categories = [str(row[Category(c).label]) for c in (Category.ABNORMAL, Category.NORMAL)]
        shared = [f"{row[f'shared_{n}']} ({row[f'shared_{n}_percent']:.1f}%)" for n in ("images", "positives")]
        counts = [str(row[name]) for name in ("fold", "images", "positives", "boxes")]
        table.add_row(*counts, *categories, *shared)
    Console().print(table)


def _draw_sheets(options: PrepareOptions, data: RsnaDataModule) -> None:
    """One picture for each augmentation set: a radiograph with its boxes under nine draws (paper, figure 5)."""
    from rsna_det.data.augmentation.examples import Example, rows_with_boxes, save_examples

    data.setup("fit")
    row = rows_with_boxes(data.images, image_id=options.sheet_image, where=data.root).iloc[0]
    for name in sorted(path.stem for path in (CONF / "augmentation").glob("*.yaml")):
        augment = build(compose_config("train", [f"augmentation={name}"]).augmentation)
        draws = [Example(row=row, augment=augment, seed=seed, caption=f"{name} {seed}") for seed in range(DRAWS)]
        target = options.run_dir / f"{name}.png"
        log.info("%s", save_examples(target, draws, root=data.root, image_size=data.image_size, columns=3, tile=TILE))


def _path(name: str | None) -> Path | None:
    return Path(name).expanduser() if name else None


def _work(options: PrepareOptions) -> int:
    prepare(options)
    return 0


HELP = Help(
    what="Check the labels, decode every radiograph once into a cache that training reads from, and report on the "
    "folds. An interrupted build resumes.",
    usage="rsna_det.prepare data.root=<challenge folder> [option=value ...]",
    examples={
        "python -m rsna_det.prepare data.root=<folder> data.patients_csv=<map> data.image_size=512": "before training",
        "python -m rsna_det.prepare data.root=<folder> data.patients_csv=<map> folds_only=true": "only the folds",
        "python -m rsna_det.prepare data.root=<folder> sheets=true": "pictures of what each augmentation does",
        "python -m rsna_det.prepare data=synthetic data.image_size=256": "draw radiographs, to try it without data",
    },
    options={
        "data.root=<folder>": "the challenge's folder: images and two tables of labels",
        "data.image_size=<pixels>": "side of the decoded squares; a cache for each",
        "data.patients_csv=<file>": "map from image to true patient; without it one person may be in several folds",
        "data.cache_dir=<folder>": "where the cache goes; train with the same",
        "folds_only=true": "only report on the folds, from the tables of labels",
        "sheets=true": "only draw one radiograph under nine draws of each augmentation",
        "sheet_image=<id>": "of that radiograph; by default the first with boxes",
        "workers=<number>": "processes that decode; by default as many as cores",
        "reading.accept=[...]": "doubts about DICOM files that are no errors: one_grey_level, presentation_lut_shape",
    },
    groups={"data": "where images come from; `synthetic` draws some"},
    flags={"--cfg job": "print the configuration that the options make, and prepare nothing"},
    config="prepare",
)

COMMAND = Command(
    name="prepare", options=PrepareOptions, work=_work, folder=lambda options: options.run_dir, check=check, help=HELP
)


def main() -> None:
    """Prepare as the command line says."""
    COMMAND.main()


if __name__ == "__main__":
    main()
