"""The entrypoint: `python run.py method=src sleep.inc=0.03`; `python run.py --help` lists every setting."""

import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from src_lab.config import explain, parse, require_multirun
from src_lab.experiment import ensure
from src_lab.multirun import MultirunSweeper, RunsFailed
from src_lab.results import read_results
from src_lab.search.sweeper import SearchSweeper

for sweeper in (MultirunSweeper, SearchSweeper):
    Plugins.instance().register(sweeper)  # they live outside of Hydra's plug-in folder


@hydra.main(config_path=str(Path(__file__).parent / "conf"), config_name="config")
def main(raw: DictConfig) -> float | dict[str, Any] | None:
    """Run what the composed configuration says, unless its folder holds it already; returns the validation accuracy.

    For a trial of a search, returns its outcome.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        if "search" in raw:
            from src_lab.search.trial import run_trial  # takes a second to import, which single runs need not wait for

            return run_trial(raw, folder)
        require_multirun(HydraConfig.get())
        done = ensure(parse(raw), folder)
    except BaseException:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()  # Hydra made it before anything was checked
        raise
    table = read_results(folder).astype({"steps": object}).fillna("-")
    print(table.to_string(index=False, float_format="%.2f"))
    print(f"\n{done['approach']}: final accuracy {100 * done['final_accuracy']:.2f} %   {folder}")
    validation = done["validation_accuracy"]
    return None if validation is None else float(validation)


def cli() -> None:
    """Run `main`, turning every error that a user can mend into one line."""
    wants_traceback = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing its own report
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except RunsFailed as error:
        if wants_traceback:
            raise
        sys.exit(str(error))
    except Exception as error:
        message = None if wants_traceback else explain(error)
        if message is None:
            raise
        sys.exit(f"error: {message}")


if __name__ == "__main__":
    cli()
