"""Names of whales: words that mean none, white space and accents, and names that may mean the same whale."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.imports import call, rows, save, write
from hypothesis import given
from hypothesis import strategies as some

from whaleid.core.errors import InputProblems, WhaleidError
from whaleid.core.labels import NEW_WHALE
from whaleid.images.fingerprint import Fingerprint
from whaleid.importing import names
from whaleid.importing.add import new_labels
from whaleid.importing.checks import accepted, check
from whaleid.importing.source import Entry, Source

WORDS = ["nan", "NaN", "None", "null", "NA", "N/A", "#N/A", "____", "?", "-", "", " ", "unidentified", "Unknown 7"]
WORDS += [
    "UNKNOWN",
    "New_Whale",
    "not identified",
    "<NA>",
    "NaT",
    "(unknown)",
    "[none]",
    "Unid.",
    "n.a.",
    "Desconocida",
    "unk",
    "UNID-3",
    "#REF!",
    "#DIV/0!",
]


def source(*whales: str) -> Source:
    return Source("a source", Path(), [Entry(Path(f"{n}.jpg"), whale, "") for n, whale in enumerate(whales)])


def labels(*whales: str, keep: tuple[str, ...] = ()) -> list[str]:
    (cleaned,), _ = names.clean([source(*whales)], keep)
    return [entry.label for entry in cleaned.entries]


def test_words_for_no_whale_become_new_whale() -> None:
    assert {*labels(*(word or NEW_WHALE for word in WORDS))} == {NEW_WHALE}
    assert labels("Nana", "none7", "Unka", "0", "白鯨", "Ñ") == ["Nana", "none7", "Unka", "0", "白鯨", "Ñ"]


def test_a_word_can_be_kept_as_a_name() -> None:
    assert labels("NA", "nan", keep=("NA",)) == ["NA", NEW_WHALE]
    assert labels("unknown 7", "UNKNOWN 7", keep=("Unknown 7",)) == ["unknown_7", "UNKNOWN_7"]
    with pytest.raises(InputProblems, match=r"--keep-name without a photo of this name \(2\):\n  'N/A'\n  ' '\n"):
        labels("ann", " ", keep=("N/A", "ann", " "))


def test_labels_are_composed_and_have_no_white_space() -> None:
    assert labels("José", unicodedata.normalize("NFD", "José"), " José\t") == ["José"] * 3
    assert labels("big  fin", "big fin ") == ["big_fin"] * 2


def test_what_was_changed_is_counted_with_the_words() -> None:
    _, lines = names.clean([source("nan", "nan", "?", NEW_WHALE, "big fin", "ann")])
    assert lines == [
        "3 photos show a whale without a name and get the label new_whale: 'nan' (2), '?' (1). If one of these is a "
        "name, add --keep-name NAME",
        "1 photos have names with white space, which becomes _: 'big fin' (1)",
    ]
    _, lines = names.clean([source(" ", "  ", "nan")])
    assert lines[0].startswith("3 photos show a whale without a name and get the label new_whale: '' (2), 'nan' (1).")


def test_a_word_as_the_truth_of_a_query_means_that_it_is_not_known() -> None:
    entries = [Entry(Path("a.jpg"), "", "", truth=truth) for truth in ("nan", NEW_WHALE, "ann", "")]
    (cleaned,), lines = names.clean([Source("a source", Path(), entries)])
    assert lines == ["1 queries have no true label: 'nan' (1)"]
    assert [(entry.label, entry.truth) for entry in cleaned.entries] == [
        ("", ""),
        ("", NEW_WHALE),
        ("", "ann"),
        ("", ""),
    ]


@pytest.mark.parametrize(
    ("whales", "existing", "groups"),
    [
        (["7", "7.0", "007", "7,0", "70"], [], [["007", "7", "7,0", "7.0"]]),
        (["7", "7", "007"], [], [["7", "007"]]),
        (["7", "7", "007"], ["007"], [["007", "7"]]),
        (["Ann", "ann", "A_nn", "anna"], [], [["A_nn", "Ann", "ann"]]),
        (["w_1", "W-01", "w_10", "w_0"], [], [["W-01", "w_1"]]),
        (["ann", "ann\u200b", "\uff41nn"], [], [["ann", "ann\u200b", "\uff41nn"]]),
        (["0", "00", "1.05", "1.5", "1,05", "1,5", "10"], [], [["0", "00"]]),
        (["1_2", "12", "w_1"], [], []),
        (["ann"], ["Bob", "bob"], []),  # what the catalogue has is not changed
    ],
)
def test_similar_names_are_grouped(whales: list[str], existing: list[str], groups: list[list[str]]) -> None:
    assert names.similar([source(*whales)], existing) == groups


def test_similar_names_are_joined_only_on_request() -> None:
    for seed, place in enumerate(["7/a.png", "7/b.png", "007/c.png", "7.0/d.png"]):
        save(f"photos/{place}", seed)
    assert "similar names, which may mean the same whale: '7', '007', '7.0'. To treat each group" in call(
        "photos --dry-run"
    )
    assert not Path("whales").exists()
    assert "similar names, joined to the first of each group: '7', '007', '7.0'" in call("photos --join-names")
    assert {label for _, label in rows("whales/train.csv")[1:]} == {"7"}
    save("more/007/e.png", 9)
    assert "'7', '007'. To treat" in call("more --dry-run")


def test_unusual_names_are_shown_before_anything_is_written() -> None:
    assert names.unusual({"w_1", "w_22", "w_3", "w_4", "x", "Zoë?"}) == ["Zoë?", "x"]
    assert names.unusual({"ann", "bob"}) == []


def test_names_in_two_forms_of_unicode_are_one_whale() -> None:
    for seed, form in enumerate(("NFC", "NFD")):
        save(unicodedata.normalize(form, f"photos/José/ñ{seed}.png"), seed)
    call("photos")
    assert rows("whales/train.csv")[1:] == [["ñ0.png", "José"], ["ñ1.png", "José"]]


def test_a_table_finds_files_in_either_form_of_unicode() -> None:
    save(unicodedata.normalize("NFD", "ñ.png"), 1)
    write("birds.csv", "photo,whale", "ñ.png,ann")
    call("birds.csv")
    assert rows("whales/train.csv")[1:] == [["ñ.png", "ann"]]


@given(some.lists(some.one_of(some.text(min_size=1, max_size=6), some.sampled_from(WORDS[:10])), max_size=12))
def test_every_photo_is_of_a_whale_or_counted_as_of_none(whales: list[str]) -> None:
    (cleaned,), lines = names.clean([source(*whales)])
    unnamed = sum(entry.label == NEW_WHALE for entry in cleaned.entries) - whales.count(NEW_WHALE)
    counted = [int(line.split()[0].replace(",", "")) for line in lines if "show a whale without a name" in line]
    assert sum(counted) == unnamed
    assert all(entry.label.split() == [entry.label] for entry in cleaned.entries)


def test_errors_about_names_give_the_first_location_and_a_count() -> None:
    save("a.png", 1)
    entries = [Entry(Path("a.png"), label, f"t.csv, line {line}") for line, label in enumerate(["=x", "=x", "-y"], 2)]
    error = r"formula \(2\):\n  '-y': t.csv, line 4\n  '=x': t.csv, line 2 and 1 more\n"
    with pytest.raises(InputProblems, match=error):
        check([Source("a source", Path(), entries)])


def test_a_missing_photo_is_not_counted_as_one_of_another_format() -> None:
    sources, excluded = accepted([Source("a source", Path(), [Entry(Path("missing.heic"), "ann", "line 2")])])
    assert [entry.file.name for entry in sources[0].entries] == ["missing.heic"]
    assert excluded == []


def add_labels(*cells: str) -> list[str]:
    entries = [Entry(Path("a.jpg"), "", f"line {line}") for line in range(2, 2 + len(cells))]
    fingerprints = [Fingerprint("f" * 64, 1, "JPEG", "RGB", 1, 1, np.zeros((1, 1), np.uint16))] * len(cells)
    known = pd.DataFrame({"Id": ["Ann", "Old_Ben", "007"], "sha256": ["a", "b", "c"]})
    return new_labels(cells, entries, fingerprints, known)


def test_new_labels_of_reviewers() -> None:
    assert add_labels("Ann", "NEW", "New: Zed", "new_whale") == ["Ann", "w_fffffff", "Zed", "new_whale"]


@pytest.mark.parametrize(
    ("cells", "error"),
    [
        (["new:unknown"], "New whales with a word for a whale without a name (1):\n  line 2: 'unknown'\n"),
        (["new:?"], "New whales with a word for a whale without a name (1):\n  line 2: '?'\n"),
        (["new:ann"], "label that is similar to another one (1):\n  line 2: 'ann' (did you mean 'Ann'?)\n"),
        (["new: Old-Ben"], "line 2: 'Old-Ben' (did you mean 'Old_Ben'?)\n"),
        (["new:7,0"], "line 2: '7,0' (did you mean '007'?)\n"),
        (["new:Zed", "new:zed"], "line 3: 'zed' (did you mean 'Zed'?)\n"),
        (["7"], "Labels that are not in the catalogue (1):\n  line 2: '7' (did you mean '007'?)\n"),
        (["ANN"], "line 2: 'ANN' (did you mean 'Ann'?)\n"),
        (["Unknown"], "line 2: 'Unknown' (did you mean 'new_whale'?)\n"),
    ],
)
def test_labels_of_reviewers_that_name_no_whale_or_an_existing_one_are_refused(cells: list[str], error: str) -> None:
    with pytest.raises(WhaleidError) as caught:
        add_labels(*cells)
    assert error in str(caught.value)
