"""Semi-supervised rivals: the same student, other uses of the unlabelled patches.

::

    mean_teacher     agree with the moving average of yourself
    ua_mt            the same where that average is sure of itself
    ict              the prediction of a mixture is the mixture of predictions
    urpc             predictions of all scales agree
    cps              two students label for each other
    cross_teaching   the student and a transformer label for each other
    bcp              copy and paste between labelled and unlabelled patches
"""

from __future__ import annotations

from vpbsd.compare.loop.rival import Rival
from vpbsd.compare.semi.bcp import BCP
from vpbsd.compare.semi.cps import CPS
from vpbsd.compare.semi.cross_teaching import CROSS_TEACHING
from vpbsd.compare.semi.ict import ICT
from vpbsd.compare.semi.mean_teacher import MEAN_TEACHER
from vpbsd.compare.semi.ua_mt import UA_MT
from vpbsd.compare.semi.urpc import URPC

__all__ = ["SEMI"]

SEMI: dict[str, Rival] = {
    rival.name: rival for rival in (MEAN_TEACHER, UA_MT, ICT, URPC, CPS, CROSS_TEACHING, BCP)
}
"""Semi-supervised rivals by name."""
