"""Which file systems are of another machine: SQLite's write-ahead log shares no memory there."""

from pathlib import Path

__all__ = ["network_file_system"]

_REMOTE = frozenset(
    ("9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "gfs2")
) | {"glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}

_MOUNTS = Path("/proc/self/mountinfo")


def network_file_system(folder: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of the file system that a folder is on, if it is one over a network; else empty.

    Parameters
    ----------
    mounts
        The table of mounts as Linux shows it; where there is none, nothing is known.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        there = folder.resolve()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        place, _, system = line.partition(" - ")
        where = Path(place.split()[4].replace("\\040", " "))
        depth = len(where.parts)
        if depth >= best and there.is_relative_to(where):
            best, kind = depth, system.split()[0]
    return kind if kind in _REMOTE else ""
