"""Label tables: the frame that good ones give, and every problem of bad ones."""

import time
from pathlib import Path

import numpy as np
import pytest

from rsna_det.data.dicom.reading import find_dicoms
from rsna_det.data.labels.csv_tables import LabelError
from rsna_det.data.labels.frame import UNKNOWN_CATEGORY
from rsna_det.data.labels.reading import read_labels, read_test_ids, read_truth
from rsna_det.data.layout import CLASS_CSV, LABELS_CSV
from rsna_det.errors import MissingFileError, StorageError
from rsna_det.structures import Category

BOXES = """patientId,x,y,width,height,Target
n,,,,,0
o,10.0,20.5,30.0,40.0,1
a,,,,,0
p,1,2,3,4,1
o,100,200,300,400,1
"""
CLASSES = """patientId,class
n,Normal
o,Lung Opacity
a,No Lung Opacity / Not Normal
p,Lung Opacity
o,Lung Opacity
"""


def save(root: Path, *, boxes: str = BOXES, classes: str = CLASSES) -> Path:
    (root / LABELS_CSV).write_text(boxes)
    (root / CLASS_CSV).write_text(classes)
    return root


def problems(root: Path, **options: object) -> list[str]:
    with pytest.raises(LabelError) as caught:
        read_labels(root=root, **options)  # type: ignore[arg-type]
    return [f"{found.file.name}:{found.row}: {found.problem}" for found in caught.value.problems]


def test_good_tables(tmp_path: Path) -> None:
    images = read_labels(root=save(tmp_path))
    assert images["image_id"].tolist() == ["a", "n", "o", "p"]
    assert images["category"].tolist() == [Category.ABNORMAL, Category.NORMAL, Category.OPACITY, Category.OPACITY]
    assert images["true_patient"].tolist() == ["image:a", "image:n", "image:o", "image:p"]
    assert images["width"].tolist() == images["height"].tolist() == [1024] * 4
    assert list(images.index) == [0, 1, 2, 3]
    boxes = images["boxes"]
    assert [part.shape for part in boxes] == [(0, 4), (0, 4), (2, 4), (1, 4)]
    assert {part.dtype for part in boxes} == {np.dtype(np.float32)}
    # x1, y1, x + width, y + height, in the order of the file though the rows of "o" are apart
    assert boxes[2].tolist() == [[10, 20.5, 40, 60.5], [100, 200, 400, 600]]
    assert boxes[3].tolist() == [[1, 2, 4, 6]]


def test_a_class_table_with_each_id_once_is_as_good(tmp_path: Path) -> None:
    once = CLASSES.removesuffix("o,Lung Opacity\n")
    assert len(read_labels(root=save(tmp_path, classes=once))) == 4


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    (tmp_path / CLASS_CSV).write_text(CLASSES)
    with pytest.raises(MissingFileError, match=r"train_labels\.csv: there is no such file; expected a CSV with"):
        read_labels(root=tmp_path)
    (tmp_path / LABELS_CSV).mkdir()
    with pytest.raises(StorageError, match=r"stage_2_train_labels\.csv cannot be read \(Is a directory\)"):
        read_labels(root=tmp_path)


def test_only_images_without_boxes(tmp_path: Path) -> None:
    save(tmp_path, boxes="patientId,x,y,width,height,Target\nn,,,,,0\n", classes="patientId,class\nn,Normal\n")
    assert [part.shape for part in read_labels(root=tmp_path)["boxes"]] == [(0, 4)]


