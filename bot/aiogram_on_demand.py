"""aiogram, loaded in less than a second: each of its hundreds of models is built when it is first used, not at import.

It saves two seconds of every start and a hundred megabytes; docs/decisions/0006 has the figures and the risk.
"""

import sys
from typing import Any

from pydantic import BaseModel


def load_aiogram() -> None:
    """Import aiogram without building its models; does nothing where it has been imported already.

    At the end of its import aiogram calls `model_rebuild` of each model, with the names that their annotations
    need. We keep the names instead; pydantic itself calls `model_rebuild` when a model is used that is not built.
    """
    if "aiogram" in sys.modules:
        return
    rebuild = BaseModel.__dict__["model_rebuild"]
    names: dict[str, Any] = {}

    def keep_names(cls: type[BaseModel], /, *, _types_namespace: dict[str, Any]) -> None:
        names.update(_types_namespace)

    def build(cls: type[BaseModel], /, **options: Any) -> bool | None:
        built: bool | None = rebuild.__func__(cls, **options | {"_types_namespace": names})
        return built

    BaseModel.model_rebuild = classmethod(keep_names)  # type: ignore[method-assign,assignment] # only while importing
    try:
        from aiogram.methods.base import Response, TelegramMethod
        from aiogram.types import TelegramObject, Update
    finally:
        BaseModel.model_rebuild = rebuild  # type: ignore[method-assign]
    for root in (TelegramObject, TelegramMethod, Response):
        root.model_rebuild = classmethod(build)  # type: ignore[method-assign,assignment]
    Update.model_rebuild()
