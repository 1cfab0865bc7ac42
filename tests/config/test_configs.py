"""Every configuration composes and fits what it is handed to; a wrong one fails before any data is read."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from rsna_det.config.check import check_config
from rsna_det.config.compose import CONF, compose_config
from rsna_det.config.console import set_up
from rsna_det.config.devices import check_accelerator
from rsna_det.config.options import (
    EvaluateOptions,
    FigureOptions,
    PredictOptions,
    PrepareOptions,
    TrainOptions,
    as_plain,
)
from rsna_det.config.roles import flat_options, role_of
from rsna_det.config.signatures import parameters_of
from rsna_det.config.trainer import check_trainer
from rsna_det.errors import ConfigError, RsnaDetError
from rsna_det.runs.session import run

GROUPS = (
    "augmentation",
    "callbacks",
    "data",
    "debug",
    "encoder",
    "experiment",
    "initialisation",
    "logger",
    "model",
    "optimizer",
    "trainer",
)
CHOICES = [
    (group, path.stem)
    for group in GROUPS
    for path in sorted((CONF / group).glob("*.yaml"))
    if (group, path.stem) != ("trainer", "base")
]
EXTRA = {
    ("encoder", "timm"): ["encoder.name=resnet18"],
    ("data", "rsna_stage1"): ["data.test_ids=ids.csv"],
}


@pytest.fixture(autouse=True)
def resolvers() -> None:
    set_up()


def composed(*overrides: str) -> DictConfig:
    config = compose_config("train", ["data.root=somewhere", *overrides])
    config.run_dir = "run"
    return config


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids="/".join)
def test_every_choice_composes_fits_its_targets_and_has_roles(group: str, choice: str) -> None:
    options = check_config(composed(f"{group}={choice}", *EXTRA.get((group, choice), [])), TrainOptions)
    for key, _ in flat_options(as_plain(options)):
        role_of(key)


@pytest.mark.parametrize("data", ["rsna", "synthetic"])
def test_prepare_composes(data: str) -> None:
    config = compose_config("prepare", [f"data={data}", "data.root=somewhere"])
    config.run_dir = "run"
    assert check_config(config, PrepareOptions).data["root"] == "somewhere"


def test_predict_composes() -> None:
    several = ["checkpoints=[a.ckpt,b.ckpt]", "images=folder", "out='~/out'", "cut=0.2"]
    options = check_config(compose_config("predict", several), PredictOptions)
    assert (options.checkpoints, options.cut) == (["a.ckpt", "b.ckpt"], 0.2)
    assert options.out == Path.home() / "out"
    quoted = ["checkpoints='epoch_0[67].ckpt'", "images='[a b]'", "out=out", "pictures=3"]
    options = check_config(compose_config("predict", quoted), PredictOptions)
    assert (options.checkpoints, options.images, options.pictures) == ("epoch_0[67].ckpt", "[a b]", 3)


def test_evaluate_and_figures_compose() -> None:
    config = compose_config("evaluate", ["runs=some", "out=out"])
    config.run_dir = "out"
    assert check_config(config, EvaluateOptions).nms_ious == [0.05, 0.1, 0.2, 0.3, 0.5]
    figures = compose_config("figures", ["figure=samples", "data.root=somewhere"])
    assert check_config(figures, FigureOptions).out == Path("studies/samples/report")


def test_options_of_no_component_are_checked_like_the_rest() -> None:
    wrong = ["paths.runs=3", "run_dir=3", "resume=3", "+colour=red", "+paths.colour=red"]
    expected = [
        r"paths\.runs is 3 \(int\)",
        r"run_dir is 3",
        r"resume is 3",
        "there is no option colour",
        r"there is no option paths\.colour; it takes: runs, studies, cache, synthetic",
    ]
    for override, message in zip(wrong, expected, strict=True):
        with pytest.raises(ConfigError, match=message):
            check_config(compose_config("train", ["data.root=somewhere", "run_dir=run", override]), TrainOptions)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("checkpoints=3", "checkpoints is 3"),
        ("size_rule=smaller", "size_rule is 'smaller'.*'percentile'"),
        ("pictures=some", "pictures is 'some'"),
        ("accelerator=tpu", "accelerator is 'tpu'.*'cuda'"),
    ],
)
def test_a_wrong_value_of_predict_is_named(override: str, message: str) -> None:
    options = {"checkpoints": "a.ckpt", "images": "folder", "out": "out"}
    given = [f"{key}={value}" for key, value in options.items() if not override.startswith(key)]
    with pytest.raises(ConfigError, match=message):
        check_config(compose_config("predict", [*given, override]), PredictOptions)


def test_a_value_that_needs_more_quotes_says_so() -> None:
    with pytest.raises(ConfigError, match=r"twice, for the shell and for Hydra: \"checkpoints='"):
        compose_config("predict", ["checkpoints=runs/epoch_0[67].ckpt"])


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_experiment_is_named_as_its_file(path: Path) -> None:
    assert composed(f"experiment={path.stem}").name == path.stem


@pytest.mark.parametrize(
    ("experiment", "augmentation"),
    [
        ("no_aug", {"rotation": 0.0, "flip_probability": 0.0, "scale": 0.0}),
        ("light_aug", {"rotation": 5.0, "scale": 0.1, "shear": 2.5, "flip_probability": 0.0}),
        ("heavy_aug", {"rotation": 6.0, "scale": 0.15, "shear": 4.0, "flip_probability": 0.5, "boxes_by": "corners"}),
        ("heavy_aug_norot", {"rotation": 0.0, "scale": 0.15, "shear": 4.0, "flip_probability": 0.5}),
        ("heavy_aug_customrot", {"rotation": 6.0, "scale": 0.15, "shear": 4.0, "boxes_by": "edge_thirds"}),
        ("published_code", {"draws": "normal", "perspective": 0.0, "flip_probability": 0.0, "boxes_by": "edge_thirds"}),
    ],
)
def test_experiments_are_the_papers(experiment: str, augmentation: dict[str, object]) -> None:
    config = composed(f"experiment={experiment}")
    assert {name: config.augmentation[name] for name in augmentation} == augmentation
    assert config.encoder.name == "legacy_seresnext101_32x4d"
    assert config.encoder.pretrained
    assert (config.data.image_size, config.data.batch_size) == (512, 6)
    assert config.model.dropout_global == 0.75
    assert config.model.dropout_box == (0.75 if experiment == "published_code" else 0.0)
    assert config.optimizer.optimizer.lr == 1e-5
    assert config.trainer.gradient_clip_val == 0.05
    assert config.loss.global_class == 0.1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoder=resnet43", "resnet34"),
        ("experiment=heavy", "heavy_aug_norot"),
        ("data.fol=1", r"there is no option data\.fol; the closest: data\.fold"),
        ("trainer.max_epoch=3", r"trainer\.max_epochs"),
        ("modle=small", "the closest: model"),
        ("data.fold=[1", "data.fold"),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        composed(override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.fold=two", r"data\.fold is 'two' \(str\): input should be a valid integer"),
        ("data.image_size=256.5", r"data\.image_size is 256\.5 \(float\)"),
        ("trainer.max_epochs=ten", r"trainer\.max_epochs is 'ten'"),
        ("trainer.precision=17", r"trainer\.precision is 17"),
        ("encoder.pretrained=perhaps", r"encoder\.pretrained is 'perhaps'"),
        ("model.levels=three", r"model\.levels is 'three'"),
        ("optimizer.optimizer.lr=fast", r"optimizer\.optimizer\.lr is 'fast'"),
        ("+data.colour=red", r"data\.colour is not an option of rsna_det\.data\.datamodule\.RsnaDataModule"),
        ("decoding.score_floor=high", r"decoding\.score_floor is 'high'"),
        ("decoding.max_candidates=300.5", r"decoding\.max_candidates is 300\.5"),
        ("+decoding.foo=1", r"decoding\.foo is not an option"),
        ("score_untrained=perhaps", "score_untrained is 'perhaps'"),
        ("seed=x", "seed is 'x'"),
        ("augmentation.boxes_by=middle", r"augmentation\.boxes_by is 'middle'.*'edge_thirds'"),
        ("logger.wandb.mode=sometimes", r"logger\.wandb\.mode is 'sometimes'.*'offline'"),
        ("model._target_=rsna_det.models.retinanet.Retina", "cannot be imported"),
        ("model._target_=[[]]", r"model\._target_ is \[\[\]\]: expected the import path of a class or function"),
        ("model._target_=5", r"model\._target_ is 5: expected the import path"),
        # Where a number is wanted, a node to build something from is none.
        ("optimizer.gradient_clip={_target_:os.system}", r"optimizer\.gradient_clip is \{'_target_': 'os\.system'\}"),
        ("seed={_target_:os.getpid}", r"seed is \{'_target_': 'os\.getpid'\}"),
        ("name=[{_target_:os.getpid}]", r"name is \[\{'_target_'"),
    ],
)
def test_a_wrong_type_or_option_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(composed(override), TrainOptions)


@pytest.mark.parametrize(
    ("overrides", "frozen"),
    [
        ([], True),
        (["encoder.pretrained=false"], False),
        (["encoder.pretrained=false", "encoder.weights=w.pth"], True),
        (["encoder.pretrained=false", "encoder.freeze_statistics=true"], True),
        (["encoder.freeze_statistics=false"], False),
        (["initialisation=imagenet"], True),
        (["initialisation=random"], False),
        (["initialisation=random_frozen"], True),
    ],
)
def test_statistics_are_frozen_where_weights_are_loaded(overrides: list[str], frozen: bool) -> None:
    options = check_config(composed("encoder=resnet34", *overrides), TrainOptions)
    assert options.encoder["freeze_statistics"] is frozen


def test_overfitting_is_not_augmented() -> None:
    config = composed("debug=overfit")
    assert (config.augmentation.flip_probability, config.augmentation.scale) == (0.0, 0.0)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(composed("data.fold=two", "trainer.max_epochs=ten"), TrainOptions)
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_data_folder_says_what_to_do() -> None:
    config = compose_config("train", [])
    config.run_dir = "run"
    with pytest.raises(ConfigError, match=r"data\.root=<folder>.*data=synthetic"):
        check_config(config, TrainOptions)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.fold=4", "data.fold is 4; with data.num_folds=4 expected 0 to 3"),
        ("data.batch_size=0", "data.batch_size is 0"),
        ("model.dropout_global=1.5", "dropout"),
        ("model.levels=[3,5]", "levels"),
        ("model.width=0", "width"),
        ("loss.global_class=-1.0", "weights"),
        ("decoding.cut=1.5", "decoding.cut is 1.5"),
        ("decoding.cut_grid=[0.5,0.1,0.1]", "lowest"),
        ("decoding.score_floor=2.0", "decoding.score_floor is 2.0"),
        ("decoding.nms_iou=-1.0", "decoding.nms_iou is -1.0"),
        ("decoding.max_candidates=0", "decoding.max_candidates is 0"),
        ("optimizer.optimizer.lr=-1.0", "learning rate"),
        ("optimizer.scheduler.factor=2.0", "[Ff]actor"),
        ("optimizer.scheduler.patience=-1", "patience"),
        ("optimizer.gradient_clip=-1.0", "gradient_clip is -1.0"),
        ("trainer.max_epochs=-1", r"trainer\.max_epochs is -1; expected 1 or more"),
        ("trainer.max_epochs=0", r"trainer\.max_epochs is 0"),
        ("trainer.max_epochs=null", r"trainer\.max_epochs is None"),
        ("+trainer.max_steps=0", r"trainer\.max_steps is 0"),
        ("+trainer.val_check_interval=0.5", r"trainer\.val_check_interval is 0\.5; expected 1\.0"),
        ("+trainer.val_check_interval=1", r"trainer\.val_check_interval is 1; expected 1\.0"),
        ("+trainer.val_check_interval=1000", r"trainer\.val_check_interval is 1000"),
        ("+trainer.overfit_batches=2", r"trainer\.overfit_batches is 2;.*debug=overfit"),
        ("+trainer.overfit_batches=0.1", r"trainer\.overfit_batches is 0\.1"),
        ("trainer.precision=64-true", r"trainer\.precision is '64-true'; expected 32-true, 16-mixed or bf16-mixed"),
        ("trainer.precision=bf16-true", r"trainer\.precision is 'bf16-true'"),
        ("trainer.precision=16-true", r"trainer\.precision is '16-true'"),
        ("trainer.precision=64", r"trainer\.precision is 64"),
        ("+trainer.check_val_every_n_epoch=2", r"check_val_every_n_epoch is 2, but the learning rate follows"),
        ("+trainer.check_val_every_n_epoch=null", r"check_val_every_n_epoch is None"),
        ("trainer.limit_val_batches=0", r"limit_val_batches is 0, but the learning rate follows"),
        ("trainer.limit_val_batches=0.0", r"limit_val_batches is 0\.0, but the learning rate follows"),
        ("trainer.limit_train_batches=0", r"limit_train_batches is 0"),
        ("trainer.num_sanity_val_steps=2", r"num_sanity_val_steps is 2"),
        ("trainer.use_distributed_sampler=true", r"use_distributed_sampler is True"),
        ("+trainer.reload_dataloaders_every_n_epochs=1", r"reload_dataloaders_every_n_epochs is 1"),
        ("+trainer.enable_checkpointing=false", r"enable_checkpointing is False"),
        ("+trainer.barebones=true", r"barebones is True"),
        ("+trainer.logger=false", r"trainer\.logger is False.*logger=wandb"),
        ("trainer.strategy=fsdp", r"trainer\.strategy is 'fsdp'; expected auto or ddp"),
        ("trainer.strategy=ddp_spawn", r"trainer\.strategy is 'ddp_spawn'"),
        ("+trainer.min_epochs=99", r"trainer\.min_epochs is 99, but trainer\.max_epochs is 16"),
        ("+trainer.max_time=00:00:00:00", r"trainer\.max_time is '00:00:00:00'; expected days:hours"),
        ("trainer.gradient_clip_val=-1", r"trainer\.gradient_clip_val is -1"),
        ("trainer.plugins=[]", r"trainer\.plugins is \[\]; expected a list with .*AtomicCheckpointIO"),
        ("trainer.plugins=null", r"trainer\.plugins is None"),
        ("trainer.devices=-1", r"trainer: `devices` selected with `CPUAccelerator`"),
        ("~callbacks.last", r"callbacks\.last is left out: without last\.ckpt the run cannot resume"),
        ("callbacks.last=null", r"callbacks\.last is left out"),
        ("callbacks.finite_loss=null", r"callbacks\.finite_loss is left out"),
        (
            "+callbacks.swa={_target_: pytorch_lightning.callbacks.StochasticWeightAveraging, swa_lrs: 0.1}",
            r"callbacks\.swa is pytorch_lightning\.callbacks\.StochasticWeightAveraging, under which plan",
        ),
        (
            "+callbacks.stop={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: val/nope}",
            r"callbacks\.stop\.monitor is 'val/nope', which a run does not log; the closest",
        ),
        ("trainer.accelerator=mps", r"trainer\.accelerator is 'mps'"),
        ("trainer.accelerator=tpu", r"trainer\.accelerator is 'tpu'"),
        ("callbacks.encoder_freeze.epochs=-1", r"callbacks.encoder_freeze.epochs is -1"),
        ("augmentation.flip_probability=2", "flip_probability"),
    ],
)
def test_a_wrong_value_fails_before_any_data_is_read(
    override: str, message: str, synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("the data was read")

    monkeypatch.setattr("rsna_det.data.datamodule.RsnaDataModule.setup", read)
    monkeypatch.setattr("rsna_det.data.datamodule.read_labels", read)
    config = compose_config(
        "train", [f"data.root={synthetic_root}", "encoder=tiny", "trainer=cpu", "logger=csv", override]
    )
    config.run_dir = str(tmp_path)
    with pytest.raises(RsnaDetError, match=message):
        run(check_config(config, TrainOptions))


@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.precision=bf16-mixed",),
        ("trainer.precision=16-mixed", "trainer.strategy=ddp_find_unused_parameters_true"),
        ("+trainer.val_check_interval=1.0", "+trainer.overfit_batches=0", "+trainer.max_steps=-1"),
        ("+trainer.max_steps=100", "+trainer.max_time='00:01:00:00'", "trainer.limit_train_batches=1"),
        ("optimizer=short", "+trainer.check_val_every_n_epoch=2", "trainer.limit_val_batches=0"),
        ("debug=fast",),
        ("debug=overfit",),
    ],
)
def test_what_the_trainer_can_do_right_is_not_refused(overrides: tuple[str, ...]) -> None:
    check_trainer(check_config(composed("data.root=somewhere", "trainer=cpu", *overrides), TrainOptions))


@pytest.mark.parametrize("accelerator", ["gpu", "auto"])
def test_apples_gpu_is_refused_with_the_remedy(accelerator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"Apple's MPS here, which lacks float64: set `trainer=cpu`"):
        check_accelerator({"accelerator": accelerator})
    check_accelerator({"accelerator": "cpu"})


def test_every_value_lives_in_one_place() -> None:
    """No value of conf/ repeats the default of the signature that it is handed to."""
    repeated = []
    for group, choice in CHOICES:
        config = OmegaConf.to_container(composed(f"{group}={choice}", *EXTRA.get((group, choice), [])), resolve=True)
        for name, node in _targets(config, ""):
            if not node["_target_"].startswith("rsna_det"):
                continue
            parameters = parameters_of(get_object(str(node["_target_"])))
            repeated += [
                f"{name}.{key}"
                for key in node
                if key in parameters and parameters[key].default is not inspect.Parameter.empty
            ]
    assert not set(repeated)


def _targets(node: object, name: str) -> list[tuple[str, dict[str, object]]]:
    if not isinstance(node, dict):
        return []
    own = [(name, node)] if "_target_" in node else []
    return own + [found for key, child in node.items() for found in _targets(child, f"{name}.{key}")]
