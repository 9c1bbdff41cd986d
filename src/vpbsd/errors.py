"""Every error that vpbsd raises on purpose.

::

    VpbsdError
    ├── UserError                   the user can mend it: exit code 2
    │   ├── ConfigError             a setting is unknown, out of range or contradicts another
    │   ├── DataError               a volume or label cannot be used as it is
    │   │   ├── VolumeFormatError       not a file we read, truncated, or with wrong axes
    │   │   ├── VoxelSizeUnknownError   no voxel size in the file and none given
    │   │   └── IntensityError          NaN, infinite or constant intensities
    │   ├── OutputError             the output exists already, or cannot be written
    │   ├── CheckpointError         missing, truncated, or of another version or kind of model
    │   └── MissingExtraError       an optional dependency is not installed
    ├── CollapseError               training degenerated: dead codebook, empty pseudo-labels or mask
    ├── WorkerDiedError             the process that computed a block was killed, again and again
    ├── BlocksFailedError           some blocks of a blockwise run failed; the others are kept
    └── JobsFailedError             some jobs of a comparison failed; the others are kept

A message says what happened, the limit or value at fault, the likely cause and the way out.
"""

from __future__ import annotations

__all__ = [
    "BlocksFailedError",
    "CheckpointError",
    "CollapseError",
    "ConfigError",
    "DataError",
    "IntensityError",
    "JobsFailedError",
    "MissingExtraError",
    "OutputError",
    "UserError",
    "VolumeFormatError",
    "VoxelSizeUnknownError",
    "VpbsdError",
    "WorkerDiedError",
]


class VpbsdError(Exception):
    """Base of all errors raised by vpbsd."""


class UserError(VpbsdError):
    """The input, a setting or the environment must change; the message says how."""


class ConfigError(UserError):
    """A configuration value is unknown, out of range or contradicts another."""


class DataError(UserError):
    """A volume or label cannot be used as it is."""


class VolumeFormatError(DataError):
    """A file is not in a format we read, is truncated, or has unexpected axes."""


class VoxelSizeUnknownError(DataError):
    """A volume states no voxel size and the caller gave none."""


class IntensityError(DataError):
    """Intensities are NaN, infinite or constant."""


class OutputError(UserError):
    """An output exists already or cannot be written."""


class CheckpointError(UserError):
    """A checkpoint is missing, truncated, or of another version or kind of model."""


class MissingExtraError(UserError):
    """An optional dependency is not installed."""


class CollapseError(VpbsdError):
    """Training degenerated; the message says what collapsed and what to change."""


class WorkerDiedError(VpbsdError):
    """The process that computed a block died each time, most often for lack of memory."""


class BlocksFailedError(VpbsdError):
    """Some blocks of a blockwise run failed; finished blocks are kept."""


class JobsFailedError(VpbsdError):
    """Some jobs of a comparison failed; the results of the others are kept."""