def test_patients_come_from_the_map_and_other_images_keep_their_own(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("patientId,true_patient\nn,007\na,007\nelsewhere,9\n")
    images = read_labels(root=save(tmp_path), patients_csv=tmp_path / "map.csv")
    assert images["true_patient"].tolist() == ["007", "007", "image:o", "image:p"]


def test_the_map_of_other_data_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("patientId,true_patient\nelsewhere,9\n")
    (found,) = problems(save(tmp_path), patients_csv=tmp_path / "map.csv")
    assert found.startswith("map.csv:None: none of its 1 images")


def test_sizes_come_from_the_images_and_bound_the_boxes(tmp_path: Path) -> None:
    sizes = {"n": (5, 6), "a": (7, 8), "o": (600, 400), "p": (6, 4)}
    images = read_labels(root=save(tmp_path), sizes=sizes, image_ids_on_disk=list(sizes))
    assert images["height"].tolist() == [7, 5, 600, 6]
    assert images["width"].tolist() == [8, 6, 400, 4]
    found = problems(tmp_path, sizes=sizes | {"o": (599, 400)})
    assert found == [
        f"{LABELS_CSV}:6: box x=100 y=200 width=300 height=400 reaches outside its image of 400 x 599 pixels"
    ]


def test_images_and_labels_must_match(tmp_path: Path) -> None:
    remedy = "add them or move the file away"
    assert problems(save(tmp_path), image_ids_on_disk=["n", "o", "a", "extra"]) == [
        f"{LABELS_CSV}:5: there is no file for image p",
        f"{LABELS_CSV}:None: image extra has a file among the training images but no labels; {remedy}",
    ]
    sizes = {"n": (1024, 1024), "o": (1024, 1024), "a": (1024, 1024)}
    assert problems(tmp_path, sizes=sizes) == [f"{LABELS_CSV}:5: there is no file for image p"]
    assert problems(tmp_path, sizes=sizes, image_ids_on_disk=["n", "o", "a", "p"]) == [
        f"{LABELS_CSV}:5: the size of image p is unknown"
    ]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("n,,,,,0", "n,,,,,2", ["2: Target is 2, expected 0 or 1"]),
        ("n,,,,,0", "n,,,,,", ["2: Target is '', expected a finite number"]),
        ("n,,,,,0", "n,,,,,yes", ["2: Target is 'yes', expected a finite number"]),
        ("n,,,,,0", "n,nan,NaN,,,0.0", []),
        ("p,1,2,3,4,1", "p,1,2,3,four,1", ["5: height is 'four', expected a finite number"]),
        ("p,1,2,3,4,1", "p,inf,2,3,4,1", ["5: x is 'inf', expected a finite number"]),
        ("p,1,2,3,4,1", "p,x,2,,4,1",
         ["5: x is 'x', expected a finite number; only some of x, y, width, height are given"]),
        ("p,1,2,3,4,1", "p,1,2,,4,1", ["5: only some of x, y, width, height are given"]),
        ("p,1,2,3,4,1", "p,1,2,0,4,1", ["5: box x=1 y=2 width=0 height=4 has no area"]),
        ("p,1,2,3,4,1", "p,1,2,3,-4,1", ["5: box x=1 y=2 width=3 height=-4 has no area"]),
        ("p,1,2,3,4,1", "p,-1,2,3,4,1",
         ["5: box x=-1 y=2 width=3 height=4 reaches outside its image of 1024 x 1024 pixels"]),
        ("p,1,2,3,4,1", "p,1,2,3,1022.5,1",
         ["5: box x=1 y=2 width=3 height=1022.5 reaches outside its image of 1024 x 1024 pixels"]),
        ("p,1,2,3,4,1", "p,1,2,3,1022,1", []),
        ("p,1,2,3,4,1", "p,1023,1023,1,1,1", []),
        ("p,1,2,3,4,1\n", "p,1,2,3,4,1\np,1.0,2,3,4,1\n", ["6: box x=1 y=2 width=3 height=4 occurs twice"]),
        ("n,,,,,0\n", "n,,,,,0\nn,,,,,0\n", ["3: image n has two rows without a box"]),
        ("p,1,2,3,4,1", "p,1,2,3,4,0",
         ["5: Target is 0 but there is a box",
          f"5: Target is 0 but the category in {CLASS_CSV} is 'Lung Opacity'"]),
        ("p,1,2,3,4,1", "p,,,,,1", ["5: Target is 1 but there is no box"]),
        ("p,1,2,3,4,1", "p,,,,,0", [f"5: Target is 0 but the category in {CLASS_CSV} is 'Lung Opacity'"]),
        ("n,,,,,0", "n,1,2,3,4,1", [f"2: Target is 1 but the category in {CLASS_CSV} is 'Normal'"]),
        ("p,1,2,3,4,1\n", "p,1,2,3,4,1\np,,,,,0\n", ["6: Target differs from that of the image's first row"]),
    ],
)  # fmt: skip
def test_faults_of_the_box_table(tmp_path: Path, old: str, new: str, found: list[str]) -> None:
    assert old in BOXES
    save(tmp_path, boxes=BOXES.replace(old, new))
    if found:
        assert problems(tmp_path) == [f"{LABELS_CSV}:{line}" for line in found]
    else:
        assert len(read_labels(root=tmp_path)) == 4


