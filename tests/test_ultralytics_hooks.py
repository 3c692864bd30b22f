"""What this project uses of Ultralytics' internals is still there, as it was, so that an upgrade says what it broke.

The table is ultralytics_hooks.yaml: dotted name, what it is, who uses it. An attribute that only instances have must be
assigned somewhere in its class; a text such as an environment variable must stand in the module's source. The second
half finds in the project's sources what is used, so that nothing can be missing in the table.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from common.quiet_ultralytics import import_ultralytics

ROOT = Path(__file__).resolve().parents[1]
HOOKS = yaml.safe_load(Path(__file__).with_name("ultralytics_hooks.yaml").read_text(encoding="utf-8"))
ROOMS = ("common", "convert", "train", "evaluate", "benchmarks")
PLAIN = (bool, int, float, str, tuple, type(None))
INSTANCES = {  # names that our functions give to instances of Ultralytics' classes
    "trainer": "ultralytics.models.yolo.detect.DetectionTrainer",
    "loader": "ultralytics.data.build.InfiniteDataLoader",
    "predictor": "ultralytics.models.yolo.detect.DetectionPredictor",
    "instances": "ultralytics.utils.instance.Instances",
    "criterion": "ultralytics.utils.loss.E2ELoss",
}
MIXINS = {  # what stands before Ultralytics' classes, though not derived from one
    "train.detector.resuming.ExactResume": "ultralytics.engine.trainer.BaseTrainer",
}
OF_EVERY_CLASS = {"__module__", "__doc__", "__annotations__", "__dict__", "__weakref__", "__parameters__", "__hash__"}
import_ultralytics()


# ---- what it is


def resolve(dotted: str) -> tuple[object, list[str]]:
    """The module that a dotted name begins with, and the rest of the name."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if name in sys.modules or _is_module(name):
            return importlib.import_module(name), parts[end:]
    raise AssertionError(f"{dotted}: no such module")


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def describe(dotted: str) -> str:
    """What a name of Ultralytics stands for: a signature without annotations, or its kind; `gone` if it is no more."""
    name, _, text = dotted.partition(" ")
    owner, rest = resolve(name)
    if text:
        return "text" if text in inspect.getsource(owner) else "gone"
    for number, part in enumerate(rest):
        if not inspect.isclass(owner) and not inspect.ismodule(owner):
            owner = type(owner)  # as it came: we have replaced methods of the settings' object
        if inspect.isclass(owner) and inspect.getattr_static(owner, part, None) is None:
            return "attribute" if number == len(rest) - 1 and part in assigned(owner) else "gone"
        if not hasattr(owner, part):
            return "gone"
        static = inspect.getattr_static(owner, part, None)  # a module may make it only when it is asked for
        if isinstance(static, property):
            return "property"
        owner = getattr(owner, part)
    if inspect.ismodule(owner):
        return "module"
    if inspect.isclass(owner):
        return f"class{signature(owner)}"
    if callable(owner):
        return signature(owner)
    return "Path" if isinstance(owner, Path) else type(owner).__name__


def signature(function: object) -> str:
    """Names, order and kinds of the arguments, and those defaults that are plain."""
    found = inspect.signature(function)
    empty = inspect.Parameter.empty
    arguments = [
        argument.replace(
            annotation=empty,
            default=argument.default if argument.default is empty or isinstance(argument.default, PLAIN) else ...,
        )
        for argument in found.parameters.values()
    ]
    found = found.replace(parameters=arguments, return_annotation=inspect.Signature.empty)
    return str(found).replace("Ellipsis", "...")


@functools.cache
def assigned(owner: type) -> frozenset[str]:
    """Attributes that a class of Ultralytics, or one that it is derived from, gives to its instances."""
    names = set()
    for base in owner.__mro__:
        if is_ultralytics(base):
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base)))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                    names.add(node.attr)
    return frozenset(names)


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def is_ultralytics(owner: type) -> bool:
    return owner.__module__.split(".")[0] == "ultralytics"


@pytest.mark.parametrize("dotted", HOOKS)
def test_it_is_there_and_as_it_was(dotted):
    expected, users = HOOKS[dotted]["is"], HOOKS[dotted]["used by"]
    assert describe(dotted) == expected != "gone", f"{dotted} has changed; look at {', '.join(users)}"


