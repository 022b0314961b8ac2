//! One machine of a site.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Error, NodeSpec, Site, Sudo, ZONE};
use crate::docker::{Docker, LABEL};

/// What a command on a node gave.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit status.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A running machine.
#[derive(Debug)]
pub struct Node {
    spec: NodeSpec,
    address: Ipv4Addr,
    container: String,
    host_key: String,
    docker: Arc<Docker>,
}

/// Runs on each node once it is up. `$1` gateway, `$2` default route or not, `$3` resolver, `$4` zone, `$5` name.
const SET_UP: &str = r#"
umount /etc/resolv.conf /etc/hosts /etc/hostname
printf 'nameserver %s\nsearch %s\n' "$3" "$4" > /etc/resolv.conf
printf '127.0.0.1 localhost\n127.0.1.1 %s.%s %s\n' "$5" "$4" "$5" > /etc/hosts
echo "$5" > /etc/hostname
if [ "$2" = yes ]; then ip route replace default via "$1"; else ip route del default 2>/dev/null || true; fi
# the modules that RKE2 asks for are built into the host's kernel; depmod makes modprobe know
modules="/lib/modules/$(uname -r)"
mkdir -p "$modules"
for module in net/bridge/br_netfilter fs/overlayfs/overlay drivers/net/vxlan/vxlan net/ipv4/netfilter/ip_tables net/netfilter/nf_conntrack \
    drivers/scsi/iscsi_tcp drivers/md/dm-crypt net/netfilter/ipvs/ip_vs; do
    echo "kernel/$module.ko"
