//! Reading the answer of the facts script: strict, line by line.

use std::{
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Facts, FactsError, FileState, Mount, Os, Probe, Reach, RegistryAnswer, Unit};
use crate::Role;

const KIB: u64 = 1024;

type Bad = &'static str;

/// Reads an answer; `before` and `after` are our clock when the question went out and the answer was there.
pub(super) fn facts(
    host: &str,
    answer: &[u8],
    before: SystemTime,
    after: SystemTime,
) -> Result<Facts, FactsError> {
    let text = String::from_utf8_lossy(answer);
    let mut facts = Facts {
        host: host.to_owned(),
        ..Facts::default()
    };
    let mut clocks = (None, None);
    let mut ended = false;
    let mut lines = 0;
    for (number, line) in (1..).zip(text.lines()) {
        lines = number;
        let mut words = line.split('\t');
        let key = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let read = match (key, words.as_slice()) {
            _ if ended => Err("something after the end"),
            ("clock-start", [at]) => number_of(at).map(|at| clocks.0 = Some(at)),
            ("clock-end", [at]) => number_of(at).map(|at| clocks.1 = Some(at)),
            ("end", []) => {
                ended = true;
                Ok(())
            }
            (key, words) => take(&mut facts, key, words),
        };
        read.map_err(|reason| FactsError::Malformed {
            host: host.to_owned(),
            line: number,
            text: line.chars().take(80).collect(),
            reason,
        })?;
    }
    let (true, (Some(start), Some(end))) = (ended, clocks) else {
        return Err(FactsError::CutShort {
            host: host.to_owned(),
            lines,
        });
    };
    (facts.clock_skew_ms, facts.clock_error_ms) = skew(start, end, millis(before), millis(after));
    Ok(facts)
}

/// Takes one line into the facts.
fn take(facts: &mut Facts, key: &str, words: &[&str]) -> Result<(), Bad> {
    match (key, words) {
        ("os", [id, version, name]) => {
            facts.os = Os {
                id: (*id).to_owned(),
                version: (*version).to_owned(),
                name: (*name).to_owned(),
            };
        }
        ("arch", [arch]) => {
            let arch = match *arch {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            };
            arch.clone_into(&mut facts.arch);
        }
        ("kernel", [kernel]) => (*kernel).clone_into(&mut facts.kernel),
        ("hostname", [name]) => (*name).clone_into(&mut facts.hostname),
        ("machine-id", [id]) => facts.machine_id = Some((*id).to_owned()),
        ("systemd", []) => facts.systemd = true,
        ("cpus", [count]) => facts.cpus = number_of(count)?,
        ("memory-kib", [kib]) => facts.memory = number_of::<u64>(kib)?.saturating_mul(KIB),
        ("selinux", [enforce]) => facts.selinux_enforcing = Some(*enforce == "1"),
        ("cgroup", [version, controllers]) => {
            facts.cgroup_version = number_of(version)?;
            facts.cgroup_controllers = controllers
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect();
        }
        ("sysctl", [name, value]) => {
            facts.sysctls.insert((*name).to_owned(), number_of(value)?);
        }
        ("program", [name]) => facts.programs.push((*name).to_owned()),
        ("module", [name]) => facts.modules.push((*name).to_owned()),
        ("package", [name]) => facts.packages.push((*name).to_owned()),
        ("mount", [path, point, total, free, exec @ ("exec" | "noexec")]) => {
            let mount = Mount {
                mount_point: (*point).to_owned(),
                total: number_of::<u64>(total)?.saturating_mul(KIB),
                available: number_of::<u64>(free)?.saturating_mul(KIB),
                noexec: *exec == "noexec",
            };
            facts.mounts.insert((*path).to_owned(), mount);
        }
        ("default-route", [interface]) => facts.default_route = Some((*interface).to_owned()),
        ("address", [address]) => facts.addresses.push((*address).to_owned()),
        ("nameserver", [address]) => facts.nameservers.push((*address).to_owned()),
        ("listening", [port]) => facts
            .listening
            .push(u16::from_str_radix(port, 16).map_err(|_| "not a port")?),
        ("modules-known", []) => facts.modules_known = true,
        ("proxy", []) => facts.proxy = true,
        ("nm-ignores-cni", []) => facts.network_manager_ignores_cni = true,
        _ => return take_software(facts, key, words),
    }
    Ok(())
}

