"""All blocks: each leaves a fragment of the skeleton, and the fragments are stitched.

::

    block ──► trace ──► fragment ──► store        one file a block
                                       │
    complete (agreement) ◄─────────────┘          damaged and disagreeing blocks again
        └──► pieces ──► stitch                    one graph, whatever the blocks
"""

from __future__ import annotations

__all__: list[str] = []
