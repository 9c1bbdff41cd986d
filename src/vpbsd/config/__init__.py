"""Every setting of a run, one frozen model per section; defaults live here and nowhere else.

Building a configuration touches no disk and imports no torch. Unknown keys are refused at every
level. The paper states neither the codebook's size and dimension nor its loss weights, schedules
and patch sizes: those are settings here, with defaults chosen on validation data.
"""

from vpbsd.config.compare import (
    BudgetConfig,
    CompareConfig,
    DatasetConfig,
    MethodConfig,
    SimulatedDataConfig,
    SimulatedPart,
    TuningConfig,
    load_comparison,
)
from vpbsd.config.data import (
    DataConfig,
    SimulateConfig,
    VolumeConfig,
)
from vpbsd.config.nets import (
    CodebookConfig,
    StudentConfig,
    TeacherConfig,
)
from vpbsd.config.recipes import (
    change_settings,
    find_recipe,
    flat_settings,
    load_config,
    parse_config,
    read_tree,
    save_config,
    shipped_recipes,
)
from vpbsd.config.run import (
    MachineConfig,
    RunConfig,
)
from vpbsd.config.stages import (
    DistillConfig,
    FinetuneConfig,
    PretrainConfig,
    StageConfig,
)

__all__ = [
    "BudgetConfig",
    "CodebookConfig",
    "CompareConfig",
    "DataConfig",
    "DatasetConfig",
    "DistillConfig",
    "FinetuneConfig",
    "MachineConfig",
    "MethodConfig",
    "PretrainConfig",
    "RunConfig",
    "SimulateConfig",
    "SimulatedDataConfig",
    "SimulatedPart",
    "StageConfig",
    "StudentConfig",
    "TeacherConfig",
    "TuningConfig",
    "VolumeConfig",
    "change_settings",
    "find_recipe",
    "flat_settings",
    "load_comparison",
    "load_config",
    "parse_config",
    "read_tree",
    "save_config",
    "shipped_recipes",
]
