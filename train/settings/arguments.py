"""The training's arguments: `name=value` as in `yolo train`, Ultralytics' and our own.

Imports nothing heavy: names and defaults of Ultralytics' arguments are read from its configuration file, so that a typo
is refused at once. Their values are checked by Ultralytics when the training starts.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import textwrap
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from common.cli import print_warning
from common.errors import UserError
from common.paths import PROJECT, default_data
from train.settings.options import GATE, OF_GATES, OF_SEVERAL, OWN, SEVERAL, Argument
from train.settings.recipes import names, read_recipe
from train.settings.values import refuse_unusable
from train.settings.yaml_files import read_mapping

COMMAND_DEFAULTS: dict[str, Any] = {
    "data": str(default_data()),
    "project": str(PROJECT / "runs"),
    "name": "train",
    "iou": 0.4,  # of the non-maximum suppression before scoring: what evaluate/score.py does
}
"""Where the command differs from `yolo train`."""

_LAST_SEED = 2**32 - 1
"""The largest that NumPy's first generator takes, which Ultralytics seeds."""
_OF_GATE = "gate."
"""Before the name of an argument that is for the gates of a recipe."""
_EXTRA = ("save_dir", "augmentations")  # known to Ultralytics, though not in its configuration file
_USES = {"detect": "detectors", "classify": "classifiers"}
"""The tasks that a command here may train for, and what comes out."""
DIFFERING = (
    "data=rsna.yaml            of the project",
    "project=runs              of the project; a relative one is relative to the current folder",
    "iou=0.4                   of non-maximum suppression in validation, as in evaluate/score.py",
    "model=                    has none: name weights or a model's YAML",
)
"""`COMMAND_DEFAULTS` in words."""


