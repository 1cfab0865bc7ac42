"""Every command and snippet of the documents works, and what they say of names, options and rooms is so."""

import importlib.util
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from rsna_det.config.compose import CONF
from rsna_det.config.console import set_up
from rsna_det.studies.plan import study_names
from tests.documents import running
from tests.documents.parsing import DOCUMENTS, blocks, command_lines, commands, snippets, text_of, words_of
from tests.short_runs import CHECKOUT

README_LINES = 125
PICTURE_BYTES = 150_000

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


@pytest.fixture
def place(synthetic_root: Path, trained_folds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with data, radiographs, and two finished runs that kept the epochs 6 and 7."""
    shutil.copytree(synthetic_root, tmp_path / running.DATA)
    radiographs = sorted((synthetic_root / "stage_2_train_images").iterdir())[:3]
    (tmp_path / "radiographs").mkdir()
    for path in radiographs:
        shutil.copy(path, tmp_path / "radiographs" / path.name)
    shutil.copy(radiographs[0], tmp_path / "radiograph.dcm")
    for folder in trained_folds:
        copy = tmp_path / "runs" / "heavy_aug_norot" / folder.name
        shutil.copytree(folder, copy)
        for ours, theirs in (("epoch_00", "epoch_06"), ("epoch_01", "epoch_07")):
            shutil.copy(copy / "checkpoints" / f"{ours}.ckpt", copy / "checkpoints" / f"{theirs}.ckpt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_and_snippet_runs(document: str, place: Path) -> None:
    set_up()
    if document == "README.md":
        # It trains its own.
        shutil.rmtree(place / "runs")
    for command in commands(document):
        try_command(document, command)
    for snippet in snippets(document):
        exec(compile(snippet, document, "exec"), {})  # noqa: S102


def try_command(document: str, command: str) -> None:
    """Compose a command as it is written, and run it with small settings unless it is listed as one that is not run."""
    listed = running.reason_not_to_run(command)
    if command.startswith("make "):
        for expanded in recipe(command):
            module, arguments = running.module_and_arguments(expanded)
            running.check_as_written(module, arguments)
            if listed is None:
                running.run_module(module, arguments)
        return
    words = words_of(command, running.PLACES)
    if listed is not None and "-m" not in words:
        return
    module, arguments = running.module_and_arguments(words)
    running.check_as_written(module, arguments)
    if listed is None:
        running.run_module(module, running.with_small_settings(document, module, arguments))


def recipe(command: str) -> list[list[str]]:
    """The modules that a target of the Makefile starts."""
    make = ["make", "--dry-run", "--old-file=.venv/installed", *command.split()[1:]]
    done = subprocess.run(make, cwd=CHECKOUT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in command_lines(done.stdout) if " -m " in line]
    return [words for words in found if words[words.index("-m") + 1] != "pytest"]


def test_what_is_listed_as_not_run_is_in_a_document() -> None:
    used = {running.reason_not_to_run(command) for document in DOCUMENTS for command in commands(document)}
    assert set(running.NOT_RUN) <= used


def test_a_command_that_is_neither_run_nor_listed_is_an_error() -> None:
    with pytest.raises(AssertionError, match="neither a module, nor listed"):
        try_command("README.md", "kaggle competitions download")
    with pytest.raises(AssertionError, match="<place> has no value"):
        try_command("README.md", "python -m rsna_det.prepare data.root=<place>")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_of_a_kind_that_is_tried(document: str) -> None:
    assert {block.language for block in blocks(document)} <= {"sh", "python", ""}
    assert not any(" -m " in block.text for block in blocks(document) if not block.language)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        path, _, heading = target.partition("#")
        if not target.startswith("https://"):
            file = (CHECKOUT / document).parent / path
            assert file.exists(), target
            assert not heading or heading in headings(file), target


def headings(file: Path) -> set[str]:
    """The anchors that a page of GitHub's has."""
    titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_and_modules_that_are_named_exist(document: str) -> None:
    """Names in running text; commands in blocks are run."""
    for code in re.findall(r"`([^`\n]+)`", text_of(document)):
        if re.fullmatch(r"(rsna_det|conf|experiments|tests|benchmarks)/[\w./]+", code):
            assert (CHECKOUT / code).exists(), code
        for module in re.findall(r"python -m ([\w.]+)", code):
            assert importlib.util.find_spec(module.removesuffix(".")), code


def test_the_readme_is_short_and_begins_with_a_small_picture() -> None:
    assert len(text_of("README.md").splitlines()) <= README_LINES
    (picture,) = re.findall(r"!\[.+\]\((.+)\)", text_of("README.md"))
    assert (CHECKOUT / picture).stat().st_size < PICTURE_BYTES


def test_every_group_choice_and_option_is_explained() -> None:
    text = text_of("conf/README.md")
    hydra_own = {"hydra_logging", "job_logging"}
    for folder in sorted({path.parent for path in CONF.rglob("*.yaml")} - {CONF}):
        if folder.name in hydra_own:
            continue
        assert f"| `{folder.relative_to(CONF)}` |" in text
        for path in folder.glob("*.yaml"):
            assert path.stem == "base" or f"`{path.stem}`" in text, path
    for path in CONF.glob("*.yaml"):
        assert f"`{path.name}`" in text
        for key in yaml.safe_load(path.read_text()).keys() - {"defaults", "hydra"}:
            assert re.search(rf"`{key}[`.]", text), (path, key)
    for key in yaml.safe_load((CONF / "data" / "rsna.yaml").read_text()).keys() - {"_target_", "seed"}:
        assert f"`data.{key}`" in text, key


def test_every_study_experiment_and_module_of_figures_is_explained() -> None:
    text = text_of("experiments/README.md")
    for name in [*study_names(), *(path.stem for path in (CONF / "experiment").glob("*.yaml"))]:
        assert f"\n| `{name}` |" in text, name
    for path in (CHECKOUT / "experiments").glob("[a-z]*.py"):
        assert f"experiments.{path.stem}" in text or f"`{path.stem}`" in text, path


def test_every_room_and_dependency_is_explained() -> None:
    text = text_of("rsna_det/README.md")
    package = CHECKOUT / "rsna_det"
    rooms = [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    for name in [*rooms, *(path.name for path in package.glob("[a-z]*.py"))]:
        assert f"`{name}`" in text, name
    project = PROJECT["project"]
    named = {name for row in re.findall(r"^\| ([^|`]+) \|", text, re.MULTILINE) for name in row.split(", ")}
    for requirement in [
        *project["dependencies"],
        *(project["optional-dependencies"][name][0] for name in ("ray", "slurm")),
    ]:
        assert re.split(r"[=<>]", requirement)[0] in named, requirement


def test_the_import_contract_is_the_tested_one() -> None:
    (contract,) = [one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    assert "\n".join(contract["layers"]) + "\n" in [block.text for block in blocks("rsna_det/README.md")]
