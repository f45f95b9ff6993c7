"""The entrypoint: `python run.py method=src sleep.inc=0.03`; `python run.py --help` lists every setting."""

import logging
import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src_lab.config import ConfigError, explain, parse, register_resolvers
from src_lab.experiment import run
from src_lab.results import finished, read_results

register_resolvers()


@hydra.main(config_path=str(Path(__file__).parent / "conf"), config_name="config")
def main(raw: DictConfig) -> float | None:
    """Run what the composed configuration says, unless its folder holds it already; returns the validation accuracy."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        config = parse(raw)
        done = None if config.force else finished(folder)
        if done is not None and done.get("run_id") != config.run_id:
            raise ConfigError(
                f"hydra.run.dir={folder} holds another run, {done.get('run_id')}, not {config.run_id}: "
                "choose another folder, or force=true to replace it"
            )
        if done is None:
            _, done = run(config, folder)
        else:
            logging.getLogger(__name__).info("this run is finished already (force=true runs it again)")
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
    except Exception as error:
        message = None if wants_traceback else explain(error)
        if message is None:
            raise
        sys.exit(f"error: {message}")


if __name__ == "__main__":
    cli()
