"""Scores by step of pre-training -> rows of files and a table for readers: how soon the gain is reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..statistics import Interval
from .paper_tables import percent
from .pretraining_scores import Line, Trajectory, early_gain, step_label
from .records import shown_backbone

NOTE = (
    "x 100. Share: (score at 2% of the steps - score at 0) / (score at 100% - score at 0), paired by seed, with "
    "Fieller's interval. There is none where the gain itself cannot be told from none."
)


def gain_rows(found: Iterable[Trajectory]) -> list[dict[str, Any]]:
    """A row a task and arm: [`EarlyGain`], as fractions."""
    rows = []
    for one in found:
        for line in one.lines:
            gain, begun = early_gain(line), line.points[0].mean
            interval = gain.gain_interval
            early = None if gain.early is None else line.at(gain.early)
            rows.append(
                {
                    **_named(one, line),
                    "first_step": gain.first,
                    "early_step": gain.early,
                    "last_step": gain.last,
                    "first_score": begun,
                    "early_score": None if early is None else early.mean,
                    "last_score": line.points[-1].mean,
                    "seeds": gain.seeds,
                    "over": gain.over,
                    "gain": gain.gain,
                    "gain_low": None if interval is None else interval.low,
                    "gain_high": None if interval is None else interval.high,
                    "share": gain.share,
                    "share_low": gain.low,
                    "share_high": gain.high,
                    "why_no_share": gain.note,
                }
            )
    return rows


def score_rows(found: Iterable[Trajectory]) -> list[dict[str, Any]]:
    """A row a point of the picture, references included (without a step), as fractions."""
    rows = []
    for one in found:
        for line in one.lines:
            for point in line.points:
                told = {"step": point.step, "reference": "", "mean": point.mean, **_interval(point.interval)}
                rows.append({**_named(one, line), **told})
        for reference in one.references:
            told = {"step": None, "reference": reference.label, "mean": reference.mean}
            rows.append({**_named(one, None), **told, **_interval(reference.interval)})
    return rows


def _named(one: Trajectory, line: Line | None) -> dict[str, Any]:
    arm = None if line is None else line.arm
    return {
        "task": one.task.name, "metric": one.task.metric, "arm": arm, "protocol": one.protocol, "split": one.split,
        "fraction": one.fraction, "series": shown_backbone(one.series),
    }  # fmt: skip


def _interval(interval: Interval | None) -> dict[str, Any]:
    names = ("low", "high", "over")
    return {name: None if interval is None else getattr(interval, name) for name in names}


def gain_cells(found: Iterable[Trajectory]) -> list[dict[str, str]]:
    """[`gain_rows`] for a reader: x 100, by the heads of columns."""
    rows = []
    for row in gain_rows(found):
        share = "" if row["fraction"] == 1 else f", {100 * row['fraction']:g}% data"
        part = _between(row["share"], row["share_low"], row["share_high"])
        rows.append(
            {
                "task": row["task"] + share,
                "arm": row["arm"],
                "series": f"{row['series']}, {step_label(row['last_step'])} steps",
                "at 0": percent(row["first_score"]) if row["first_step"] == 0 else "",
                "at 2%": percent(row["early_score"]),
                "at 100%": percent(row["last_score"]),
                "gain [95%]": _between(row["gain"], row["gain_low"], row["gain_high"], "+"),
                "share at 2% [95%]": part or f"none: {row['why_no_share']}",
                "over": f"{row['seeds']} {row['over']}",
            }
        )
    return rows


def gains_markdown(found: Sequence[Trajectory]) -> str:
    """[`gain_cells`] as a table under a title."""
    rows = gain_cells(found)
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
    return "\n".join(["## How soon pre-training pays", "", *lines, "", NOTE, ""])


def _between(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    shown = ["" if each is None else f"{100 * each:{sign}.1f}" for each in (value, low, high)]
    return shown[0] + (f" [{shown[1]}, {shown[2]}]" if shown[0] and shown[1] else "")
