"""Names of whales in a source: how they are written, which mean no whale, and which may mean the same whale."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from whaleid.catalog.checks import input_problems
from whaleid.core.errors import raise_all
from whaleid.core.labels import NEW_WHALE
from whaleid.importing.source import Source

NOBODY = (
    *("", "nan", "nat", "none", "null", "nil", "na", "nobody", "noid", "notidentified", "undetermined"),
    *("unnamed", "unlabelled", "unlabeled", "tbd", "newwhale"),
)
"""Words for a whale without a name. Only letters and digits count, in any case: `<NA>` and `n/a` are `na`."""
NOBODY_PREFIXES = (
    *("unknown", "unidentified", "desconocid", "desconhecid", "inconnu", "unbekannt", "onbekend", "sconosciut"),
    *("ukjent", "ukendt", "okänd"),
)
"""Beginnings of further such words."""
ABBREVIATION = re.compile(r"(unk|unid)\d*")
"""Abbreviations of such words, which may have a number."""
SPREADSHEET_ERROR = re.compile(r"#[a-z/0]+[!?]", re.IGNORECASE)
"""What spreadsheets write for a formula without a result, such as `#REF!`."""
LISTED = 8
"""Maximum number of words or groups of labels listed in a line of the summary."""


def means_nobody(name: str) -> bool:
    """Return whether `name` stands for a whale without a name: such a word, or no letter and no digit."""
    word = "".join(filter(str.isalnum, unicodedata.normalize("NFC", name).casefold()))
    known_word = word in NOBODY or word.startswith(NOBODY_PREFIXES) or ABBREVIATION.fullmatch(word) is not None
    return known_word or SPREADSHEET_ERROR.fullmatch(name.strip()) is not None


def to_label(name: str) -> str:
    """Return `name` as a label: in Unicode's form NFC, stripped, with `_` for white space."""
    return "_".join(unicodedata.normalize("NFC", name).split())


def clean(sources: Sequence[Source], keep: Collection[str] = ()) -> tuple[list[Source], list[str]]:
    """Turn the names of whales in `sources` into labels.

    Words that mean no whale become `new_whale`, unless they are in `keep`, in any case; for a query they mean that its
    whale is not known.

    Returns:
        The sources with labels, and the lines that say what was changed.

    Raises:
        InputProblems: words in `keep` are not in the sources.
    """
    label_counts = Counter(entry.label for source in sources for entry in source.entries if entry.label)
    truth_counts = Counter(entry.truth for source in sources for entry in source.entries if entry.truth)
    all_names = label_counts + truth_counts
    keys = {to_label(name).casefold() for name in all_names} - {""}
    unmatched = [repr(word) for word in keep if to_label(word).casefold() not in keys]
    raise_all([*input_problems("--keep-name without a photo of this name", unmatched, "Correct or remove the option.")])
    kept = {to_label(word).casefold() for word in keep}
    labels = {
        name: NEW_WHALE if means_nobody(name) and to_label(name).casefold() not in kept else to_label(name)
        for name in all_names
    }
    # `new_whale` means that a reviewer did not recognise the whale; any other word, or an empty cell, means that nobody
    # reviewed the query
    truths = {name: "" if label == NEW_WHALE != name else label for name, label in labels.items()}
    cleaned = _relabel(sources, labels, truths)
    nobody, unknown = (
        {name: count for name, count in counts.items() if labels[name] == NEW_WHALE != name}
        for counts in (label_counts, truth_counts)
    )
    spaced = {name: count for name, count in all_names.items() if labels[name] != NEW_WHALE and name.split() != [name]}
    lines = []
    if nobody:
        lines.append(
            f"{sum(nobody.values()):,} photos show a whale without a name and get the label {NEW_WHALE}: "
            f"{_listed(nobody)}. If one of these is a name, add --keep-name NAME"
        )
    if unknown:
        lines.append(f"{sum(unknown.values()):,} queries have no true label: {_listed(unknown)}")
    if spaced:
        lines.append(f"{sum(spaced.values()):,} photos have names with white space, which becomes _: {_listed(spaced)}")
    return cleaned, lines


def similar(sources: Sequence[Source], existing: Iterable[str]) -> list[list[str]]:
    """Group the labels of `sources` and the `existing` ones that may mean the same whale.

    Such labels differ only in case, `_` and `-`, zeros before numbers or after a decimal point, the width of letters,
    or invisible characters.

    Returns:
        Groups of two or more labels, sorted. In a group, existing labels come first, then those of most photos.
    """
    counts = Counter(name for source in sources for entry in source.entries for name in (entry.label, entry.truth))
    del counts[""]
    known = {*existing}
    groups = defaultdict(list)
    for label in sorted({*counts} | known, key=lambda label: (label not in known, -counts[label], label)):
        groups[similarity_key(label)].append(label)
    return sorted(group for group in groups.values() if len(group) > 1 and not known.issuperset(group))


def join(sources: Sequence[Source], groups: Sequence[Sequence[str]]) -> list[Source]:
    """Replace each label by the first label of its group (see `similar`)."""
    first = {label: group[0] for group in groups for label in group}
    return _relabel(sources, first, first)


def _relabel(sources: Sequence[Source], labels: Mapping[str, str], truths: Mapping[str, str]) -> list[Source]:
    """Replace the labels and truths that are keys of `labels` and `truths`; the others stay."""
    return [
        replace(
            source,
            entries=[
                replace(entry, label=labels.get(entry.label, entry.label), truth=truths.get(entry.truth, entry.truth))
                for entry in source.entries
            ],
        )
        for source in sources
    ]


def describe(groups: Sequence[Sequence[str]], joined: bool) -> list[str]:
    """Return the line about groups of `similar` labels, which were `joined` or not; none without groups."""
    if not groups:
        return []
    more = "; …" if len(groups) > LISTED else ""
    names = "; ".join(", ".join(map(repr, group)) for group in groups[:LISTED]) + more
    if joined:
        return [f"similar names, joined to the first of each group: {names}"]
    remedy = "To treat each group as one whale, add --join-names"
    return [f"similar names, which may mean the same whale: {names}. {remedy}"]


def unusual(labels: Collection[str]) -> list[str]:
    """Return the `labels` whose form, such as `w_` before digits, is not the commonest one; the rarest forms first."""
    forms = {label: re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", label)) for label in labels}
    counts = Counter(forms.values())
    rare = [label for label, form in forms.items() if counts[form] < max(counts.values())]
    return sorted(rare, key=lambda label: (counts[forms[label]], label))


def similarity_key(label: str) -> str:
    """Return a key that is equal for labels that may mean the same whale."""
    visible = [letter for letter in unicodedata.normalize("NFKC", label) if unicodedata.category(letter) != "Cf"]
    text = re.sub(r"(?<!\d)[_-]|[_-](?!\d)", "", "".join(visible).casefold())  # 1_2 is not 12
    return re.sub(r"^(\d+)[.,]0*$", r"\1", re.sub(r"(?<!\d)(?<!\d[.,])0+(?=\d)", "", text))


def _listed(words: Mapping[str, int]) -> str:
    """Return words with the number of photos of each, the commonest first."""
    stripped = Counter[str]()
    for word, count in words.items():
        stripped[word.strip()] += count
    common = stripped.most_common()
    more = f", and {len(common) - LISTED} more" if len(common) > LISTED else ""
    return ", ".join(f"{word!r} ({count:,})" for word, count in common[:LISTED]) + more
