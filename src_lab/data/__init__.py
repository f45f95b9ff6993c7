"""Data sets and the task streams made of them."""

from src_lab.data.config import SCHEMAS, DatasetConfig
from src_lab.data.sources import default_root
from src_lab.data.streams import DATASETS, Split, Stream, Task, load_stream

__all__ = ["DATASETS", "SCHEMAS", "DatasetConfig", "Split", "Stream", "Task", "default_root", "load_stream"]
