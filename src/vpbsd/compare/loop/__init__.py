"""What every rival is trained with: the loop, patches, validation and budget of our student.

::

    rival           a method: its name, what it is, how its objective is made
    objective       what it hands to the loop: the losses of a batch, and the net it deploys
    student         the objectives that deploy our plain student share this
    supervised      a net trained on labels alone; tubes: the target of one of its losses
    augmentation    what nnU-Net's recipe adds to the augmentation that all share
    stage           the loop itself
"""

from __future__ import annotations

__all__: list[str] = []