KNOWN = "expected one of 'No Lung Opacity / Not Normal', 'Normal', 'Lung Opacity'"


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("n,Normal", "n,normal", [f"{CLASS_CSV}:2: category 'normal', {KNOWN}"]),
        ("n,Normal", "n,", [f"{CLASS_CSV}:2: category '', {KNOWN}"]),
        ("p,Lung Opacity\no", "o", [f"{LABELS_CSV}:5: image p is not in {CLASS_CSV}"]),
        ("n,Normal", "n,Normal\nz,Normal", [f"{CLASS_CSV}:3: image z is not in {LABELS_CSV}"]),
        ("n,Normal", "n,Normal\nn,Lung Opacity",
         [f"{CLASS_CSV}:3: image n has the categories 'Normal' and 'Lung Opacity'"]),
        ("n,Normal", "n,Lung Opacity",
         [f"{LABELS_CSV}:2: Target is 0 but the category in {CLASS_CSV} is 'Lung Opacity'"]),
        ("patientId", "id", [f"{CLASS_CSV}:1: column 'patientId' is missing; found id, class"]),
    ],
)  # fmt: skip
def test_faults_of_the_class_table(tmp_path: Path, old: str, new: str, found: list[str]) -> None:
    assert old in CLASSES
    assert problems(save(tmp_path, classes=CLASSES.replace(old, new))) == found


def test_ids_never_become_paths(tmp_path: Path) -> None:
    bad = "../../etc/passwd"
    boxes, classes = BOXES.replace("\nn,", f"\n{bad},"), CLASSES.replace("\nn,", f"\n{bad},")
    found = problems(save(tmp_path, boxes=boxes, classes=classes), image_ids_on_disk=["o", "a", "p"])
    rule = f"2: id '{bad}'; expected letters, digits, '.', '_' and '-' only"
    assert found == [f"{LABELS_CSV}:{rule}", f"{CLASS_CSV}:{rule}"]


def test_one_error_lists_the_faults_of_all_files(tmp_path: Path) -> None:
    boxes = BOXES.replace("p,1,2,3,4,1", "p,1,2,3,,1").replace("n,,,,,0", "n,,,,,7")
    (tmp_path / "map.csv").write_text("patientId,true_patient\nn,1\nn,2\n")
    save(tmp_path, boxes=boxes, classes=CLASSES.replace("a,No Lung Opacity / Not Normal", "a,Sick"))
    found = problems(tmp_path, patients_csv=tmp_path / "map.csv", image_ids_on_disk=["n", "o", "p"])
    assert [line.split(":")[:2] for line in found] == [
        ["map.csv", "3"], [LABELS_CSV, "5"], [LABELS_CSV, "2"], [CLASS_CSV, "4"], [LABELS_CSV, "4"],
    ]  # fmt: skip


def test_both_tables_unreadable_is_one_error(tmp_path: Path) -> None:
    found = problems(save(tmp_path, boxes="patientId,x\nn,1\n", classes="patientId,class\n"))
    assert [line.split(":")[0] for line in found] == [LABELS_CSV] * 4 + [CLASS_CSV]


def test_tables_of_the_challenge_s_size_are_read_fast(tmp_path: Path) -> None:
    names = [f"{number:08d}-image" for number in range(26_000)]
    lines = [f"{name},{n % 500},7,30,40,1" if n % 4 == 0 else f"{name},,,,,0" for n, name in enumerate(names)]
    classes = [f"{name},{'Lung Opacity' if n % 4 == 0 else 'Normal'}" for n, name in enumerate(names)]
    save(tmp_path, boxes="\n".join([BOXES.splitlines()[0], *lines]), classes="\n".join(["patientId,class", *classes]))
    start = time.process_time()
    images = read_labels(root=tmp_path, image_ids_on_disk=names)
    assert time.process_time() - start < 10.0, "about 1 s is normal; 10 s leaves room for a busy machine"
    assert images["boxes"].map(len).sum() == 6_500


@pytest.mark.parametrize(
    "text", ["patientId\na\nb\n", "fold,patientId\n1,a\n2,b\n", "a\nb\n", "a\r\n\r\n b \r\na\r\n", "\ufeffa\nb"]
)
def test_ids_from_a_column_or_a_bare_list(tmp_path: Path, text: str) -> None:
    (tmp_path / "ids").write_text(text, encoding="utf-8")
    assert read_test_ids(tmp_path / "ids") == frozenset({"a", "b"})


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "no ids"), ("patientId\n", "no rows"), ("id,fold\na,1\n", "id 'id,fold'"), ("a\n../b\n", "row 2: id '../b'")],
)
def test_no_list_of_ids(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "ids").write_text(text)
    with pytest.raises(LabelError, match=found):
        read_test_ids(tmp_path / "ids")
    with pytest.raises(MissingFileError, match="patientId"):
        read_test_ids(tmp_path / "gone")