fn take_software(facts: &mut Facts, key: &str, words: &[&str]) -> Result<(), Bad> {
    match (key, words) {
        ("unit", [name, active, enabled, started]) => {
            let is_active = matches!(*active, "active" | "activating" | "reloading");
            let role = match *name {
                "rke2-server.service" => Some(Role::Server),
                "rke2-agent.service" => Some(Role::Agent),
                _ => None,
            };
            // a tarball brings both units; the one that is in use says what the host is
            if role.is_some() && (is_active || (*enabled == "enabled" && !facts.rke2.active)) {
                facts.rke2.role = role;
                facts.rke2.active = is_active;
                facts.rke2.is_up = is_active && *active != "activating";
                facts.rke2.started = Some(number_of(started)?).filter(|at| *at > 0);
            }
            facts.units.insert(
                (*name).to_owned(),
                Unit {
                    active: (*active).to_owned(),
                    enabled: (*enabled).to_owned(),
                },
            );
        }
        ("rke2", [binary, version]) => {
            facts.rke2.binary = Some((*binary).into());
            facts.rke2.version = Some((*version).to_owned()).filter(|version| !version.is_empty());
        }
        ("cluster-ca", [digest]) => facts.rke2.cluster_ca = Some(sha256(digest)?),
        ("etcd-data", []) => facts.rke2.has_etcd_data = true,
        ("file", [path, digest, mode, owner, modified]) => {
            let state = FileState {
                sha256: sha256(digest)?,
                mode: u32::from_str_radix(mode, 8).map_err(|_| "not a mode")?,
                owner: (*owner).to_owned(),
                modified: number_of(modified)?,
            };
            facts.files.insert((*path).into(), state);
        }
        ("content", [path, encoded]) => {
            facts.contents.insert(
                (*path).into(),
                STANDARD.decode(encoded).map_err(|_| "not base64")?,
            );
        }
        ("resolved", [name, addresses]) => {
            facts.resolved.insert(
                (*name).to_owned(),
                addresses
                    .split_ascii_whitespace()
                    .map(str::to_owned)
                    .collect(),
            );
        }
        ("registry", [via, answer, detail]) => {
            let detail = (*detail).to_owned();
            let answer = match *answer {
                "trusted" => RegistryAnswer::Trusted,
                "unchecked" => RegistryAnswer::ConnectedUnchecked,
                "untrusted" => RegistryAnswer::Untrusted { detail },
                "unknown-name" => RegistryAnswer::UnknownName,
                "unreachable" => RegistryAnswer::Unreachable { detail },
                _ => return Err("unknown answer"),
            };
            facts.registry.insert((*via).to_owned(), answer);
        }
        _ => return Err("unknown line"),
    }
    Ok(())
}

/// Reads the answer of the ports script.
pub(super) fn probes(host: &str, answer: &[u8]) -> Result<Vec<Probe>, FactsError> {
    let text = String::from_utf8_lossy(answer);
    let mut probes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let probe = match line.split('\t').collect::<Vec<_>>().as_slice() {
            [address, port, reach] => number_of(port).and_then(|port| {
                let reach = match *reach {
                    "open" => Reach::Open,
                    "closed" => Reach::Closed,
                    "blocked" => Reach::Blocked,
                    _ => return Err("unknown answer"),
                };
                Ok(Probe {
                    address: (*address).to_owned(),
                    port,
                    reach,
                })
            }),
            _ => Err("unknown line"),
        };
        let malformed = |reason| FactsError::Malformed {
            host: host.to_owned(),
            line: number,
            text: line.chars().take(80).collect(),
            reason,
        };
        probes.push(probe.map_err(malformed)?);
    }
    probes.sort();
    Ok(probes)
}

