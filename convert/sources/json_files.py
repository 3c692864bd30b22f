"""JSON that others made: its content, or why there is none in a few words.

What Python itself says of bytes that are no UTF-8 holds all of them, with whatever names are in the file.
"""

from __future__ import annotations

import json
from typing import Any


class NotJson(ValueError):  # noqa: N818  # a state, as UnusablePicture is
    """The bytes are no JSON; the message says why in a few words."""


def load_json(data: bytes) -> Any:
    """The content of a JSON file, in any of the encodings that JSON may have.

    Raises:
        NotJson: It is none, or nested deeper than anything that means something.
    """
    try:
        return json.loads(data)
    except UnicodeDecodeError as error:
        raise NotJson(f"no text in {error.encoding} at byte {error.start:,}") from None
    except RecursionError:
        raise NotJson("nested too deep") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
