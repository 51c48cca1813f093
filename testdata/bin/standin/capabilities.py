"""All capabilities: before 0.12 a container had them all, as its machine was its own.

Docker can give no more than it has itself, which is less than all where it runs in a container.
"""

# Those that every docker knows; the newer ones it refuses where it is older than the kernel.
NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
).split()


def all_there_are():
    """Those of our own bounding set, which is docker's as far as we can tell."""
    with open("/proc/self/status") as file:
        bits = next((int(line.split()[1], 16) for line in file if line.startswith("CapBnd:")), 0)
    return ["CAP_" + name for at, name in enumerate(NAMES) if bits >> at & 1]
