"""Names of whales: words that mean none, white space and accents, and names that may mean the same whale."""

import unicodedata
from pathlib import Path

import pytest
from helpers.imports import call, rows, save, write
from hypothesis import given
from hypothesis import strategies as some

from whaleid.core.labels import NEW_WHALE
from whaleid.importing import names
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
]


def source(*whales: str) -> Source:
    return Source("a source", Path(), [Entry(Path(f"{n}.jpg"), whale, "") for n, whale in enumerate(whales)])


def labels(*whales: str, keep: tuple[str, ...] = ()) -> list[str]:
    (cleaned,), _ = names.clean([source(*whales)], keep)
    return [entry.label for entry in cleaned.entries]


def test_words_for_no_whale_become_new_whale() -> None:
    assert {*labels(*(word or NEW_WHALE for word in WORDS))} == {NEW_WHALE}
    assert labels("Nana", "none7", "Unk", "0", "白鯨", "Ñ") == ["Nana", "none7", "Unk", "0", "白鯨", "Ñ"]


def test_a_word_can_be_kept_as_a_name() -> None:
    assert labels("NA", "nan", keep=("NA",)) == ["NA", NEW_WHALE]
    assert labels("unknown 7", keep=("unknown 7",)) == ["unknown_7"]


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


def test_a_word_as_the_truth_of_a_query_means_that_it_is_not_known() -> None:
    entries = [Entry(Path("a.jpg"), "", "", truth=truth) for truth in ("nan", NEW_WHALE, "ann", "")]
    (cleaned,), _ = names.clean([Source("a source", Path(), entries)])
    assert [(entry.label, entry.truth) for entry in cleaned.entries] == [
        ("", ""),
        ("", NEW_WHALE),
        ("", "ann"),
        ("", ""),
    ]


@pytest.mark.parametrize(
    ("whales", "existing", "groups"),
    [
        (["7", "7.0", "007", "70"], [], [["007", "7", "7.0"]]),
        (["7", "7", "007"], [], [["7", "007"]]),
        (["7", "7", "007"], ["007"], [["007", "7"]]),
        (["Ann", "ann", "A_nn", "anna"], [], [["A_nn", "Ann", "ann"]]),
        (["w_1", "W-01", "w_10", "w_0"], [], [["W-01", "w_1"]]),
        (["ann", "ann\u200b", "\uff41nn"], [], [["ann", "ann\u200b", "\uff41nn"]]),
        (["0", "00", "1.05", "1.5", "10"], [], [["0", "00"]]),
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
