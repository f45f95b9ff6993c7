"""The methods that a run can compare, one short file each. `METHODS` is the table behind `method=`."""

from src_lab.methods.base import Context, Method, MethodConfig
from src_lab.methods.cheat import Cheat
from src_lab.methods.lowrank_merge import LowRankMerge
from src_lab.methods.merge import Merge
from src_lab.methods.parallel import Parallel
from src_lab.methods.sequential import Sequential
from src_lab.methods.src import SleepReplay

METHODS: dict[str, type[Method]] = {
    "src": SleepReplay,
    "sequential": Sequential,
    "cheat": Cheat,
    "parallel": Parallel,
    "merge": Merge,
    "lowrank_merge": LowRankMerge,
}

__all__ = ["METHODS", "Context", "Method", "MethodConfig"]
