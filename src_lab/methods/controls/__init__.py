"""Controls of sleep replay: what might do the same without replaying anything."""

from src_lab.methods.controls.rescale import Rescale

__all__ = ["Rescale"]
