"""Decides whether labels are classes or numbers, and describes a data set in one line."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..tasks import Task
from .labels import LABEL_SEPARATOR, split_labels
from .row_checks import kind_of

PROBLEMS = ("classification", "regression", "multi_label")
_PLAIN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_EXPONENT = re.compile(rf"{_PLAIN.pattern}[eE][+-]?[0-9]+")
# Other spellings of numbers: decimal commas, thousands separators, percent, other minus signs, bounds.
_LIKE_A_NUMBER = re.compile(
    r"[<>]?[+\-\u2212\u2013]?(?:[0-9]+|[0-9]{1,3}(?:[,' \u00a0][0-9]{3})+|[0-9]{1,3}(?:\.[0-9]{3})+(?=,))"
    r"(?:[.,][0-9]+)?\s?%?"
)
_WITH_UNIT = re.compile(r"[<>]?[+\-]?[0-9]+\.[0-9]+ ?[A-Za-z\u00b5\u00b0][A-Za-z/]*")
_LARGEST = 1e15  # a target; sums of its square have to fit 32 bits
_MANY = 20  # classes; more whole numbers than that may be quantities
_SHOWN, _NAMED = 20, 5  # classes in a line


def to_number(label: str) -> float | None:
    """A label as a number, in decimal form or with an exponent; None if it is not a number."""
    if not (_PLAIN.fullmatch(label) or _EXPONENT.fullmatch(label)):
        return None
    value = float(label)
    return value if abs(value) <= _LARGEST else None


def hint(label: str) -> str:
    """Advice for a label that looks like a number but is not one."""
    for mark, advice in (
        (",", "write the fraction after a point, and no thousands separator"),
        ("%", "leave the percent sign out"),
        ("\u2212", "write the minus sign as -"),
        ("\u2013", "write the minus sign as -"),
        ("_", "leave the underscore out"),
    ):
        if mark in label and any(character.isdigit() for character in label):
            return f"; {advice}"
    if _WITH_UNIT.fullmatch(label):
        return "; leave the unit out"
    return f"; at most {_LARGEST:g} in size" if _PLAIN.fullmatch(label) or _EXPONENT.fullmatch(label) else ""


def problem_of(labels: Counter[str], stated: str | None, place: str, places: Mapping[str, str] | None = None) -> str:
    """`regression` where every label is a number in plain decimal form and one has a point, else `classification`.

    Args:
        labels: those of the training items, and how many items have each.
        stated: what the user says it is; nothing is guessed then.
        place: the training file, for the message.
        places: where each label stands first.

    Raises:
        ValueError: an unknown problem, a target that is no number, labels that could be either, several labels at
            once, or divided otherwise than by `;`, fewer than two classes, or as many as items.
    """
    if stated is not None and stated not in PROBLEMS:
        raise ValueError(f"--problem is {stated!r}; allowed: {', '.join(PROBLEMS)}")
    at = places or dict.fromkeys(labels, place)
    problem = stated or _guess(labels, at)
    if problem == "regression":
        bad = next((label for label in labels if to_number(label) is None), None)
        if bad is not None:
            raise ValueError(f"{at[bad]}: the target is {bad!r}; allowed: a finite number, as 37.5{hint(bad)}")
        return problem
    if problem == "multi_label":
        other = next((label for label in labels if re.search("[|,]", label)), None)
        if other is not None and not any(LABEL_SEPARATOR in label for label in labels):
            raise ValueError(f"{at[other]}: no label holds a ;, and {other!r} may be several; allowed: a;b")
        if len({part for label in labels for part in split_labels(label, at[label])}) < 2:
            raise ValueError(f"{place}: every record has the label {min(labels)!r}; a task needs two labels or more")
        return problem
    if len(labels) < 2:
        raise ValueError(f"{place}: every record has the label {min(labels)!r}; a task needs two classes or more")
    several = _several_labels(labels) if stated is None else None
    if several is not None:
        raise ValueError(
            f"{at[several[0]]}: the label {several[0]!r} holds the label {several[1]!r}; pass --problem multi_label "
            "if items have several, divided by ;, or --problem classification if it is the name of one class"
        )
    if len(labels) == sum(labels.values()) > 2:
        raise ValueError(
            f"{place}: {len(labels)} classes for {len(labels)} records, no two have the same label; pass --problem "
            "regression if labels are numbers, or another --label_column"
        )
    return problem


def _several_labels(labels: Counter[str]) -> tuple[str, str] | None:
    """A label that lists another one, as `kinase;nucleus` beside `nucleus`, and the other one."""
    for label in labels:
        if label[0] + label[-1] in ("[]", "{}", "()"):
            return label, label[1:-1]
        parts = [part.strip() for part in re.split("[/+&]", label)]
        if len(parts) > 1 and all(part in labels for part in parts):
            return label, parts[0]
        parts = [part.strip() for part in re.split("[;|,]", label)]
        listed = next((part for part in parts[1:] + parts[:-1] if part in labels), None)
        if listed is not None:
            return label, listed
    return None


def _guess(labels: Counter[str], at: Mapping[str, str]) -> str:
    others = sorted(label for label in labels if not _PLAIN.fullmatch(label))
    if not others:
        return "regression" if any("." in label for label in labels) else "classification"
    small = [label for label in others if _EXPONENT.fullmatch(label) and re.search(r"\.|[eE]-", label)]
    if small and all(to_number(label) is not None for label in labels):
        raise ValueError(
            f"{at[small[0]]}: label {small[0]!r} has an exponent; pass --problem regression if labels are numbers, or "
            "--problem classification if they are names"
        )
    fractions = [label for label in labels if _LIKE_A_NUMBER.fullmatch(label) and re.search("[^0-9+-]", label)]
    fractions += [label for label in labels if _WITH_UNIT.fullmatch(label)]
    if 2 * len(fractions) > len(labels):
        raise ValueError(
            f"{at[others[0]]}: label {others[0]!r} is not a number, and most others are: a target has to be finite, "
            f"in plain decimal form{hint(others[0])}; pass --problem classification if labels are names"
        )
    return "classification"


def doubts(labels: Counter[str], problem: str, stated: str | None) -> list[str]:
    """Warnings about labels that may have been misread, a sentence each."""
    return _doubted_targets(labels, stated) if problem == "regression" else _doubted_classes(labels, stated)


def _doubted_targets(labels: Counter[str], stated: str | None) -> list[str]:
    notes = []
    values = {label: to_number(label) for label in sorted(labels)}
    distinct, items = len(set(values.values())), sum(labels.values())
    if stated is None and 1 < distinct <= _MANY and items >= 5 * distinct:
        notes.append(f"{items} records have {distinct} distinct targets: --problem classification if these are names "
                     "of classes")  # fmt: skip
    stored: dict[Any, str] = {}
    for label, value in values.items():
        other = stored.setdefault(np.float32(value), label)
        if values[other] != value:
            notes.append(f"{other!r} and {label!r} are one number in 32 bits: subtract a constant from all targets")
            break
        if stated is None and other != label:
            notes.append(f"{other!r} and {label!r} are one target: --problem classification if these are names")
            break
    return notes


def _doubted_classes(labels: Counter[str], stated: str | None) -> list[str]:
    notes, items = [], sum(labels.values())
    if stated is None and len(labels) > _MANY and all(_PLAIN.fullmatch(label) for label in labels):
        notes.append(f"labels are whole numbers, read as names of {len(labels)} classes: --problem regression if they "
                     "are quantities")  # fmt: skip
    if 2 * len(labels) > items > _MANY:
        notes.append(f"there are {len(labels)} classes for {items} records")
    parts = Counter(
        part.strip() for label in labels for part in set(re.split("[;|]", label)) if part not in ("", label)
    )
    if stated is None and parts and parts.most_common(1)[0][1] > 1:
        part = parts.most_common(1)[0][0]
        notes.append(f"several classes hold {part!r}: --problem multi_label if items have several, divided by ;")
    alike: dict[str, str] = {}
    for label in sorted(labels):
        other = alike.setdefault(_folded(label), label)
        if other != label:
            notes.append(f"classes {other!a} and {label!a} look alike and are two")
    return notes


def _folded(label: str) -> str:
    number = to_number(label)
    if number is not None and _PLAIN.fullmatch(label) and "." not in label:
        return f"{number}"
    visible = (c for c in unicodedata.normalize("NFKC", label) if unicodedata.category(c) != "Cf")
    return " ".join("".join(visible).casefold().split())


def balances(splits: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Items of each class in each split; of a target mean, lowest and highest.

    Args:
        splits: each a `datasets.Dataset` with the column `label`.
    """
    balance_of = {part: _balance(rows) for part, rows in splits.items()}
    names = list(dict.fromkeys(name for balance in balance_of.values() for name in balance))
    return {part: {name: balance.get(name, 0) for name in names} for part, balance in balance_of.items()}


