//! The names of services. The command line has no `--add-host`, and its networks have no names. So the workload waits
//! at a gate until its `/etc/hosts` has the addresses of its services.

use std::net::IpAddr;

/// Waits for [`WRITE_HOSTS_SCRIPT`]. The rest of the script becomes the command in its arguments.
pub(super) const WAIT_AT_GATE_SCRIPT: &str =
    "until [ -e /run/moat/go ]; do sleep 0.05 2>/dev/null || sleep 1; done; ";

/// Replaces the moat lines in `/etc/hosts` by its arguments, and opens the gate. It uses only builtins of a shell,
/// because an image may have no other programs.
pub(super) const WRITE_HOSTS_SCRIPT: &str = "kept=
while IFS= read -r line; do
    case $line in *'# moat') ;; *) kept=\"$kept$line
\" ;; esac
done </etc/hosts
{ printf %s \"$kept\"; printf '%s # moat\\n' \"$@\"; } >/etc/hosts &&
{ [ -d /run/moat ] || mkdir -p /run/moat; } && : >/run/moat/go";

/// Prints a text if the gate is still closed.
pub(super) const CHECK_GATE_SCRIPT: &str = "[ -e /run/moat/go ] || echo held";

/// A line of `/etc/hosts`.
pub(super) fn line(address: IpAddr, name: &str) -> String {
    format!("{address} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The real script, on temporary files.
    #[test]
    fn names_replace_earlier_ones_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("moat-names-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let hosts = dir.join("hosts");
        std::fs::write(&hosts, "127.0.0.1 localhost\n10.0.0.1 db # moat\n").unwrap();
        let script = WRITE_HOSTS_SCRIPT
            .replace("/etc/hosts", hosts.to_str().unwrap())
            .replace("/run/moat", dir.join("notes").to_str().unwrap());
        let lines = [
            line("10.0.0.2".parse().unwrap(), "db"),
            "10.0.0.3 cache".to_owned(),
        ];
        let status = Command::new("sh")
            .args(["-c", &script, "moat"])
            .args(lines)
            .status();
        assert!(status.unwrap().success());
        let text = std::fs::read_to_string(&hosts).unwrap();
        assert_eq!(
            text,
            "127.0.0.1 localhost\n10.0.0.2 db # moat\n10.0.0.3 cache # moat\n"
        );
        assert!(dir.join("notes/go").exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