@cache
def ultralytics_defaults() -> dict[str, Any]:
    """Ultralytics' arguments and their defaults, without importing it.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    import yaml

    spec = importlib.util.find_spec("ultralytics")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'ultralytics'", name="ultralytics")  # `execute` says what to do
    file = Path(next(iter(spec.submodule_search_locations))) / "cfg" / "default.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def parse(words: Sequence[str], own: Mapping[str, Argument] = OWN, task: str = "detect") -> dict[str, Any]:
    """Read the command line's words: the grammar of `yolo train`, with our arguments besides.

    `name=value`, spaces around the equals sign allowed; a bare name sets a switch (`resume`); `cfg=file.yaml` brings
    arguments that those on the command line override, `recipe=` some that both override; leading dashes are forgiven.

    Args:
        words: The command line's words.
        own: The arguments of the command that `yolo train` does not have.
        task: What the command trains for, as Ultralytics names it.

    Returns:
        What was given, by name, our own arguments checked. With a recipe of several trainings, the names of
        `OF_SEVERAL` may be among them, and arguments of its gates as `gate.NAME`.

    Raises:
        UserError: A name is unknown (the nearest is suggested), or a value is missing or not allowed.
    """
    given: dict[str, Any] = {}
    for word in _join(words):
        word = word.removeprefix("--").removesuffix(",")
        name, equals, text = (part.strip() for part in word.partition("="))
        if equals:
            if not text:
                raise UserError(f"{name}: has no value; write {name}=VALUE")
            given[name] = text if name in {"name", "project"} and text.lower() != "none" else to_value(text)
        elif name in ("train", task):
            continue
        elif _is_switch(name, own):
            given[name] = True
        else:
            if not _is_of_several(name, own):
                _refuse_unknown(name, own)
            raise UserError(f"{name}: has no value; write {name}=VALUE")
    if given.get("cfg"):
        file = Path(str(given["cfg"]))
        unreadable = f"cfg: {file} cannot be read ({{reason}}); expected a YAML of arguments."
        nothing = f"cfg: {file} holds no arguments; expected a YAML with lines such as `lr0: 0.003`."
        given = {**read_mapping(file, unreadable, nothing), **given}
    given.pop("cfg", None)
    several = False
    if "recipe" in own and given.get("recipe"):
        recipe = read_recipe(str(given["recipe"]))
        given = {**recipe.values(), **given}
        several = bool(recipe.members)
    for name in given:
        if _is_of_several(name, own):
            _refuse_unless(several, name, own)
        else:
            _refuse_unknown(name, own)
    for name, only in (("mode", "train"), ("task", task)):
        if given.pop(name, only) != only:
            raise UserError(
                f"{name}: expected {only}; this command trains {_USES[task]}. Use `yolo` for anything else."
            )
    return {name: own[name].check(name, value) if name in own else value for name, value in given.items()}


def check_values(given: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    """Have all values checked by Ultralytics, which `import_ultralytics` has imported before.

    Args:
        given: What was given.
        own: Our arguments that may be among them, with their defaults.

    Returns:
        All arguments as attributes, with defaults for those that were not given.

    Raises:
        UserError: A value is of another type, or out of range.
    """
    from ultralytics.cfg import get_cfg

    try:
        values = get_cfg({**ultralytics_defaults(), **own}, dict(given))
    except (TypeError, ValueError, SyntaxError) as error:
        raise UserError(" ".join(str(error).split())[:300]) from error
    if values.seed > _LAST_SEED:  # Ultralytics refuses those below 0 alone; NumPy raises when the training begins
        raise UserError(f"seed: found {values.seed}; expected a whole number from 0 to {_LAST_SEED}.")
    refuse_unusable(values)
    return values


def warn_of_idle_rate(given: Mapping[str, Any]) -> None:
    """Say so when a learning rate is given that Ultralytics will not use."""
    if "lr0" in given and str(given.get("optimizer", "auto")).lower() == "auto" and not given.get("resume"):
        print_warning("lr0 is ignored with optimizer=auto (the default); name one, such as optimizer=AdamW.")


def to_value(text: str) -> Any:
    """A value as Ultralytics reads it: None, True, False, a Python literal, or else the text itself."""
    constant = {"none": None, "true": True, "false": False}
    if text.lower() in constant:
        return constant[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def help_text(own: Mapping[str, Argument] = OWN, differing: Sequence[str] = DIFFERING) -> str:
    """Our arguments and differing defaults, for --help."""
    lines = ["our arguments (name=default):"] if own else []
    for name, argument in own.items():
        choices = f" ({', '.join(argument.choices)})" if argument.choices else ""
        lines.append(f"  {f'{name}={argument.default}':<26}{argument.help}{choices}")
    if "recipe" in own:
        lines += ["", "recipes (their files in train/recipes/ give the reason for every value):"]
    for name in names() if "recipe" in own else ():
        lines += textwrap.wrap(f"  {f'recipe={name}':<26}{read_recipe(name).about}", 108, subsequent_indent=" " * 28)
    if "recipe" in own:
        lines += ["", "a recipe of several trainings (winner, winner-small) takes besides:"]
        lines += [f"  {name:<26}{what}" for name, what in SEVERAL.items()]
    lines += [
        "",
        "every argument of `yolo train` works too: https://docs.ultralytics.com/modes/train/#train-settings",
        "defaults that differ from it:",
        *(f"  {line}" for line in differing),
    ]
    return "\n".join(lines).strip()


def _join(words: Sequence[str]) -> list[str]:
    """Put together what the shell has taken apart: `name = value` and lists with spaces."""
    joined: list[str] = []
    for word in words:
        before = joined[-1] if joined else ""
        open_list = before.count("[") + before.count("(") > before.count("]") + before.count(")")
        after_equals = before.endswith("=") and "=" not in word
        if before and (word.startswith("=") or after_equals or open_list):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _is_switch(name: str, own: Mapping[str, Argument]) -> bool:
    default = own[name].default if name in own else ultralytics_defaults().get(name)
    return isinstance(default, bool)


def _is_of_several(name: str, own: Mapping[str, Argument]) -> bool:
    return name not in own and (name in OF_SEVERAL or name.startswith(_OF_GATE))


def _refuse_unless(several: bool, name: str, own: Mapping[str, Argument]) -> None:
    """Refuse what only a recipe of several trainings takes, where there is none, and unknown arguments of its gates."""
    if not several:
        if "recipe" not in own:
            _refuse_unknown(name, own)
        raise UserError(f"{name}: only a recipe of several trainings takes it, such as recipe=winner.")
    if name.startswith(_OF_GATE):
        _refuse_unknown(name, [f"{_OF_GATE}{known}" for known in (*ultralytics_defaults(), *GATE, *OF_GATES)])


def _refuse_unknown(name: str, own: Collection[str]) -> None:
    known = [*ultralytics_defaults(), *_EXTRA, *own]
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    meant = f"did you mean {near[0]}?" if near else "see --help."
    raise UserError(f"{name}: no such argument; {meant}")
