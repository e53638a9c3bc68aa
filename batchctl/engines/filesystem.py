"""Which file system a path lies on, as the kernel's list of mounts tells."""

from __future__ import annotations

import os
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
# Locks of one host are not those of another there, or shared memory is not shared: both would damage a SQLite file.
_NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "coda",
        "ceph",
        "lustre",
        "gpfs",
        "beegfs",
        "ocfs2",
        "gfs2",
    }
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.davfs", "fuse.ceph", "fuse.gvfsd-fuse"}
)


def network_file_system(folder: Path) -> str | None:
    """The kind of network file system that the folder lies on; None for a local one, and where it cannot be told."""
    try:
        device = folder.stat().st_dev
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    kind = kind_of(f"{os.major(device)}:{os.minor(device)}", mounts)
    return kind if kind in _NETWORK else None


def kind_of(device: str, mounts: str) -> str | None:
    """The type of the file system on that device (major:minor); None where it is not in the list."""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        if rest and fields.split()[2:3] == [device]:
            return rest.split()[0]
    return None
