"""The two forms of the map from image to true patient."""

import json
from pathlib import Path

import pytest

from rsna_det.data.labels.csv_tables import LabelError
from rsna_det.data.labels.patients import read_patients


def problems(path: Path) -> list[str]:
    with pytest.raises(LabelError) as caught:
        read_patients(path)
    return [str(found).removeprefix(str(path)) for found in caught.value.problems]


def rsna(path: Path, *entries: object) -> Path:
    path.write_text(json.dumps(list(entries)))
    return path


def entry(image_id: object, nih_image: object) -> dict[str, object]:
    return {"img_id": nih_image, "subset_img_id": image_id, "orig_labels": ["Mass"], "subset_group": "train"}


def test_csv_keeps_leading_zeros_and_passes_over_more_columns(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("kind,patientId,true_patient\nreal,a,00009520\nreal,b,00009520\nreal,c,7\n")
    assert read_patients(path) == {"a": "00009520", "b": "00009520", "c": "7"}


def test_rsna_s_mapping_file(tmp_path: Path) -> None:
    path = rsna(tmp_path / "map.json", entry("a", "00001234_005.png"), entry("b", "00001234_017.png"))
    assert read_patients(path) == {"a": "00001234", "b": "00001234"}


@pytest.mark.parametrize("name", ["mapping.csv", "mapping", "mapping.json"])
def test_the_form_is_seen_from_the_content(tmp_path: Path, name: str) -> None:
    assert read_patients(rsna(tmp_path / name, entry("a", "00000001_000.png"))) == {"a": "00000001"}
    (tmp_path / name).write_text("patientId,true_patient\na,1\n")
    assert read_patients(tmp_path / name) == {"a": "1"}


def test_the_same_row_twice_says_nothing_new(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("patientId,true_patient\na,1\na,1\n")
    assert read_patients(path) == {"a": "1"}


def test_all_faults_of_a_csv_at_once(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("patientId,true_patient\na,1\nb,\n../c,3\na,2\nd,image:d\n")
    assert problems(path) == [
        ", row 4: id '../c'; expected letters, digits, '.', '_' and '-' only",
        ", row 3: image b has the patient ''; leave such a row out",
        ", row 6: image d has the patient 'image:d'; leave such a row out",
        ", row 5: image a has the patients 1 and 2",
    ]


def test_all_faults_of_a_mapping_file_at_once(tmp_path: Path) -> None:
    path = rsna(
        tmp_path / "map.json", entry("a", "1_0.png"), entry("a", "2_0.png"), entry("b", "x.png"), entry(5, "1_0.png"),
        entry("c", None), "d", entry("e/f", "3_0.png"),
    )  # fmt: skip
    found = problems(path)
    assert [text.split(" has")[0] for text in found] == [
        ": entry 3", ": entry 4", ": entry 5", ": entry 6",
        ": id 'e/f'; expected letters, digits, '.', '_' and '-' only", ": image a",
    ]  # fmt: skip
    assert "patients 1 and 2" in found[-1]


@pytest.mark.parametrize("text", ['{"a": 1}', "[]", "[1", "[1]", '["a"]'])
def test_json_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)
    assert len(problems(path)) == 1


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone: there is no such file; expected a map from patientId to"):
        read_patients(tmp_path / "gone")


def test_the_map_of_the_real_radiographs(real_data: Path) -> None:
    patients = read_patients(real_data / "patients.csv")
    assert all(patients.values())
    assert 1 < len(set(patients.values())) <= len(patients)
