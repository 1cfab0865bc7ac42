"""Which images show the same person: maps from the challenge's ids to the patients of the NIH's archive.

The challenge's ``patientId`` names an image; most patients have several. Two forms of map are read, told apart
by content: a CSV with the columns ``patientId,true_patient`` (more columns are allowed), and the file that RSNA
publishes with the challenge, a JSON list of entries such as ``{"subset_img_id": "<patientId>", "img_id":
"00001234_005.png", ...}``, where the digits before the underscore are the NIH's patient.
"""

import json
import re
from pathlib import Path

import pandas as pd

from rsna_det.data.labels.csv_tables import LabelError, LabelProblem, check_ids, read_table, report_rows
from rsna_det.files.reading import readable
from rsna_det.structures import UNKNOWN_PATIENT

_RSNA_KEYS = ("subset_img_id", "img_id")


def read_patients(path: Path) -> dict[str, str]:
    """Image id -> true patient.

    Raises:
        MissingFileError, StorageError: the file cannot be read.
        LabelError: everything that is wrong with the map, such as an image with two patients.
    """
    with readable(path, missing="expected a map from patientId to true_patient"), path.open("rb") as file:
        start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    table, problems = _read_rsna_map(path) if start in (b"[", b"{") else _read_csv_map(path)
    problems += check_ids(path, table) + _check_patients(path, table)
    if problems:
        raise LabelError(problems)
    return dict(zip(table["patientId"], table["true_patient"], strict=True))


def _read_csv_map(path: Path) -> tuple[pd.DataFrame, list[LabelProblem]]:
    return read_table(path, ["patientId", "true_patient"]), []


def _read_rsna_map(path: Path) -> tuple[pd.DataFrame, list[LabelProblem]]:
    """RSNA's list as a table; entries have no line numbers, so problems name the entry's number instead."""
    try:
        with readable(path):
            entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise LabelError([LabelProblem(file=path, row=None, problem=f"not JSON in UTF-8 ({error})")]) from error
    if not isinstance(entries, list) or not entries:
        problem = "a JSON file without a list of entries with subset_img_id and img_id; is it RSNA's mapping file?"
        raise LabelError([LabelProblem(file=path, row=None, problem=problem)])
    problems, ids, patients = [], [], []
    for number, entry in enumerate(entries, start=1):
        image_id, nih_image = (entry.get(key) if isinstance(entry, dict) else None for key in _RSNA_KEYS)
        nih = re.match(r"([0-9]+)_", nih_image) if isinstance(nih_image, str) else None
        if isinstance(image_id, str) and nih:
            ids.append(image_id)
            patients.append(nih[1])
        else:
            problem = f"entry {number} has subset_img_id {image_id!r} and img_id {nih_image!r}; expected an id "
            problems.append(LabelProblem(file=path, row=None, problem=problem + "and a name like '00001234_005.png'"))
    return pd.DataFrame({"patientId": ids, "true_patient": patients, "row": None}, dtype=object), problems


def _check_patients(path: Path, table: pd.DataFrame) -> list[LabelProblem]:
    """Problems with empty patient names, names that are reserved here, and images of two patients."""
    unnamed = table[(table["true_patient"] == "") | table["true_patient"].str.startswith(UNKNOWN_PATIENT)]
    problems = report_rows(path, unnamed, "image {patientId} has the patient {true_patient!r}; leave such a row out")
    first = table.drop_duplicates("patientId").set_index("patientId")["true_patient"]
    known = table.assign(known=table["patientId"].map(first))
    clash = known[known["true_patient"] != known["known"]]
    return problems + report_rows(path, clash, "image {patientId} has the patients {known} and {true_patient}")
