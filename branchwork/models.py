"""The two bases of every model that crosses a border."""

from pydantic import BaseModel, ConfigDict


class Written(BaseModel):
    """What people write: an unknown key is an error, not a wish ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Message(BaseModel):
    """What our processes tell each other; keys of a newer version are ignored."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
