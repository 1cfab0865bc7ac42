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

from rsna_det.data.labels.csv_tables import Finding, LabelError, check_ids, read_table, report_rows
from rsna_det.structures import UNKNOWN_PATIENT

_RSNA_KEYS = ("subset_img_id", "img_id")


def read_patients(path: Path) -> dict[str, str]:
    """Image id -> true patient.

    Raises:
        FileNotFoundError: there is no such file.
        LabelError: all that is wrong with the map, such as an image with two patients.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a map from patientId to true_patient and found no such file")
    with path.open("rb") as file:
        start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    table, findings = _read_rsna_map(path) if start in (b"[", b"{") else _read_csv_map(path)
    findings += check_ids(path, table) + _check_patients(path, table)
    if findings:
        raise LabelError(findings)
    return dict(zip(table["patientId"], table["true_patient"], strict=True))


def _read_csv_map(path: Path) -> tuple[pd.DataFrame, list[Finding]]:
    return read_table(path, ["patientId", "true_patient"]), []


def _read_rsna_map(path: Path) -> tuple[pd.DataFrame, list[Finding]]:
    """RSNA's list as a table; entries have no line numbers, so their findings say which entry it is."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise LabelError([Finding(file=path, row=None, problem=f"not JSON in UTF-8 ({error})")]) from error
    if not isinstance(entries, list) or not entries:
        problem = "a JSON file that is no list of entries with subset_img_id and img_id; is it RSNA's mapping file?"
        raise LabelError([Finding(file=path, row=None, problem=problem)])
    findings, ids, patients = [], [], []
    for number, entry in enumerate(entries, start=1):
        image_id, nih_image = (entry.get(key) if isinstance(entry, dict) else None for key in _RSNA_KEYS)
        nih = re.match(r"([0-9]+)_", nih_image) if isinstance(nih_image, str) else None
        if isinstance(image_id, str) and nih:
            ids.append(image_id)
            patients.append(nih[1])
        else:
            problem = f"entry {number} has subset_img_id {image_id!r} and img_id {nih_image!r}; expected an id "
            findings.append(Finding(file=path, row=None, problem=problem + "and a name like '00001234_005.png'"))
    return pd.DataFrame({"patientId": ids, "true_patient": patients, "row": None}, dtype=object), findings


def _check_patients(path: Path, table: pd.DataFrame) -> list[Finding]:
    """Findings on patients without a name, with a name of ours, and on images of two patients."""
    unnamed = table[(table["true_patient"] == "") | table["true_patient"].str.startswith(UNKNOWN_PATIENT)]
    findings = report_rows(path, unnamed, "image {patientId} has the patient {true_patient!r}; leave such a row out")
    first = table.drop_duplicates("patientId").set_index("patientId")["true_patient"]
    known = table.assign(known=table["patientId"].map(first))
    clash = known[known["true_patient"] != known["known"]]
    return findings + report_rows(path, clash, "image {patientId} has the patients {known} and {true_patient}")
