//! The nodes' image: Debian 12 with systemd and sshd by debootstrap, cached by a hash of what goes into it.

use std::process::{Command, Stdio};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use crate::cluster::{Error, say};
use crate::docker::{Docker, state_dir};

/// What a node has beside Debian's minimal base: what an administrator's RKE2 node has.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,openssh-server,sudo,iptables,iproute2,open-iscsi,nfs-common,cryptsetup-bin,\
    ca-certificates,curl,kmod,procps,openssl,netcat-openbsd";

/// Runs in the new root. Host keys and the machine id are each node's own, so the image has none.
const SET_UP: &str = "\
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id
: > /etc/machine-id
printf 'HostKey /etc/ssh/ssh_host_ed25519_key\\nUseDNS no\\nPasswordAuthentication no\\nMaxStartups 100\\n' > /etc/ssh/sshd_config.d/airgap.conf
useradd -m -s /bin/bash ops
systemctl disable ssh.service >/dev/null 2>&1
systemctl mask rpcbind.service rpcbind.socket run-rpc_pipefs.mount systemd-logind.service getty.target console-getty.service apt-daily.timer \
apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer sys-kernel-debug.mount sys-kernel-tracing.mount >/dev/null 2>&1
rm -rf /usr/share/doc /usr/share/man /usr/share/locale /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
";

/// The name of the image, built first where it is not there yet.
///
/// # Errors
/// Fails where debootstrap does; its log is named.
pub fn ensure(docker: &Docker) -> Result<String, Error> {
    let hash = hex::encode(Sha256::digest(format!("1 {PACKAGES} {SET_UP}")));
    let name = format!("airgap-node:{}", &hash[..12]);
    // two processes that start at once build it once
    let gate = fs_err::File::create(state_dir().join("node-image.lock"))?.into_file();
    gate.lock()?;
    if docker.run(&["image", "inspect", &name]).is_ok() {
        return Ok(name);
    }
    let start = Instant::now();
    say("building the node image by debootstrap (once; about a minute and a half)");
    let dir = tempfile::Builder::new()
        .prefix("airgap-node-")
        .tempdir_in("/var/tmp")?;
    let root = dir.path().join("root");
    let cache = state_dir().join("debs");
    fs_err::create_dir_all(&cache)?;
    let log_path = state_dir().join("debootstrap.log");
    let log = fs_err::File::create(&log_path)?.into_file();
    let mirror = std::env::var("AIRGAP_DEBIAN_MIRROR")
        .unwrap_or_else(|_| "http://deb.debian.org/debian".into());
    let done = Command::new("debootstrap")
        .args([
            "--variant=minbase",
            &format!("--include={PACKAGES}"),
            &format!("--cache-dir={cache}"),
            "bookworm",
        ])
        .arg(&root)
        .arg(mirror)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .map_err(|source| Error::Tool {
            tool: "debootstrap",
            source,
        })?;
    if !done.success() {
        return Err(Error::NodeImage { log: log_path });
    }
    let set_up = Command::new("chroot")
        .arg(&root)
        .args(["/bin/sh", "-ec", SET_UP])
        .stdin(Stdio::null())
        .output()?;
    if !set_up.status.success() {
        return Err(Error::Docker {
            command: "chroot".into(),
            message: String::from_utf8_lossy(&set_up.stderr).into_owned(),
        });
    }
    let mut tar = Command::new("tar")
        .arg("-C")
        .arg(&root)
        .args(["-c", "."])
        .stdout(Stdio::piped())
        .spawn()?;
    let stream = tar
        .stdout
        .take()
        .ok_or_else(|| std::io::Error::other("tar has no output"))?;
    let import = docker
        .command(&["import", "-c", "CMD [\"/sbin/init\"]", "-", &name])
        .stdin(stream)
        .output()?;
    tar.wait()?;
    if !import.status.success() {
        return Err(Error::Docker {
            command: "import".into(),
            message: String::from_utf8_lossy(&import.stderr).into_owned(),
        });
    }
    say(&format!(
        "node image built in {} s",
        start.elapsed().as_secs()
    ));
    Ok(name)
}