/// Bounds the clock's difference from both sides: the host's first reading was after our question went out, its last one before the
/// answer was here.
fn skew(start: i64, end: i64, before: i64, after: i64) -> (i64, u64) {
    let (most, least) = (start.saturating_sub(before), end.saturating_sub(after));
    (
        least.saturating_add(most) / 2,
        most.saturating_sub(least).unsigned_abs() / 2,
    )
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn number_of<N: FromStr>(text: &str) -> Result<N, Bad> {
    text.trim().parse().map_err(|_| "not a number")
}

fn sha256(text: &str) -> Result<String, Bad> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_owned())
    } else {
        Err("not a sha256")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Facts, FactsError> {
        facts("n1", text.as_bytes(), UNIX_EPOCH, UNIX_EPOCH)
    }

    fn framed(lines: &str) -> String {
        format!("clock-start\t0\n{lines}clock-end\t0\nend\n")
    }

    #[test]
    fn an_answer_is_read_whole() {
        let facts = read(&framed(
            "os\tdebian\t12\tDebian GNU/Linux 12\narch\tx86_64\nunit\trke2-server.service\tactive\tenabled\t1700000000\nunit\trke2-agent.service\tinactive\tdisabled\t0\nrke2\t/usr/local/bin/rke2\tv1.36.4+rke2r1\nlistening\t2475\n",
        ))
        .unwrap();
        assert_eq!(
            (facts.arch.as_str(), facts.os.name.as_str()),
            ("amd64", "Debian GNU/Linux 12")
        );
        assert_eq!(
            (facts.rke2.role, facts.rke2.active, facts.rke2.started),
            (Some(Role::Server), true, Some(1_700_000_000))
        );
        assert!(facts.rke2.is_up);
        let starting = framed("unit\trke2-agent.service\tactivating\tenabled\t0\n");
        let rke2 = read(&starting).unwrap().rke2;
        assert!(rke2.active && !rke2.is_up);
        assert_eq!(facts.listening, [9333]);
    }

    #[test]
    fn unknown_lines_wrong_values_and_missing_ends_are_errors() {
        for (text, part) in [
            (framed("moon\tfull\n"), "unknown line"),
            (framed("cpus\tmany\n"), "not a number"),
            (framed("file\t/a\tbad\t600\troot:root\t0\n"), "not a sha256"),
            (framed("") + "cpus\t1\n", "something after the end"),
            (
                "clock-start\t0\ncpus\t2\n".to_owned(),
                "cut short after 2 lines",
            ),
            (String::new(), "cut short after 0 lines"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("n1"), "{error}");
        }
    }

    #[test]
    fn contents_are_read_and_never_shown() {
        let facts = read(&framed("content\t/etc/token\tY2FuYXJ5\n")).unwrap();
        assert_eq!(
            facts.contents[camino::Utf8Path::new("/etc/token")],
            b"canary"
        );
        let shown = format!("{facts:?}");
        assert!(
            shown.contains("\"/etc/token\": 6") && !shown.contains("99, 97, 110"),
            "{shown}"
        );
    }

    #[test]
    fn the_clock_is_bounded_from_both_sides() {
        // asked at 1000, answered at 1400; the host read 6100 first and 6300 last
        assert_eq!(skew(6100, 6300, 1000, 1400), (5000, 100));
    }

    proptest! {
        #[test]
        fn the_true_skew_is_within_the_bounds(true_skew in -100_000i64..100_000, there in 0i64..9000, took in 0i64..9000, back in 0i64..9000) {
            let (skew, error) = skew(there + true_skew, there + took + true_skew, 0, there + took + back);
            prop_assert!((skew - true_skew).unsigned_abs() <= error + 1);
        }

        #[test]
        fn no_answer_makes_it_panic(text in "[a-z0-9\t\n-]{0,200}") {
            let _ = read(&framed(&text));
            let _ = probes("n1", text.as_bytes());
        }
    }
}
