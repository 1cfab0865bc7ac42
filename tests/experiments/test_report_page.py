"""A report's page: whole in itself, safe from what it shows, and seen through a browser."""

import base64
import html.parser
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from experiments.reporting.examples import VariantDetections, example_groups
from experiments.reporting.page import Pictures, StudyDetails, write_page
from experiments.reporting.radiographs import SIDE, thumbnail, thumbnails
from experiments.reporting.study_report import Part
from rsna_det.drawing.boxes import DETECTION_COLOUR, TRUTH_COLOUR
from rsna_det.evaluation.image_results import image_results
from rsna_det.evaluation.metric import scores_of_lists
from rsna_det.evaluation.out_of_fold import true_boxes
from rsna_det.runs.folder import RunFolder
from rsna_det.structures import Detections

HOSTILE = "<script>alert('x')</script>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def found(*boxes: tuple[float, float, float, float, float]) -> Detections:
    """Boxes with their scores, best first."""
    table = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
    return Detections(boxes=table[:, :4], scores=table[:, 4])


IMAGES = pd.DataFrame(
    {
        "image_id": ["found", "missed-large", "missed-small", "healthy", "alarm", "strong-alarm"],
        "true_patient": list("abcdef"),
        "fold": [0, 0, 0, 1, 1, 1],
        "category": [1, 1, 1, 0, 2, 2],
        "boxes": [[[10, 10, 60, 60]], [[0, 0, 90, 90]], [[0, 0, 20, 20]], [], [], []],
    }
)
"""The first radiograph is 200 x 100 pixels, in which its labelled box ends at 60."""


def shown(name: str, *detections: Detections) -> VariantDetections:
    truths = true_boxes(IMAGES)
    scores = scores_of_lists(detections=detections, truths=truths, cuts=[0.0])[:, 0].numpy()
    results = image_results(images=IMAGES, detections=detections, truths=truths, scores=scores)
    return VariantDetections(variant=name, epoch=3, cut=0.2, detections=detections, results=results)


@pytest.fixture
def variants() -> list[VariantDetections]:
    right, alarm = found((10, 10, 60, 60, 0.9)), found((5, 5, 50, 50, 0.3))
    strong = found((5, 5, 50, 50, 0.8))
    return [
        shown("plain", right, found(), found(), found(), alarm, strong),
        shown(HOSTILE, found((40, 40, 90, 90, 0.5)), found(), found(), found(), found(), strong),
    ]


def details(variants: list[VariantDetections], *, pictured: bool = True) -> StudyDetails:
    groups = example_groups(variants, IMAGES, count=2)
    grey = np.tile(np.linspace(0, 255, 200, dtype=np.uint8), (100, 1))
    return StudyDetails(
        command=f"python -m rsna_det.train -m +sweep=p2 data.root='{HOSTILE}'",
        baseline="plain",
        caveats=["The runs used several versions of torch: 2.9, 2.10."],
        options=pd.DataFrame({"option": ["model.levels"], "plain": ["[2, 3]"], HOSTILE: ["[3]"]}),
        runs=pd.DataFrame(
            {"variant": ["plain", HOSTILE], "fold": [0, 0], "seed": [0, 0], "minutes": [30.0, 60.0], "device": "cpu",
             "commit": "0123456789"}
        ),
        images=IMAGES,
        pictures=Pictures(
            variants=variants,
            groups=groups,
            thumbnails={name: thumbnail(grey) for name in IMAGES["image_id"]} if pictured else {},
        ),
    )  # fmt: skip


def comparison() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "variant": ["plain", HOSTILE],
            "map": [0.2, 0.25],
            "map_low": [0.15, 0.2],
            "map_high": [0.25, 0.3],
            "paper": [np.nan, np.nan],
            "difference": [0.0, 0.05],
            "difference_low": [0.0, 0.02],
            "difference_high": [0.0, 0.08],
            "p_value": [np.nan, 0.01],
            "p_holm": [np.nan, 0.01],
            "standard_error": [0.0, 0.015],
        }
    )


@pytest.fixture
def page(tmp_path: Path, variants: list[VariantDetections]) -> Path:
    """A study's page with a red figure."""
    figure = tmp_path / "figure.png"
    Image.new("RGB", (300, 40), (255, 0, 0)).save(figure)
    part = Part(
        name="p2", title="Comparison", text=f"Two *words* and {HOSTILE}", table=comparison(), figure=figure
    )  # fmt: skip
    path = tmp_path / "p2.html"
    write_page(path, title=f"P2 {HOSTILE}", parts=[part], details=details(variants))
    return path


class Reader(html.parser.HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [own for name, own in self.tags if name == tag]


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    read = Reader(page)
    assert read.open == []
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "link", "iframe", "object", "embed"})
    for _, attributes in read.tags:
        for name, value in attributes.items():
            if name in {"src", "href"}:
                assert re.match(r"data:image/(png|jpeg);base64,|#", str(value)), value
            assert not name.startswith("on")
    links = {str(a["href"]).removeprefix("#") for a in read.attributes("a")} | {
        str(a["href"]).removeprefix("#") for a in read.attributes("use")
    }
    assert links <= {str(a.get("id")) for _, a in read.tags}
    policy = next(a["content"] for a in read.attributes("meta") if a.get("http-equiv"))
    assert str(policy).startswith("default-src 'none'")


def test_what_is_shown_cannot_act(page: Path) -> None:
    assert "<script" not in page.read_text(encoding="utf-8")
    text = " ".join(Reader(page).words)
    assert text.count(HOSTILE) > 5


