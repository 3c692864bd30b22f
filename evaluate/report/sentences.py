"""What the page says about a score: how it came about, what to mind, what its numbers mean."""

from __future__ import annotations

import pandas as pd

from common.pages.data_charts import filled_column
from common.pages.wording import count, percent, score_text
from evaluate.report.steps import done_by, step_text
from evaluate.report.wording import shown_interval
from evaluate.scoring.leakage import remarks
from evaluate.scoring.result import Score

PUBLISHED = {"YOLOv8n": 0.115, "YOLOR, boxes shrunk": 0.189, "1st of the challenge": 0.25475}
"""Published scores on the challenge's private leaderboard, which is made of other images than the training set."""

_REAL_SOURCES = ("stage_1_", "stage_2_", "mdai_rsna_project")


def is_challenge_data(score: Score, manifest: pd.DataFrame | None) -> bool:
    """Whether all images are known to be the challenge's own, by the files that the manifest names."""
    sources = filled_column(manifest, "source")
    if score.synthetic is not False or sources is None:
        return False
    return bool(sources.dropna().astype(str).str.startswith(_REAL_SOURCES).all())


def context(score: Score, manifest: pd.DataFrame | None) -> str:
    """Say what the score may be compared with."""
    if score.synthetic:
        return (
            "These are synthetic pictures, drawn by a program. The score shows that everything works together; it is "
            "not comparable with published scores and says nothing about real radiographs."
        )
    if is_challenge_data(score, manifest):
        return (
            "For orientation: the highest score published for the challenge is 0.255, a plain YOLOv8n reached 0.115. "
            "Those were measured on the challenge's private test images, and this score on other images of the same "
            "release, so that small differences mean nothing."
        )
    return "No comparison with published scores is made: these are not known to be the challenge's own images."


def method(score: Score) -> list[str]:
    """Say step by step how the score was obtained."""
    tuned_on, reported_on, confidence = score.tuned_on, score.reported_on, score.confidence
    if score.weights:
        source = "The weights named below looked at every image; all boxes down to a very low confidence were kept."
    else:
        source = "The predictions came from a file: how they were made, and from which confidence on, is not known."
    steps = [source, _postprocessing(score)]
    if tuned_on:
        steps.append(
            f"On the images of split {tuned_on}, the confidence threshold was chosen that gives the highest score: "
            f"{confidence:.3f}. Boxes below it are dropped."
        )
    elif confidence <= 0:
        steps.append("No confidence threshold was applied: every box counts.")
    else:
        steps.append(f"The confidence threshold, {confidence:.3f}, was given, not tuned. Boxes below it are dropped.")
    steps.append(
        f"The score is that of split {reported_on}"
        + (", whose images had no part in that choice." if tuned_on and tuned_on != reported_on else ".")
    )
    if shown_interval(score.reported, score.was_tuned_on(reported_on)):
        steps.append(
            "The interval is of this model at this threshold: it says how much the score depends on which patients "
            "are in the split. What another choice of the threshold, or of the other steps, or a training with another "
            "seed would change is not in it."
        )
    return steps


def _postprocessing(score: Score) -> str:
    """What was done to the boxes before the threshold, and where that comes from."""
    done = done_by(score.pipeline)
    if not done:
        return "The boxes are used as they came, without post-processing."
    text = "; ".join(step_text(name, score.pipeline) for name in done)
    chosen = f" What scores highest on split {score.tuned_on} was taken." if len(score.steps) > 1 else ""
    return f"Post-processing: {text}.{chosen}"


def warnings(score: Score, manifest: pd.DataFrame | None, has_true_box: bool) -> list[str]:
    """Say what a reader must know before believing the score.

    Args:
        score: The score.
        manifest: The data set's manifest.
        has_true_box: Whether any image of the reported split has a true box.
    """
    texts = []
    if score.tuned_on and score.tuned_on == score.reported_on:
        texts.append(
            f"The threshold was chosen on {score.tuned_on}, the very split that is reported: the score flatters."
        )
    if not score.leakage.checked:
        texts.append(
            f"Whether the weights have seen these images is not known: {score.leakage.reason or 'not checked'}."
        )
    for split, images in (score.gate.seen_images if score.gate else {}).items():
        if images:
            texts.append(f"Leakage: the gate was trained on {count(images)} images of split {split}.")
    for split, found in score.leakage.splits.items():
        if found.images or found.patients:
            texts.append(
                f"Leakage: of split {split}, {count(found.images)} images were trained on, and "
                f"{count(found.patients)} patients have images that were."
            )
    texts += [f"{text[0].upper()}{text[1:]}." for text in remarks(score.leakage, score.reported_on)]
    patients, split_column = filled_column(manifest, "patient_id"), filled_column(manifest, "split")
    if manifest is None or patients is None or (patients == manifest.index).all():
        texts.append(
            "Patients are not known: every image counts as a patient of its own, so the interval is too narrow where "
            "patients have several images."
        )
    elif split_column is not None:
        used = split_column.isin(["train", *score.splits])  # the challenge's own test set is not trained on
        several = split_column[used].groupby(patients[used]).nunique()
        if (several > 1).any():
            texts.append(
                f"{count((several > 1).sum())} patients have images in more than one split: the score flatters."
            )
    if not has_true_box:
        texts.append(f"No image of split {score.reported_on} has a true box, so the score can only be 0.")
    return [text.replace("..", ".") for text in texts]


def reading(score: Score) -> str:
    """Say in words what the table's most telling numbers are."""
    tuned_on, reported_on, entry = score.tuned_on, score.reported_on, score.reported
    hits, texts = entry.true_positives, []
    if entry.truth_boxes > 0:
        texts.append(f"On {reported_on}, {percent(hits / entry.truth_boxes)} of the true boxes are met")
        if entry.predictions > 0:
            texts[-1] += f", and {percent(hits / entry.predictions)} of the predicted boxes meet one"
        texts[-1] += " (IoU > 0.5)."
    if tuned_on and tuned_on != reported_on:
        gap = score.splits[tuned_on].score - entry.score
        side = "higher" if gap > 0 else "lower"
        texts.append(
            f"The score on {tuned_on}, where the threshold was chosen, is "
            + (f"{score_text(abs(gap))} {side}." if abs(gap) >= 5e-4 else "the same.")
        )
    return " ".join(texts)
