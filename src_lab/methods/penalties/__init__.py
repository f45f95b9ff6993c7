"""Methods that protect what was learned by changing how the next task is learned: no image and no generator is kept."""

from src_lab.methods.penalties.ewc import EWC
from src_lab.methods.penalties.lwf import LwF
from src_lab.methods.penalties.online_ewc import OnlineEWC
from src_lab.methods.penalties.owm import OWM
from src_lab.methods.penalties.si import SI
from src_lab.methods.penalties.weight_aligning import WeightAligning

__all__ = ["EWC", "OWM", "SI", "LwF", "OnlineEWC", "WeightAligning"]
