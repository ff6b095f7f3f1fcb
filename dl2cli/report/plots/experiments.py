"""Which runs belong in one plot: those that differ in one parameter, and ask one question.

The runs of a family (one model on one data set) are grouped by everything that they have in common
but the parameter that a plot shows. What no field of a log tells (`acc-`, `time-...-10h`) is told
by the words in a run's name that no field explains; such words and the folders are looked at first,
then given up for runs that would stand alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dl2cli.report.entries import Entry
from dl2cli.report.model import Kind
from dl2cli.report.read.naming import STORAGE_LABELS
from dl2cli.report.read.values import natural_key

FIELDS = ("variant", "storage", "workers", "loader", "dataset_class", "global_batch", "mixup")
SMALL = 6  # so few runs make one plot, whatever they differ in
_EXPLAINED = re.compile(r"(raw|jpeg|webp|png|pcr)-?\d*|w\d+|pytorch|dali[cg]?|minio|synth|k\d+")


@dataclass(frozen=True, slots=True)
class Experiment:
    """Runs that differ in one parameter; `title` says what they share and others do not."""

    title: str
    entries: tuple[Entry, ...]


def words_of(entry: Entry) -> tuple[str, ...]:
    """Return the words of a run's name that none of its fields explains."""
    name = entry.name
    if entry.run.kind is Kind.BENCH:  # what dl2 itself put behind the file's name, fields explain
        name = name.partition(": ")[0]
    name = name.rsplit("/", 1)[-1].lower()
    words = re.split(r"[-_./: ]+", re.sub(r"(raw|jpeg|webp|png|pcr)-(\d)", r"\1\2", name))
    setup = entry.setup
    known = [text.lower() for text in (setup.arch, setup.dataset) if text]
    return tuple(
        word
        for word in words
        if not _EXPLAINED.fullmatch(word)
        and word not in STORAGE_LABELS
        and not any(_is_short_for(word, text) for text in known)
    )


def _is_short_for(word: str, text: str) -> bool:
    """Tell whether a word abbreviates a name: `r50` resnet50, `inet` imagenet, `alex` alexnet."""
    letters = iter(text)
    return len(word) > 1 and word[0] == text[0] and all(letter in letters for letter in word)


def experiments(entries: Sequence[Entry], parameter: str) -> tuple[list[Experiment], list[Entry]]:
    """Group runs that agree in all but one parameter, and return those that have no such peer."""
    if len(entries) <= SMALL and len({_value(e, parameter) for e in entries}) > 1:
        return [Experiment("", tuple(entries))], []
    fields = [name for name in FIELDS if name != parameter]
    found: list[tuple[Entry, ...]] = []
    left = list(entries)
    for told in (("words", "group"), ("group",), ()):
        groups: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
        for entry in left:
            groups[tuple(_value(entry, name) for name in (*fields, *told))].append(entry)
        kept = [g for g in groups.values() if len({_value(e, parameter) for e in g}) > 1]
        found += map(tuple, kept)
        names = {entry.name for group in kept for entry in group}
        left = [entry for entry in left if entry.name not in names]
    titles = _titles(found, fields) if len(found) > 1 or left else [""] * len(found)
    result = [Experiment(title, group) for title, group in zip(titles, found, strict=True)]
    return sorted(result, key=lambda e: natural_key(e.title)), left


def _titles(groups: Sequence[tuple[Entry, ...]], fields: Sequence[str]) -> list[str]:
    """Return what tells groups apart: words of their names, then as few fields as will do."""
    words = [set.intersection(*(set(words_of(e)) for e in group)) for group in groups]
    common = set.intersection(*words) if len(words) > 1 else set()
    titles = [
        ", ".join(word for word in words_of(group[0]) if word in known - common)
        for group, known in zip(groups, words, strict=True)
    ]
    for name in (*fields, "group"):
        values = [value_words(group[0], name) for group in groups]
        if name == "storage" or (len(set(titles)) < len(titles) and len(set(values)) > 1):
            pairs = zip(titles, values, strict=True)
            titles = [", ".join(filter(None, pair)) for pair in pairs]
    return titles


def _value(entry: Entry, name: str) -> object:
    if name == "words":
        return words_of(entry)
    return entry.setup.storage_words if name == "storage" else entry.field(name)


def value_words(entry: Entry, name: str) -> str:
    """Return a field's value as a plot names it; nothing where it is not known or says nothing."""
    value = _value(entry, name)
    if name == "dataset_class":
        return "MinIO" if value == "MinIOFolder" else ""
    if value is None or (name == "mixup" and not value):
        return ""
    suffix = {"workers": " workers", "global_batch": " a batch"}
    return f"mixup {value:g}" if name == "mixup" else f"{value}{suffix.get(name, '')}"


def split_large(
    groups: Sequence[Experiment], limit: int, by: Callable[[Entry], str]
) -> list[Experiment]:
    """Split what is too large for one plot by a property of its runs, else in parts of `limit`.

    Runs for which the property is "" (a baseline) go into every part.
    """
    result: list[Experiment] = []
    for group in groups:
        parts: dict[str, list[Entry]] = defaultdict(list)
        for entry in group.entries if len(group.entries) > limit else ():
            parts[by(entry)].append(entry)
        always = parts.pop("", [])
        if not parts:
            parts = {"": list(group.entries)}
        for name, members in parts.items():
            everything = [*(always if name else ()), *members]
            count = -(-len(everything) // limit)
            for number in range(count):
                part = f"part {number + 1} of {count}" if count > 1 else ""
                title = ", ".join(filter(None, (group.title, name, part)))
                entries = everything[number * limit : (number + 1) * limit]
                result.append(Experiment(title, tuple(entries)))
    return result
