"""Sleep Replay Consolidation: sequential learning by a network that sleeps (Tadros et al. 2022).

When it sleeps is `method.sleep_after`, each task by default; how is the group `sleep`; the sleep itself is `src_lab.sleep`.
"""

from src_lab.methods.sequential import Sequential


class SleepReplay(Sequential):
    """Sequential learning whose configuration has it sleep."""

    @property
    def label(self) -> str:
        return "SRC"
