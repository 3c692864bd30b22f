"""Which algorithm has made a result, and the UIDs that follow from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from common.cli import DISTRIBUTION

if TYPE_CHECKING:
    from evaluate.postprocess.pipeline import Pipeline
    from evaluate.system.loading import LoadedSystem

NOTICE = "RESEARCH ONLY - NOT FOR DIAGNOSIS"
"""What stands on every picture and in the description of every series."""
MANUFACTURER = "RSNA pneumonia workshop (research)"

SHORT_TEXT, LONG_TEXT = 16, 64
"""Most characters of the value representations SH and LO (PS3.5, section 6.2)."""

_NAMESPACE = uuid.UUID("c7f7fd4e-2f0e-4b64-8a3a-0c6b2c3c59d2")


@dataclass(frozen=True)
class Algorithm:
    """What has found the boxes.

    Attributes:
        name: Of the software.
        version: Of the software.
        parameters: What else decides its result, one line each: weights with their checksums, post-processing.
        finding: The class that its boxes have, such as `Lung Opacity`.
    """

    name: str
    version: str
    parameters: tuple[str, ...]
    finding: str

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal."""
        return hashlib.sha256("\n".join((self.name, self.version, *self.parameters, self.finding)).encode()).hexdigest()

    def equipment(self) -> dict[str, Any]:
        """What every object says of who made it, as highdicom's arguments; no longer than the Standard allows."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.name,
            "software_versions": self.version,
            "device_serial_number": self.digest[:SHORT_TEXT],
            "series_description": f"{NOTICE}: {self.finding}"[:LONG_TEXT],
        }

    def uid(self, kind: str, *of: str) -> str:
        """A UID that depends on nothing but the algorithm and the arguments (PS3.5 B.2).

        So what is made of the same image by the same algorithm a second time is the same object for an archive.

        Args:
            kind: What it is of, such as `report`.
            of: What it is made from.
        """
        return f"2.25.{uuid.uuid5(_NAMESPACE, chr(10).join((kind, self.digest, *of))).int}"


def finding_of(system: LoadedSystem) -> str:
    """The class that a system's boxes have; of several that count as one, all of their names."""
    weights = system.members[0].weights
    return ", ".join(weights.names.get(index, str(index)) for index in weights.classes)


def algorithm_of(system: LoadedSystem, pipeline: Pipeline) -> Algorithm:
    """The algorithm that a system and its post-processing are."""
    members = [
        *(f"detector {one.weights.name}, SHA-256 {one.sha256}" for one in system.system.detectors),
        *(f"classifier {one.weights.name}, SHA-256 {one.sha256}" for one in system.system.classifiers),
        f"inference {_json(system.inference)}",
    ]
    steps = [step for step in dataclasses.fields(pipeline) if step.name != "fitted_on"]
    taken = [f"{step.name} {_json(dataclasses.asdict(getattr(pipeline, step.name)))}" for step in steps]
    return Algorithm(DISTRIBUTION, version(DISTRIBUTION), (*members, *taken), finding_of(system))


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
