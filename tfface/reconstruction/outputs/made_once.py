"""What is the same for every person of a model is made once."""

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])


def made_once(make: _Function) -> _Function:
    """Keeps the last two of what a function makes; threads that ask for the same one at once wait for it."""
    kept, making = functools.lru_cache(maxsize=2)(make), threading.Lock()

    @functools.wraps(make)
    def made(*given: Hashable) -> Any:
        with making:
            return kept(*given)

    return cast(_Function, made)
