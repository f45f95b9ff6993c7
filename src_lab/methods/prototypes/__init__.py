"""Methods that answer by running means of the classes."""

from src_lab.methods.prototypes.ncm import Ncm
from src_lab.methods.prototypes.slda import Slda

__all__ = ["Ncm", "Slda"]
