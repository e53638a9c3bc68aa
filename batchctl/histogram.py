"""Lengths of time in buckets, eight to each doubling: what a bucket stands for is off by 6.25% at the most. Pure."""

from __future__ import annotations

from collections.abc import Mapping

NONE = -1  # the bucket of an attempt that never began


def bucket_of(ms: int) -> int:
    """The bucket of a length of time in ms: up to 15 ms each its own, then eight to each doubling."""
    if ms < 16:
        return max(0, ms)
    shift = ms.bit_length() - 4
    return shift * 8 + (ms >> shift)


def bounds(bucket: int) -> tuple[int, int]:
    """The least length in ms that is in the bucket, and the least that is in the next one."""
    if bucket < 16:
        return bucket, bucket + 1
    shift, part = bucket // 8 - 1, bucket % 8 + 8
    return part << shift, (part + 1) << shift


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """The length in ms that `share` of the attempts stay within, from how many are in each bucket; None for none."""
    counted = sorted((bucket, count) for bucket, count in buckets.items() if bucket != NONE and count > 0)
    wanted = share * sum(count for _, count in counted)
    reached = 0
    for bucket, count in counted:
        reached += count
        if reached >= wanted:
            low, high = bounds(bucket)
            return float(low) if bucket < 16 else (low + high) / 2
    return None


def within(buckets: Mapping[int, int], ms: int) -> int:
    """How many took less than `ms`, which must be where a bucket begins: a power of two, for example."""
    return sum(count for bucket, count in buckets.items() if bucket != NONE and bounds(bucket)[1] <= ms)
