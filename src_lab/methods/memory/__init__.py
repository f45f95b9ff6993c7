"""Methods that keep the past at hand: training images in a memory, or a generative model that makes such images up."""

from src_lab.methods.memory.agem import AveragedGem
from src_lab.methods.memory.dgr import GenerativeReplay
from src_lab.methods.memory.icarl import ICaRL
from src_lab.methods.memory.rehearsal import Rehearsal
from src_lab.methods.memory.replay import Replay

__all__ = ["AveragedGem", "GenerativeReplay", "ICaRL", "Rehearsal", "Replay"]
