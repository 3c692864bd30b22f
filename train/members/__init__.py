"""A recipe of several trainings: detectors over folds and sizes, and gates; continued where it was stopped.

`plan` says what is to be trained before anything is, `record` is `members.json`, what has been trained so far,
`training` goes through it and writes `system.yaml`, and `raw_data` finds the pictures that are to be predicted in the
end. Of `evaluate` it imports the system, which it makes.
"""

from train.members.training import Done, Member, train_members

__all__ = ["Done", "Member", "train_members"]
