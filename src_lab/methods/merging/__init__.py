"""Methods that train a network per task and make one of them."""

from src_lab.methods.merging.dare import Dare
from src_lab.methods.merging.fisher_merge import FisherMerge
from src_lab.methods.merging.magmax import MagMax
from src_lab.methods.merging.merge import Merge
from src_lab.methods.merging.regmean import RegMean
from src_lab.methods.merging.running_average import RunningAverage
from src_lab.methods.merging.stitch import Stitch
from src_lab.methods.merging.task_arithmetic import TaskArithmetic
from src_lab.methods.merging.ties import Ties

__all__ = ["Dare", "FisherMerge", "MagMax", "Merge", "RegMean", "RunningAverage", "Stitch", "TaskArithmetic", "Ties"]