def _balance(rows: Any) -> dict[str, float]:
    labels = rows.with_format("numpy")["label"][:]
    if kind_of(rows, "label") == "string":
        return dict(sorted(Counter(part for label in labels for part in split_labels(str(label), "label")).items()))
    names = getattr(rows.features["label"], "names", None)
    if names is not None:
        return {name: int((labels == number).sum()) for number, name in enumerate(names)}
    return {name: float(f"{getattr(labels.astype(float), name)():.6g}") for name in ("mean", "min", "max")}


def understood(counts: Mapping[str, int], balances: Mapping[str, Mapping[str, float]], task: Task) -> dict[str, Any]:
    """What a data set was understood to be, JSON-ready.

    Args:
        counts: items by split.
        balances: what [`balances`] gives.

    Returns:
        `problem`, `items` by split, `classes` (items of each, most first) or `target` (min, max and mean), and, where
        there are some, `doubts`: a sentence each.
    """
    classification = not task.regression
    problem = PROBLEMS[2 if task.multi_label else 0 if classification else 1]
    summary: dict[str, Any] = {"problem": problem, "items": dict(counts)}
    doubted = [_doubt(part, counts[part], balance, classification) for part, balance in balances.items()]
    if any(doubted):
        summary["doubts"] = [doubt for doubt in doubted if doubt]
    if classification:
        names = dict.fromkeys(name for balance in balances.values() for name in balance)
        totals = {name: sum(int(balance.get(name, 0)) for balance in balances.values()) for name in names}
        return {**summary, "classes": dict(sorted(totals.items(), key=lambda pair: -pair[1]))}
    mean = sum(balances[part]["mean"] * items for part, items in counts.items()) / sum(counts.values())
    low, high = (
        min(balance["min"] for balance in balances.values()),
        max(balance["max"] for balance in balances.values()),
    )
    return {**summary, "target": {"min": low, "max": high, "mean": float(f"{mean:.6g}")}}


