"""The capabilities of a container: before 0.12 it had all of them, because it had a virtual machine of its own.

docker cannot give more than it has itself, and a docker inside a container does not have all of them.
"""

# The capabilities that every docker knows. A docker that is older than the kernel refuses newer ones.
NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
).split()


def all_there_are():
    """Returns the capabilities of our own bounding set, which we assume to be docker's."""
    with open("/proc/self/status") as file:
        bits = next((int(line.split()[1], 16) for line in file if line.startswith("CapBnd:")), 0)
    return ["CAP_" + name for at, name in enumerate(NAMES) if bits >> at & 1]
