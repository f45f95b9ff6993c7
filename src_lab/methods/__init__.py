"""The methods that a run can compare, one short file each. `METHODS` is the table behind `method=`."""

from src_lab.methods.base import Context, Method, MethodConfig, Stored
from src_lab.methods.cheat import Cheat
from src_lab.methods.controls import Rescale
from src_lab.methods.lowrank_merge import LowRankMerge
from src_lab.methods.memory import AveragedGem, GenerativeReplay, ICaRL, Rehearsal, Replay
from src_lab.methods.merging import (
    Dare,
    FisherMerge,
    MagMax,
    Merge,
    RegMean,
    RunningAverage,
    Stitch,
    TaskArithmetic,
    Ties,
)
from src_lab.methods.parallel import Parallel
from src_lab.methods.penalties import EWC, OWM, SI, LwF, OnlineEWC, WeightAligning
from src_lab.methods.prototypes import Ncm, Slda
from src_lab.methods.sequential import Sequential
from src_lab.methods.src import SleepReplay

METHODS: dict[str, type[Method]] = {
    "src": SleepReplay,
    "sequential": Sequential,
    "cheat": Cheat,
    "parallel": Parallel,
    "merge": Merge,
    "lowrank_merge": LowRankMerge,
    "task_arithmetic": TaskArithmetic,
    "ties": Ties,
    "dare": Dare,
    "magmax": MagMax,
    "fisher_merge": FisherMerge,
    "regmean": RegMean,
    "running_average": RunningAverage,
    "stitch": Stitch,
    "ncm": Ncm,
    "slda": Slda,
    "rescale": Rescale,
    "ewc": EWC,
    "online_ewc": OnlineEWC,
    "si": SI,
    "lwf": LwF,
    "owm": OWM,
    "weight_aligning": WeightAligning,
    "replay": Replay,
    "rehearsal": Rehearsal,
    "icarl": ICaRL,
    "agem": AveragedGem,
    "dgr": GenerativeReplay,
}

__all__ = ["METHODS", "Context", "Method", "MethodConfig", "Stored"]