def test_real_labels(real_data: Path) -> None:
    paths = find_dicoms(real_data / "stage_2_train_images")
    images = read_labels(root=real_data, patients_csv=real_data / "patients.csv", image_ids_on_disk=paths)
    assert images["image_id"].tolist() == sorted(paths)
    with_boxes = images["boxes"].map(len) > 0
    assert (with_boxes == (images["category"] == Category.OPACITY)).all()


class TestTruth:
    """Labels to check predictions against: a folder, or a table of boxes alone."""

    def test_a_folder_is_read_like_a_training_set(self, tmp_path: Path) -> None:
        truth, images = read_truth(save(tmp_path)), read_labels(root=tmp_path)
        assert truth.drop(columns="boxes").equals(images.drop(columns="boxes"))
        assert [b.tolist() for b in truth["boxes"]] == [b.tolist() for b in images["boxes"]]

    @pytest.mark.parametrize("as_folder", [True, False])
    def test_a_table_of_boxes_alone_knows_only_the_positive_categories(self, as_folder: bool, tmp_path: Path) -> None:
        (tmp_path / LABELS_CSV).write_text(BOXES)
        truth = read_truth(tmp_path if as_folder else tmp_path / LABELS_CSV)
        assert truth["image_id"].tolist() == ["a", "n", "o", "p"]
        assert truth["category"].tolist() == [UNKNOWN_CATEGORY] * 2 + [Category.OPACITY] * 2
        assert truth["boxes"][2].tolist() == [[10, 20.5, 40, 60.5], [100, 200, 400, 600]]

    def test_sizes_choose_the_images_and_bound_their_boxes(self, tmp_path: Path) -> None:
        save(tmp_path, boxes=BOXES.replace("p,1,2,3,4,1", "p,1,2,3000,4,1"))
        truth = read_truth(tmp_path, sizes={"o": (700, 500), "unlabelled": (10, 10)})
        assert truth[["image_id", "height", "width"]].to_numpy().tolist() == [["o", 700, 500]]
        with pytest.raises(LabelError, match="outside its image of 399 x 700"):
            read_truth(tmp_path, sizes={"o": (700, 399)})
        with pytest.raises(LabelError, match="outside its image of 1024 x 1024"):
            read_truth(tmp_path)

    def test_labels_of_other_images_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(LabelError, match="none of the 1 images is in it"):
            read_truth(save(tmp_path), sizes={"x": (64, 64)})

    def test_true_patients_come_from_their_map(self, tmp_path: Path) -> None:
        (tmp_path / "patients.csv").write_text("patientId,true_patient\no,somebody\n")
        truth = read_truth(save(tmp_path), patients_csv=tmp_path / "patients.csv")
        assert truth["true_patient"].tolist() == ["image:a", "image:n", "somebody", "image:p"]

    def test_what_is_wrong_is_found_as_in_training_sets(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nowhere"):
            read_truth(tmp_path / "nowhere.csv")
        wrong = CLASSES.replace("n,Normal", "n,Lung Opacity")
        with pytest.raises(LabelError, match="Target is 0 but the category"):
            read_truth(save(tmp_path, classes=wrong))
        with pytest.raises(LabelError, match="has no area"):
            read_truth(save(tmp_path, boxes=BOXES.replace("1,2,3,4", "1,2,0,4")) / LABELS_CSV)


@pytest.mark.parametrize(
    "column",
    ["label", "known", "row", "image_id", "height", "category", "problem", "boxed", "0", "class.1", ""],
)
def test_columns_that_nobody_asked_for_change_nothing(column: str, tmp_path: Path) -> None:
    """Whatever their names are: some are those of columns that are computed later."""
    sound = read_labels(root=save(tmp_path))

    def wider(text: str) -> str:
        header, *rows = text.splitlines()
        return "\n".join([f"{header},{column}", *(f"{row},7" for row in rows)]) + "\n"

    found = read_labels(root=save(tmp_path, classes=wider(CLASSES)))
    assert found.astype(str).equals(sound.astype(str))
    wrong = problems(save(tmp_path, classes=wider(CLASSES.replace("Normal", "Odd", 1))))
    assert "stage_2_detailed_class_info.csv:2: category 'Odd', expected one of " in wrong[0]
