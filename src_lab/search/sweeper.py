"""Hydra's side of a search: from its command line to a study, and from a trial to a job of whatever launcher it has."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

from src_lab.config import parse
from src_lab.multirun import LAUNCHERS_HERE
from src_lab.settings import ConfigError

if TYPE_CHECKING:  # Optuna takes a while to import, which a run that is no search need not wait for
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from src_lab.search.study import Search

ONE_PER_SEARCH = {
    "seed": "a search runs every trial with each of search.seeds; e.g. search.seeds=[0,1,2]",
    "force": "a search goes on where it was; remove its folder to start again",
}
"""Settings of a run that its search decides."""
SECRET = "search.storage="
"""What jobs need not know and no file tells: the URL may hold a password."""


class SearchSweeper(Sweeper):
    """Chosen by the files of `conf/search` (`hydra/sweeper: search`)."""

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """Search as the command line says. Raises ConfigError, before anything is written, for what cannot be searched."""
        from src_lab.search.work import work

        search = self._plan(arguments)
        self._aim_at(search.folder)
        search.open()
        work(search, lambda trial: self._launch(search, trial))

    def _plan(self, arguments: list[str]) -> "Search":
        from src_lab.search.config import identity, search_config
        from src_lab.search.space import build_space, require_validation
        from src_lab.search.study import Search
        from src_lab.search.work import share_of_cores

        fixed, swept = self._read(arguments)
        here = self.config.hydra.runtime.choices["hydra/launcher"] in LAUNCHERS_HERE
        raw = self._compose(fixed)
        config, base = search_config(OmegaConf.to_container(raw.search, resolve=True)), parse(raw, here=here)
        named = {re.split("[@=]", text.lstrip("+"))[0] for text in (*fixed, *swept)}
        texts = {key: text for key, text in config.space.items() if key.removesuffix(".*") not in named}
        space = build_space(texts | swept, base, parse_sweep)
        config.sampler.check(space.distributions)
        for corner in space.corners():
            parse(self._compose([*fixed, *space.overrides(corner)]), here=here)
        if here:
            require_validation(base, config.seeds[0])
        search_id = identity(config, base, space.as_json())
        folder = self._folder(f"search-{config.name}-{search_id}")
        preset = space.point_of(base) if config.include_preset and config.sampler.name != "grid" else None
        command, shared = ([text for text in texts if not text.startswith(SECRET)] for texts in (arguments, fixed))
        threads = base.threads or share_of_cores(config.workers)
        return Search(folder, search_id, config, space, preset, command, shared, threads)

    def _read(self, arguments: list[str]) -> tuple[list[str], dict[str, str]]:
        """The command line's overrides, apart from those that say what to search: these as text by key."""
        fixed: dict[str, str] = {}
        swept: dict[str, str] = {}
        for override in OverridesParser.create().parse_overrides(arguments):
            key = override.get_key_element()
            if key in ONE_PER_SEARCH:
                raise ConfigError(f"{key} cannot be set: {ONE_PER_SEARCH[key]}")
            fixed.pop(key, None)
            swept.pop(key, None)  # the last word on a setting counts
            if override.is_sweep_override():
                swept[key] = override.get_value_string()
            else:
                fixed[key] = str(override.input_line)
        for key in swept:
            if re.match(r"\+*search\b", key):
                raise ConfigError(f"{key}={swept[key]} cannot be searched: give one value, or a list as {key}=[1,2]")
        fixed.setdefault("evaluate", "evaluate=final")  # test accuracy of every stage takes time and tells a search nothing
        return list(fixed.values()), swept

    def _folder(self, name: str) -> Path:
        chosen = any(override.startswith("hydra.sweep.dir=") for override in self.config.hydra.overrides.hydra)
        folder = Path(self.config.hydra.sweep.dir)
        return folder if chosen else folder / name

    def _compose(self, overrides: list[str]) -> DictConfig:
        """The configuration of one job, without Hydra's part."""
        raw = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        return OmegaConf.masked_copy(raw, [str(key) for key in raw if key != "hydra"])

    def _aim_at(self, folder: Path) -> None:
        """Have the launcher put jobs below `folder`."""
        with read_write(self.config.hydra):
            self.config.hydra.sweep.dir = str(folder)
            self.config.hydra.overrides.hydra.append(f"hydra.sweep.dir={_quoted(str(folder))}")
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )

    def _launch(self, search: "Search", trial: "FrozenTrial") -> dict[str, Any]:
        """Run one trial as a job. Raises what the job raised."""
        threads, floors = trial.user_attrs["threads"], trial.user_attrs["floors"]
        overrides = [
            *search.fixed,
            *search.space.overrides(trial.params),
            *([f"threads={threads}"] if threads is not None else []),
            f"++search.trial={trial.number}",
            f"++search.floors=[{','.join(map(str, floors))}]",
            f"hydra.sweep.subdir={search.trial_folder(trial.number).name}",
        ]
        (job,) = self.launcher.launch([overrides], initial_job_idx=trial.number)
        returned: dict[str, Any] = job.return_value
        return returned


def parse_sweep(key: str, text: str) -> "BaseDistribution | str":
    """What `key=text` means to Hydra and Optuna: a distribution, or the text of one value. Raises ConfigError."""
    from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override

    (override,) = OverridesParser.create().parse_overrides([f"{key}={text}"])
    try:
        made: BaseDistribution | str = create_optuna_distribution_from_override(override)
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(f"search.space: {key}={text} cannot be searched: {error}") from None
    return made


def _quoted(text: str) -> str:
    """`text` as a value of Hydra's override language."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