done > "$modules/modules.builtin"
: > "$modules/modules.order"
depmod -a 2>/dev/null
[ -f /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
install -d -m 700 -o ops -g ops /home/ops/.ssh
cat > /home/ops/.ssh/authorized_keys
chown ops: /home/ops/.ssh/authorized_keys
chmod 600 /home/ops/.ssh/authorized_keys
systemctl enable --now ssh 2>/dev/null
"#;

impl Node {
    pub(crate) fn start(site: &Site<'_>, spec: NodeSpec) -> Result<Self, Error> {
        let docker = Arc::clone(site.docker);
        let container = format!("{}-{}", site.network.name(), spec.name);
        let address = site.network.address_for(&container);
        let small = spec
            .small_var
            .map(|bytes| format!("/var/lib/rancher:rw,exec,mode=755,size={bytes}"));
        let label = format!("{LABEL}={}", std::process::id());
        let ip = address.to_string();
        // plain --privileged wants a capability that some machines do not have; systemd needs no more than these
        let mut args = vec![
            "run",
            "--detach",
            "--pull",
            "never",
            "--name",
            &container,
            "--hostname",
            &spec.name,
            "--label",
            &label,
            "--network",
            site.network.name(),
            "--ip",
            &ip,
            "--stop-signal",
            "SIGRTMIN+3",
            "--cap-add",
            "SYS_ADMIN",
            "--cap-add",
            "NET_ADMIN",
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "apparmor=unconfined",
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/tmp:exec",
            "--volume",
            "/sys/fs/cgroup:/sys/fs/cgroup:rw",
            "--cgroupns=host",
        ];
        if let Some(small) = &small {
            args.extend(["--tmpfs", small]);
        }
        args.push(site.image);
        docker.run(&args)?;
        let mut node = Self {
            spec,
            address,
            container,
            host_key: String::new(),
            docker,
        };
        node.await_systemd()?;
        let gateway = site.network.gateway().to_string();
        let route = if node.spec.default_route { "yes" } else { "no" };
        let resolver = if node.spec.resolver {
            gateway.as_str()
        } else {
            "127.0.0.53"
        };
        node.feed(
            &[
                "sh",
                "-ec",
                SET_UP,
                "setup",
                &gateway,
                route,
                resolver,
                ZONE,
                &node.spec.name,
            ],
            format!("{}\n", site.key).as_bytes(),
        )?;
        node.set_sudo()?;
        if let Some(machine) = &node.spec.machine {
            let script = format!(
                "mv /usr/bin/uname /usr/bin/uname.real\nprintf '#!/bin/sh\\ncase \"$*\" in -m|-p|-i) echo {machine};; *) exec /usr/bin/uname.real \"$@\";; esac\\n' > /usr/bin/uname\nchmod 755 /usr/bin/uname"
            );
            node.check(&["sh", "-ec", &script])?;
        }
        node.host_key =
            node.check(&["cut", "-d ", "-f1,2", "/etc/ssh/ssh_host_ed25519_key.pub"])?;
        node.await_ssh()?;
        Ok(node)
    }

    fn await_systemd(&self) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let output = self.exec(&["systemctl", "is-system-running"])?;
            if ["running", "degraded"].contains(&output.stdout.as_str()) {
                return Ok(());
            }
            if start.elapsed() > Duration::from_mins(5) {
                return Err(Error::Node {
                    node: self.spec.name.clone(),
                    message: format!("systemd is {:?} {}", output.stdout, output.stderr),
                });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn await_ssh(&self) -> Result<(), Error> {
        let start = Instant::now();
        let to = SocketAddr::from((self.address, 22));
        while TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_err() {
            if start.elapsed() > Duration::from_mins(5) {
                return Err(Error::Node {
                    node: self.spec.name.clone(),
                    message: "sshd does not answer".into(),
                });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn set_sudo(&self) -> Result<(), Error> {
        let rule = match &self.spec.sudo {
            Sudo::None => return Ok(()),
            Sudo::Free => "ops ALL=(ALL) NOPASSWD: ALL\n",
            Sudo::Password(password) => {
                self.feed(&["chpasswd"], format!("ops:{password}\n").as_bytes())?;
                "ops ALL=(ALL) ALL\n"
            }
        };
        self.feed(
            &[
                "sh",
                "-ec",
                "cat > /etc/sudoers.d/ops; chmod 440 /etc/sudoers.d/ops",
            ],
            rule.as_bytes(),
        )
        .map(|_| ())
    }

    /// Its name, which is its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Whether the others are reached through it.
    #[must_use]
    pub fn is_bastion(&self) -> bool {
        self.spec.bastion
    }

    /// Whether only the bastion reaches its sshd.
    #[must_use]
    pub fn is_behind_bastion(&self) -> bool {
        self.spec.behind_bastion
    }

    /// Its host key as known_hosts has it: `ssh-ed25519 AAAA…`.
    #[must_use]
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    pub(crate) fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    pub(crate) fn container(&self) -> String {
        self.container.clone()
    }

    /// Runs a command as root, without SSH.
    ///
    /// # Errors
    /// Fails where it cannot be run at all.
    pub fn exec(&self, command: &[&str]) -> Result<Output, Error> {
        let args: Vec<&str> = ["exec", &self.container]
            .into_iter()
            .chain(command.iter().copied())
            .collect();
        let output = self.docker.command(&args).stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    /// Runs a shell script as root, without SSH.
    ///
    /// # Errors
    /// As [`Node::exec`].
    pub fn sh(&self, script: &str) -> Result<Output, Error> {
        self.exec(&["sh", "-c", script])
    }

    /// Runs a command as root; its standard output where it succeeded.
    ///
    /// # Errors
    /// Fails where it does.
    pub fn check(&self, command: &[&str]) -> Result<String, Error> {
        let args: Vec<&str> = ["exec", &self.container]
            .into_iter()
            .chain(command.iter().copied())
            .collect();
        self.docker.run(&args)
    }

    /// Runs a command as root with `input` on its standard input.
    ///
    /// # Errors
    /// Fails where it does.
    pub fn feed(&self, command: &[&str], input: &[u8]) -> Result<String, Error> {
        let args: Vec<&str> = ["exec", "--interactive", &self.container]
            .into_iter()
            .chain(command.iter().copied())
            .collect();
        self.docker.feed(&args, input)
    }

    /// Puts a file there as root.
    ///
    /// # Errors
    /// Fails where it cannot be written.
    pub fn put(&self, path: &str, mode: &str, bytes: &[u8]) -> Result<(), Error> {
        let script = "mkdir -p \"$(dirname \"$1\")\"; umask 077; cat > \"$1\"; chmod \"$2\" \"$1\"";
        self.feed(&["sh", "-ec", script, "put", path, mode], bytes)
            .map(|_| ())
    }

    /// Pulls its plug: nothing of it answers, its disk is kept.
    ///
    /// # Errors
    /// Fails where the engine does.
    pub fn power_off(&self) -> Result<(), Error> {
        self.docker.run(&["kill", &self.container]).map(|_| ())
    }

    /// Removes what an earlier life of the machine left of its host key, so that it has another.
    ///
    /// # Errors
    /// Fails where the engine does.
    pub fn change_host_key(&self) -> Result<(), Error> {
        let script = "rm -f /etc/ssh/ssh_host_ed25519_key*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; systemctl restart ssh";
        self.check(&["sh", "-ec", script])?;
        self.await_ssh()
    }

    pub(crate) fn hide_behind(&self, bastion: Ipv4Addr) -> Result<(), Error> {
        let rule = format!(
            "iptables -A INPUT -p tcp --dport 22 ! -s {bastion} -j REJECT --reject-with tcp-reset"
        );
        self.check(&["sh", "-ec", &rule]).map(|_| ())
    }

    pub(crate) fn host_key_files(&self) -> Result<[String; 2], Error> {
        Ok([
            self.check(&["cat", "/etc/ssh/ssh_host_ed25519_key"])?,
            self.check(&["cat", "/etc/ssh/ssh_host_ed25519_key.pub"])?,
        ])
    }

    pub(crate) fn put_host_key(&self, files: &[String; 2]) -> Result<(), Error> {
        self.put(
            "/etc/ssh/ssh_host_ed25519_key",
            "600",
            format!("{}\n", files[0]).as_bytes(),
        )?;
        self.put(
            "/etc/ssh/ssh_host_ed25519_key.pub",
            "644",
            format!("{}\n", files[1]).as_bytes(),
        )?;
        self.check(&["systemctl", "restart", "ssh"])?;
        self.await_ssh()
    }

    pub(crate) fn with_host_key(mut self, files: &[String; 2]) -> Self {
        self.host_key = files[1]
            .split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ");
        self
    }
}
