//! The stand-in for RKE2: one binary that is `rke2`, `kubectl` or `crictl` by the name it is called under.
//!
//! It runs no containers and holds no Kubernetes. It obeys the documented contract that an installer meets, checks what it is given,
//! and fails where the real one would: `testkit/STANDIN.md` says exactly what. Every version line and first log line names it a
//! stand-in.

mod addons;
mod agent;
mod api;
mod apiserver;
mod argocd;
mod bootstrap;
mod chart;
mod config;
mod controllers;
mod crictl;
mod custom;
mod demands;
mod dns;
mod fail;
mod helm;
mod http;
mod image;
mod join;
mod kinds;
mod kubectl;
mod log;
mod node;
mod nodes;
mod notify;
mod peers;
mod pull;
mod registries;
/// What the real binary has compiled in.
pub mod release;
mod schema;
mod server;
mod store;
mod supervisor;
mod tls;
mod token;
mod workloads;
mod yaml;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use self::config::{Config, Role};
use self::fail::{Fail, Result};

/// Runs the stand-in as the program that `argv[0]` names.
#[must_use]
pub fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args().collect();
    let name = argv.first().map(|path| {
        Path::new(path)
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned()
    });
    let words = argv.get(1..).unwrap_or_default();
    // two installations in one process would be a defect of this file alone
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            log::fatal(error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let done = match name.as_deref() {
        // crictl's wrapper in the runtime image calls the one binary there by this flag
        Some("kubectl") if words.first().is_some_and(|arg| arg == "--standin-crictl") => {
            crictl::run(&words[1..])
        }
        Some("kubectl") => runtime.block_on(kubectl::run(words)),
        Some("crictl") => crictl::run(words),
        Some("kubelet" | "containerd" | "ctr" | "runc" | "containerd-shim-runc-v2") => {
            Ok("airgap stand-in: not a real binary\n".into())
        }
        _ => runtime.block_on(rke2(words)),
    };
    let plain = matches!(name.as_deref(), Some("kubectl" | "crictl"));
    match done {
        Ok(text) => {
            // a reader that closed the pipe has what it wanted
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) if plain => {
            let _ = writeln!(std::io::stderr().lock(), "{error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            log::fatal(error.0);
            ExitCode::FAILURE
        }
    }
}

async fn rke2(args: &[String]) -> Result<String> {
    let (command, rest) = args
        .split_first()
        .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    match command {
        "--version" | "-v" => {
            let version = release::Info::load()?.version;
            Ok(format!(
                "rke2 version {version} (airgap-standin)\nairgap stand-in: not RKE2\n"
            ))
        }
        "server" | "agent" => {
            let role = if command == "server" {
                Role::Server
            } else {
                Role::Agent
            };
            let (file, flags) = flags(rest)?;
            let config = Config::load(role, Path::new(&file), &flags)?;
            if config.is_true("cluster-reset") {
                return Err(Fail::new("airgap stand-in: cluster-reset is not emulated"));
            }
            let running = async {
                match role {
                    Role::Server => server::run(config).await,
                    Role::Agent => agent::run(config).await,
                }
            };
            let mut term =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                done = running => done.map(|()| String::new()).map_err(|error| Fail::new(format!("{} {error}", role.name()))),
                _ = term.recv() => Ok(String::new()),
            }
        }
        "etcd-snapshot" => snapshot(rest),
        other => Err(Fail::new(format!(
            "No help topic for '{other}' (airgap stand-in)"
        ))),
    }
}

/// `--key value` and `--key=value`; `-c` moves the file.
fn flags(args: &[String]) -> Result<(String, Vec<(String, String)>)> {
    let mut file = std::env::var("RKE2_CONFIG_FILE")
        .unwrap_or_else(|_| "/etc/rancher/rke2/config.yaml".into());
    let mut out = Vec::new();
    let mut rest = args.iter().peekable();
    while let Some(word) = rest.next() {
        let Some(flag) = word.strip_prefix('-') else {
            return Err(Fail::new(format!("unexpected argument {word:?}")));
        };
        let flag = flag.trim_start_matches('-');
        let (key, value) = match flag.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None => match rest.peek() {
                Some(next) if !next.starts_with('-') => {
                    (flag, rest.next().cloned().unwrap_or_default())
                }
                _ => (flag, "true".to_owned()),
            },
        };
        if ["c", "config"].contains(&key) {
            file = value;
        } else {
            out.push((key.to_owned(), value));
        }
    }
    Ok((file, out))
}

/// `etcd-snapshot save [--name N]`, `ls`: a copy of this server's document.
fn snapshot(args: &[String]) -> Result<String> {
    let data = Path::new("/var/lib/rancher/rke2/server/db");
    let dir = data.join("snapshots");
    match args.first().map(String::as_str) {
        Some("save") => {
            let (_, flags) = flags(&args[1..])?;
            let base = flags
                .iter()
                .find(|(key, _)| key == "name")
                .map_or("on-demand", |(_, value)| value.as_str());
            let host = fs_err::read_to_string("/proc/sys/kernel/hostname")?;
            let name = format!(
                "{base}-{}-{}",
                host.trim(),
                jiff::Timestamp::now().as_second()
            );
            let bytes = fs_err::read(data.join("etcd/member/snap/db"))
                .map_err(|_| Fail::new("etcd datastore is not running"))?;
            tls::write_secret(&dir.join(&name), &bytes)?;
            Ok(format!("Snapshot {name} saved.\n"))
        }
        Some("ls" | "list") => {
            let mut names: Vec<String> = fs_err::read_dir(&dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            Ok(names
                .iter()
                .map(|name| format!("{name} file://{}\n", dir.join(name).display()))
                .collect::<Vec<_>>()
                .concat())
        }
        other => Err(Fail::new(format!(
            "airgap stand-in: etcd-snapshot {other:?} is not emulated"
        ))),
    }
}