def _doubt(part: str, items: int, balance: Mapping[str, float], classification: bool) -> str:
    """What a split lacks: a class without an item, targets that differ."""
    part = "training" if part == "train" else part
    if not classification:
        return f"all {part} targets are {balance['min']:g}" if items > 1 and balance["min"] == balance["max"] else ""
    absent = [name for name, count in balance.items() if not count]
    shown = ", ".join(map(repr, absent[:_NAMED])) + (f" and {len(absent) - _NAMED} more" if absent[_NAMED:] else "")
    return f"no {part} item of {'class' if len(absent) == 1 else 'the classes'} {shown}" if absent else ""


def sentence(summary: Mapping[str, Any]) -> str:
    """`3 classes: a (20), b (18), c (7); 40 train, 5 test`, or `regression, 11 to 103, mean 57; ...`."""
    if "classes" in summary:
        classes = summary["classes"]
        shown = [f"{name} ({items})" for name, items in classes.items() if items][:_SHOWN]
        rest = f" and {len(classes) - len(shown)} more" if len(classes) > len(shown) else ""
        several = "labels, several an item" if summary["problem"] == "multi_label" else "classes"
        what = f"{len(classes)} {several}: {', '.join(shown)}{rest}"
    else:
        what = "regression, {min:g} to {max:g}, mean {mean:g}".format(**summary["target"])
    doubts = "".join(f"; {doubt}" for doubt in summary.get("doubts", ()))
    return f"{what}; {', '.join(f'{items} {part}' for part, items in summary['items'].items())}{doubts}"
