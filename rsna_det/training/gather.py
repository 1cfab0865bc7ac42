"""Tables gathered from all devices of a distributed run."""

from collections.abc import Sequence

import pyarrow as pa
import torch.distributed as dist


def gather_tables(parts: Sequence[pa.Table]) -> pa.Table | None:
    """The rows of all processes by ``image_id``; rows of one image keep their order. None if no process has any.

    Every process gets the whole table. Each image is validated in one process only.

    Args:
        parts: this process's tables, one per batch.
    """
    own = pa.concat_tables(parts).unify_dictionaries() if parts else None
    if dist.is_available() and dist.is_initialized():
        gathered: list[pa.Table | None] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, own)
    else:
        gathered = [own]
    tables = [table for table in gathered if table is not None]
    if not tables:
        return None
    joined = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    ids = joined["image_id"].cast(pa.string()).to_numpy(zero_copy_only=False).astype(str)
    return joined.take(pa.array(ids.argsort(kind="stable")))
