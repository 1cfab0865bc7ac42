"""Weights & Biases: offline unless asked, and never the reason that a run fails."""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

# Even offline, wandb would look up the host that it reports its own errors to.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
os.environ.setdefault("WANDB_SILENT", "true")

import pandas as pd
import torch
import wandb
from jaxtyping import Float
from lightning_utilities.core.rank_zero import rank_zero_only
from PIL import Image
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor
from wandb.sdk.lib import module as wandb_globals

from rsna_det.config.options import TrainOptions
from rsna_det.drawing.boxes import BoxedImage
from rsna_det.runs.artifacts import RunArtifact, run_artifacts
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.wandb_failures import Failures, ends_in_time, never_raising, silence_of
from rsna_det.runs.wandb_id import run_id_of
from rsna_det.structures import Category
from rsna_det.training.losses import LOSS_NAMES

log = logging.getLogger(__name__)

Mode = Literal["offline", "online", "disabled"]

CONNECT_SECONDS = 5
"""How long a server may take for an answer."""

INIT_SECONDS = 12
"""How long it may take to open a run."""

RETRIES = 1

LONGEST_TAG = 64

EPOCH = "epoch"
"""The x-axis of everything logged once an epoch: steps do not compare between batch sizes."""

PER_EPOCH = ("train/*", "val/*", "learning_rate")

SUMMARIES: dict[str, Literal["min", "max"]] = {
    **dict.fromkeys(("val/map", "val/map_best", "val/global_accuracy", "val/global_auc"), "max"),
    **dict.fromkeys((f"{part}/{name}" for part in ("train", "val") for name in (*LOSS_NAMES, "loss")), "min"),
}
"""Which value of each metric, beside the last, represents a run in the dashboard's tables."""


class RunLogger(WandbLogger):
    """Lightning's logger, extended by detections and artifacts; a failure of W&B is a warning.

    Args:
        keep_artifacts: whether :meth:`conclude` logs artifacts.
        options: Lightning's.
    """

    def __init__(self, *, keep_artifacts: bool, **options: Any) -> None:
        super().__init__(**options)
        self.keep_artifacts = keep_artifacts
        self._failures = Failures()

    log_metrics = never_raising(WandbLogger.log_metrics, "the metrics")
    log_hyperparams = never_raising(WandbLogger.log_hyperparams, "the configuration")
    log_table = never_raising(WandbLogger.log_table, "a table")
    log_text = never_raising(WandbLogger.log_text, "a text")
    log_image = never_raising(WandbLogger.log_image, "the images")
    log_audio = never_raising(WandbLogger.log_audio, "a sound")
    log_video = never_raising(WandbLogger.log_video, "a video")
    log_graph = never_raising(WandbLogger.log_graph, "the model's graph")
    watch = never_raising(WandbLogger.watch, "the gradients")
    use_artifact = never_raising(WandbLogger.use_artifact, "the artifact's use")
    after_save_checkpoint = never_raising(WandbLogger.after_save_checkpoint, "the checkpoint")
    save = never_raising(WandbLogger.save, "what was logged")
    finalize = never_raising(WandbLogger.finalize, "the end of the training")

    @rank_zero_only
    def log_detections(self, key: str, images: Sequence[BoxedImage], *, epoch: int, cut: float) -> None:
        """Log images with true and detected boxes to switch on and off.

        Args:
            key: their name.
            images: with boxes in their own pixels.
            epoch: that they were detected after.
            cut: score above which a box is among them.
        """
        with self._failures.noted("the detections"):
            pictures = [
                wandb.Image(
                    Image.fromarray(boxed.image),
                    caption=f"{boxed.caption}, score above {cut:.2f}",
                    boxes={
                        "truth": _boxes(torch.as_tensor(boxed.truths)),
                        "detections": _boxes(boxed.detections.boxes, boxed.detections.scores),
                    },
                )
                for boxed in images
            ]
            self.experiment.log({key: pictures, EPOCH: epoch})

    @rank_zero_only
    def conclude(self, options: TrainOptions) -> None:
        """Sum up the whole of a finished run, of which this process may have seen the last part, and keep its files.

        None is copied: offline, W&B notes where each lies, and sends it from there when the run is synchronised.

        Args:
            options: of the run; its files stay as they are.
        """
        with self._failures.noted("the summary"):
            self._sum_up(RunFolder(options.run_dir).metrics())
        if self.keep_artifacts:
            with self._failures.noted("the artifacts"):
                for artifact in run_artifacts(options):
                    self._log_artifact(artifact)

    def _sum_up(self, metrics: pd.DataFrame) -> None:
        for name in SUMMARIES.keys() & set(metrics.columns):
            values = metrics[name].dropna()
            if len(values):
                kind = SUMMARIES[name]
                self.experiment.summary[name] = {kind: float(values.agg(kind)), "last": float(values.iloc[-1])}

    def _log_artifact(self, artifact: RunArtifact) -> None:
        logged = wandb.Artifact(
            f"{artifact.label}-{self.experiment.id}", artifact.kind, metadata=dict(artifact.metadata)
        )
        for name, path in artifact.files.items():
            logged.add_file(str(path.resolve()), name=name, policy="immutable", skip_cache=True)
        self.experiment.log_artifact(logged)


