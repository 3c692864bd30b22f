"""The steps of a score's post-processing in words, and what each of them brought as a table."""

from __future__ import annotations

from dataclasses import astuple

from common.pages.wording import join, score_text
from evaluate.metrics.uncertainty import FEWEST_PATIENTS
from evaluate.postprocess.pipeline import Pipeline
from evaluate.postprocess.steps import VIEWS, BoxScale, GateRule, MostBoxes, Rescoring, Sides
from evaluate.postprocess.suppression import Suppression
from evaluate.scoring.result import ALL, Gain, Score

NAMES = {
    "confidence": "confidence",
    "suppression": "overlaps",
    "most_boxes": "most boxes",
    "box_scale": "box scale",
    "by_view": "by view",
    "rescoring": "rescoring",
    "gate": "gate",
    ALL: "all",
}
"""Names of the steps, in their order; before the others stands what is left without them."""

_VIEWS = {"ap": "AP", "pa": "PA", "other": "others"}


def step_text(name: str, pipeline: Pipeline) -> str:
    """Say what a step does to boxes."""
    if name == "suppression":
        return _suppression_text(pipeline.suppression)
    if name == "most_boxes":
        return _most_text(pipeline.most_boxes)
    if name == "box_scale":
        return _scale_text(pipeline.box_scale)
    if name == "by_view":
        return "a box scale for each view" if len({*astuple(pipeline.box_scale)}) > 1 else "the same for all views"
    if name == "rescoring":
        is_done = pipeline.rescoring != Rescoring()
        return "confidences anew, from all boxes of an image" if is_done else "confidences left as they are"
    if name == "gate":
        return gate_text(pipeline.gate)
    if name == ALL:
        return "of these together"
    return f"boxes below confidence {pipeline.confidence.least:.6g} dropped"


def done_by(pipeline: Pipeline) -> list[str]:
    """The steps before the confidence that do something, in their order."""
    does = {
        "suppression": pipeline.suppression.iou is not None,
        "most_boxes": pipeline.most_boxes.boxes is not None,
        "rescoring": pipeline.rescoring != Rescoring(),
        "box_scale": pipeline.box_scale != BoxScale(),
        "gate": pipeline.gate.mode != "none",
    }
    return [name for name, is_done in does.items() if is_done]


def pipeline_text(pipeline: Pipeline) -> str:
    """Say in one line what is done to boxes before the confidence."""
    return "; ".join(step_text(name, pipeline) for name in done_by(pipeline)) or "none"


def gate_text(rule: GateRule) -> str:
    """Say what a gate does to boxes."""
    if rule.mode == "weigh":
        return "each box's confidence multiplied by its image's probability of an opacity"
    if rule.threshold is not None:
        return f"boxes kept only in images whose probability of an opacity is above {score_text(rule.threshold)}"
    return "none, because boxes as they came score as high as with any"


def step_headings(score: Score) -> list[tuple[str, str]]:
    """The columns of `step_rows` after the first, each with what it is about."""
    unseen = [("change", f"on {score.tuned_on}'s unseen patients")] if _has_unseen(score) else []
    return [("score", f"on {score.reported_on}"), ("change", f"on {score.reported_on}"), *unseen]


def step_rows(score: Score) -> list[tuple[str, list[tuple[str, str]]]]:
    """By step its name, the reported split's score with it and with those before it, and what it added to these.

    Returns:
        The name, and for each of `step_headings` a number and its interval, which may be empty, as may be both.
    """
    rows: list[tuple[str, list[tuple[str, str]]]] = []
    for place, step in enumerate(score.steps):
        gains = [step.reported, *([step.unseen] if _has_unseen(score) else [])]
        cells = [_change(gain) if place and gain else ("", "") for gain in gains]
        rows.append((NAMES[step.name], [(score_text(step.reported.score), ""), *cells]))
    return rows


def step_notes(score: Score) -> list[str]:
    """What to mind about these rows, a sentence each."""
    notes = []
    gains = {step.name: step.reported for step in score.steps[1:] if step.name != ALL}
    if any(gain.gain_interval_95 is None for gain in gains.values()):
        notes.append(
            f"Fewer than {FEWEST_PATIENTS} patients have images that count, too few to tell a change from chance."
        )
    else:
        sure = [NAMES[name] for name, gain in gains.items() if is_sure(gain)]
        told = join(sure) or "none of the steps"
        notes.append(f"On {score.reported_on}, {told} changed the score beyond chance (95 % intervals).")
    return notes


def is_sure(gain: Gain) -> bool:
    """Whether a gain, or a loss, is beyond chance."""
    interval = gain.gain_interval_95
    return interval is not None and (interval.low > 0 or interval.high < 0)


def _change(found: Gain) -> tuple[str, str]:
    """What a step changed, and the interval of that if there is one."""
    interval = found.gain_interval_95
    between = f"{interval.low:+.3f} to {interval.high:+.3f}" if interval else ""
    return _signed(f"{found.gain:+.3f}"), _signed(between)


def _signed(text: str) -> str:
    return text.replace("-0.000", "+0.000").replace("-", "\N{MINUS SIGN}")


def _has_unseen(score: Score) -> bool:
    return any(step.unseen is not None for step in score.steps)


def _suppression_text(step: Suppression) -> str:
    if step.iou is None:
        return "overlapping boxes left as they are"
    words = {
        "nms": "of boxes that overlap (IoU above {:g}) the most confident kept",
        "soft-nms": "boxes that overlap a more confident one (IoU above {:g}) given less confidence",
        "votes": "of boxes that overlap (IoU above {:g}) the mean taken",
        "wbf": "boxes that overlap (IoU above {:g}) fused into their mean",
    }
    return words[step.method].format(step.iou)


def _most_text(step: MostBoxes) -> str:
    if step.boxes is None:
        return "as many boxes in an image as were found"
    return f"at most {step.boxes} {'box' if step.boxes == 1 else 'boxes'} in an image"


def _scale_text(step: BoxScale) -> str:
    sides = {view: getattr(step, view) for view in VIEWS}
    if len(set(sides.values())) > 1:
        by_view = ", ".join(f"{_VIEWS[view]} {_sides_text(one)}" for view, one in sides.items())
        return f"boxes resized, width x height: {by_view}"
    if step == BoxScale():
        return "boxes left in their size"
    return f"boxes resized, width x height: {_sides_text(step.other)}"


def _sides_text(sides: Sides) -> str:
    return f"{sides.scale_x:g} x {sides.scale_y:g}"