def test_the_numbers_stand_with_their_intervals(page: Path) -> None:
    text = " ".join(" ".join(Reader(page).words).split())
    assert "0.250 (0.200 to 0.300)" in text
    assert "0.050 (0.020 to 0.080)" in text
    # The baseline has no difference from itself.
    assert "0.000" not in text
    assert page.read_text(encoding="utf-8").count('<tr class="significant">') == 1
    assert "Green rows are significantly different (Holm-adjusted p < 0.05) from plain." in text
    assert "true patients 6 intervals 95% bootstraps over true patients" in text
    assert "3 on 3 images" in text
    assert "2 (2 variants, 1 fold, 1 seed), 1 h 30 min in total" in text
    assert "several versions of torch" in text


def test_boxes_are_drawn_in_source_pixels(page: Path) -> None:
    read = Reader(page)
    views = [a["viewbox"] for a in read.attributes("svg") if "viewbox" in a]
    assert set(views) == {"0 0 200 100"}
    rectangles = [
        (a["class"], float(str(a["x"])), float(str(a["y"])), float(str(a["width"])), float(str(a["height"])))
        for a in read.attributes("rect")
    ]
    assert ("truth", 10, 10, 50, 50) in rectangles
    assert ("detection", 40, 40, 50, 50) in rectangles
    pictures = [str(a["href"]).partition(",")[2] for a in read.attributes("image")]
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (200, 100)


def test_images_are_chosen_by_kind(variants: list[VariantDetections]) -> None:
    groups = {group.title: [IMAGES["image_id"][i] for i in group.images] for group in
              example_groups(variants, IMAGES, count=2)}  # fmt: skip
    # Of the three with boxes one is found by one variant of two; of those that none finds the larger comes first.
    assert groups["Missed"] == ["missed-large", "missed-small"]
    # Both variants draw on the one, one on the other; nobody on the healthy one.
    assert groups["False positives"] == ["strong-alarm", "alarm"]
    assert groups["Best"] == ["found"]
    # Score 1 and 0 on the one, "does not count" (as good as right) and 0 on the other; the more confident first.
    assert groups["Where the variants differ most"] == ["found", "alarm"]


def test_kinds_without_an_image_are_left_out() -> None:
    nothing = [shown("a", *[found()] * 6), shown("b", *[found()] * 6)]
    groups = example_groups(nothing, IMAGES, count=3)
    assert [group.title for group in groups] == ["Missed"]
    assert len(groups[0].images) == 3


def test_a_page_without_radiographs_says_so(tmp_path: Path, variants: list[VariantDetections]) -> None:
    part = Part(name="p2", title="Comparison", text="", table=comparison())
    write_page(tmp_path / "p.html", title="P2", parts=[part], details=details(variants, pictured=False))
    assert "the radiograph could not be read" in " ".join(Reader(tmp_path / "p.html").words)


def test_a_report_that_is_no_study_has_a_page(tmp_path: Path) -> None:
    part = Part(
        name="samples", title="Samples", text="Counts.", table=pd.DataFrame({"images": [26684], "share": [0.5]})
    )
    write_page(tmp_path / "p.html", title="Samples", parts=[part], details=None)
    read = Reader(tmp_path / "p.html")
    assert read.open == []
    words = " ".join(read.words)
    assert "26,684" in words
    assert "0.500" in words
    assert "Radiographs" not in words


def test_a_thumbnail_is_reduced_and_never_enlarged() -> None:
    large = thumbnail(np.zeros((1000, 500), np.uint8))
    assert (large.width, large.height) == (500, 1000)
    assert Image.open(io.BytesIO(base64.b64decode(large.jpeg))).size == (SIDE // 2, SIDE)
    assert Image.open(io.BytesIO(base64.b64decode(thumbnail(np.zeros((9, 7), np.uint8)).jpeg))).size == (7, 9)


def test_radiographs_that_are_gone_are_warned_of(
    trained_folds: list[Path], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run = RunFolder(trained_folds[0])
    truth = pd.read_parquet(trained_folds[0] / "predictions" / "truth.parquet")
    ids = truth["image_id"].tolist()[:2]
    assert list(thumbnails([*ids, *ids], run=run)) == ids
    assert list(thumbnails(["../../etc/passwd", ids[0]], run=run)) == [ids[0]]
    assert "the page lacks the radiograph ../../etc/passwd" in caplog.text
    moved = RunFolder(tmp_path)
    moved.composed_config.parent.mkdir()
    text = run.composed_config.read_text()
    moved.composed_config.write_text(text.replace("root: /", "root: /gone/"))
    assert thumbnails(ids, run=moved) == {}
    assert "the page has no radiographs" in caplog.text


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")
def test_a_browser_shows_figures_and_boxes(page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1240,3600", f"--screenshot={picture}"]
    command = [str(CHROMIUM), *options, page.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)
    # Of a blocked or broken part the browser says so.
    assert not re.search(r"CONSOLE|Refused|Content.Security", done.stderr), done.stderr
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    # The red figure in full, true boxes and detections in their colours, and the greys of the radiographs.
    assert count(pixels, (255, 0, 0)) >= 0.9 * 300 * 40
    assert count(pixels, TRUTH_COLOUR) > 300
    assert count(pixels, DETECTION_COLOUR) > 300
    greys = pixels[(pixels.max(axis=2) - pixels.min(axis=2)) <= 2][:, 0]
    assert len(np.unique(greys)) > 60


def count(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels - np.array(colour)).max(axis=2) <= 12).sum())