# ---- who uses what


def sources() -> dict[str, Path]:
    """The project's modules by name, without tests."""
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")] + [ROOT / "demo.py", ROOT / "study.py"]
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
        if file.is_file()
    }


def trees(tree: ast.Module) -> Iterator[ast.Module]:
    """A module, and the programs that stand in it as texts."""
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "ultralytics" in node.value:
            try:
                yield ast.parse(node.value)
            except SyntaxError:
                continue


def imported(tree: ast.Module) -> dict[str, str]:
    """What is imported from Ultralytics: its dotted name, by the name that it has in the module."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ultralytics":
            found |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.asname or name.name: name.name for name in node.names if name.name == "ultralytics"}
    return found


def attributes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """`name.attribute` in a program; of `trainer.args.wandb` the first two."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call) and is_super(node.value):
            yield "self", node.attr


def is_super(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "super"


def owner_of(kind: type, name: str) -> str | None:
    """The attribute's dotted name in the class of Ultralytics that has it; None where none has."""
    for base in kind.__mro__:
        if is_ultralytics(base) and (name in vars(base) or name in assigned(base)):
            if name not in vars(base):  # an instance's: of the class that is the first to give it
                base = [higher for higher in base.__mro__ if is_ultralytics(higher) and name in assigned(higher)][-1]
            return f"{base.__module__}.{base.__qualname__}.{name}"
    return None


def used() -> dict[str, set[str]]:
    """Who uses what: every name imported, its attributes, every method overridden, every attribute of an instance."""
    found: dict[str, set[str]] = {}
    for module, file in sources().items():
        program = ast.parse(file.read_text(encoding="utf-8"))
        for tree in trees(program):
            names = imported(tree)
            known = {name: _class(dotted) for name, dotted in INSTANCES.items()}
            for dotted in names.values():
                found.setdefault(dotted, set()).add(module)
            for name, attribute in attributes(tree):
                if name in names:
                    found.setdefault(f"{names[name]}.{attribute}", set()).add(module)
                elif name in known and (dotted := owner_of(known[name], attribute)):
                    found.setdefault(dotted, set()).add(module)
        bases = {base.id for node in ast.walk(program) if isinstance(node, ast.ClassDef) for base in node.bases
                 if isinstance(base, ast.Name)}  # fmt: skip
        if bases & imported(program).keys() or any(name.rpartition(".")[0] == module for name in MIXINS):
            for dotted in overridden(module, program):
                found.setdefault(dotted, set()).add(module)
    return found


def overridden(module: str, program: ast.Module) -> Iterator[str]:
    """What the classes of a module override, call or set of the classes of Ultralytics that they are derived from."""
    bodies = {node.name: node for node in ast.walk(program) if isinstance(node, ast.ClassDef)}
    for kind in vars(importlib.import_module(module)).values():
        if not inspect.isclass(kind) or kind.__module__ != module:
            continue
        for ours in (base for base in kind.__mro__ if base.__module__ == module):
            mentioned = {attribute for name, attribute in attributes(bodies[ours.__name__]) if name == "self"}
            for name in (vars(ours).keys() | mentioned) - OF_EVERY_CLASS:
                mixed_into = MIXINS.get(f"{module}.{kind.__name__}")
                if dotted := owner_of(_class(mixed_into) if mixed_into else kind, name):
                    yield dotted


def _class(dotted: str) -> type:
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_the_table_is_complete():
    missing = [
        f"{dotted}: {{is: '{describe(dotted)}', used by: [{', '.join(sorted(users))}]}}"
        for dotted, users in sorted(used().items())
        if not users <= set(HOOKS.get(dotted, {}).get("used by", ()))
    ]
    assert not missing, "Add to ultralytics_hooks.yaml:\n" + "\n".join(missing)


def last_part(dotted: str) -> str:
    name, _, text = dotted.partition(" ")
    return text or name.rpartition(".")[2]


def test_nothing_in_the_table_is_unused():
    files = sources()
    stale = [
        f"{dotted}: {user}"
        for dotted, hook in HOOKS.items()
        for user in hook["used by"]
        if user not in files or last_part(dotted) not in files[user].read_text(encoding="utf-8")
    ]
    assert not stale, "Take out of ultralytics_hooks.yaml, as these modules do not use it:\n" + "\n".join(stale)