def wandb_logger(
    *,
    mode: Mode,
    project: str,
    entity: str | None,
    group: str,
    job_type: str,
    tags: Sequence[str],
    always: Sequence[str],
    artifacts: bool,
    run_dir: str,
) -> RunLogger:
    """A logger whose run has the same id whenever its folder is trained on.

    Args:
        mode: ``offline`` writes into the run's folder, ``online`` sends to the server as well.
        project: of W&B.
        entity: team or user of W&B; None for the user's own.
        group: runs of one group are shown together.
        job_type: tells runs of one group apart by what they do.
        tags: of the run.
        always: tags beside them.
        artifacts: whether a finished run's tables and best checkpoint are logged.
        run_dir: the run's folder.

    ``WANDB_MODE=disabled`` and ``offline`` in the environment are obeyed; nothing in it sends what ``mode`` does not.
    """
    folder = Path(run_dir)
    if os.environ.get("WANDB_MODE") == "disabled" or (os.environ.get("WANDB_MODE") == "offline" and mode == "online"):
        mode = os.environ["WANDB_MODE"]  # type: ignore[assignment]
    # WandbLogger would forbid artifacts if it were told `offline`; W&B's own option says it without that.
    mode = _reachable_mode(mode)
    logger = RunLogger(
        keep_artifacts=artifacts,
        save_dir=str(folder),
        mode=mode,
        project=project,
        entity=entity,
        group=group,
        job_type=job_type,
        tags=_tags([*always, *tags]),
        # A sweep numbers its runs.
        name=f"{folder.parent.name}-{folder.name}" if folder.name.isdigit() else folder.name,
        id=run_id_of(folder),
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(
            init_timeout=INIT_SECONDS, x_graphql_timeout_seconds=CONNECT_SECONDS, x_graphql_retry_max=RETRIES
        ),
    )
    # Lightning passes an option that wandb no longer has, and wandb warns of it.
    logger._wandb_init.pop("anonymous", None)  # noqa: SLF001
    _start(logger, folder)
    return logger


def finish_tracking() -> None:
    """Close the run, if one is open: the next one in this process would be merged into it."""
    if wandb.run is None:
        return
    failures = Failures()

    def finish() -> None:
        # That its process has ended has been said by then.
        with failures.noted("the end of the run"), suppress(ConnectionError):
            wandb.finish()

    sends = not (wandb.run.offline or wandb.run.disabled)
    ended = ends_in_time(finish, sends=sends, server_problem=server_problem)
    if not ended or wandb.run is not None:
        abandon()


def abandon() -> None:
    """Drop W&B's process and forget its run; its files stay as they are."""
    # W&B has no public way to end a process that does not answer.
    process = getattr(getattr(getattr(wandb.setup(), "_connection", None), "_proc", None), "_process", None)
    if process is not None:
        process.kill()
        process.wait()
    # Its end is what was wanted, whatever it raises: SystemExit with the status of its process, for one.
    with suppress(Exception, SystemExit):
        wandb.teardown()
    wandb_globals.unset_globals()  # type: ignore[no-untyped-call]


def logged_in() -> bool:
    """Whether there are credentials for W&B; asks neither the user nor a server."""
    return wandb.login(prompt=False, verify=False)


def default_entity() -> str:
    """The user or team that runs without ``entity`` go to; asks the server.

    Raises:
        wandb.errors.Error: without a login or an answer.
    """
    return str(wandb.Api().default_entity)


def server_problem() -> str | None:
    """What is wrong with the server, None if somebody answers there; W&B would try for 90 seconds."""
    return silence_of(str(wandb.setup().settings.base_url), seconds=CONNECT_SECONDS)


@rank_zero_only
def _start(logger: RunLogger, folder: Path) -> None:
    """Open the run now, offline where the server cannot be used, and as one that logs nothing where W&B fails."""
    for remedy in ({}, {"mode": "offline", "resume": None}, {"mode": "disabled", "resume": None}):
        if remedy:
            abandon()
            # The failed run may still hold its id, and Lightning offers no way to change the mode.
            RunFolder(folder).wandb_id.unlink(missing_ok=True)
            logger._wandb_init |= {**remedy, "id": run_id_of(folder)}  # noqa: SLF001
        try:
            _define(logger.experiment)
        except Exception as error:  # noqa: BLE001  # whatever W&B raises is no reason not to train
            instead = "continuing offline; `wandb sync` uploads the run later" if not remedy else "continuing without"
            log.warning("W&B answered with an error (%s): %s", error, instead)
            logger._experiment = None  # noqa: SLF001
        else:
            return


def _define(experiment: Any) -> None:  # noqa: ANN401
    experiment.define_metric(EPOCH)
    for name in PER_EPOCH:
        experiment.define_metric(name, step_metric=EPOCH)
    for name, kind in SUMMARIES.items():
        experiment.define_metric(name, step_metric=EPOCH, summary=f"{kind},last")


def _boxes(boxes: Float[Tensor, "boxes 4"], scores: Float[Tensor, " boxes"] | None = None) -> dict[str, Any]:
    """Boxes as W&B wants them, in the image's pixels."""
    corners = [dict(zip(("minX", "minY", "maxX", "maxY"), box, strict=True)) for box in boxes.tolist()]
    label = Category.OPACITY.label
    data = [
        {"position": position, "domain": "pixel", "class_id": int(Category.OPACITY), "box_caption": label}
        for position in corners
    ]
    for box, score in zip(data, scores.tolist() if scores is not None else [], strict=False):
        box |= {"scores": {"score": score}, "box_caption": f"{score:.2f}"}
    return {"box_data": data, "class_labels": {int(Category.OPACITY): label}}


def _tags(texts: Sequence[str]) -> list[str]:
    """Each once, none empty, as long as W&B allows."""
    return list(dict.fromkeys(text[:LONGEST_TAG] for text in texts if text))


def _reachable_mode(mode: Mode) -> Mode:
    """The mode itself, or ``offline`` where no server answers."""
    problem = server_problem() if mode == "online" else None
    if problem is None:
        return mode
    log.warning("%s: continuing offline; `wandb sync` uploads the run later", problem)
    return "offline"
