//! known_hosts files, as sshd(8) describes them: which keys a host may show.
//!
//! A key counts only on an exact match of type and bytes in an entry for the very name and port. Plain and hashed names, wildcards,
//! negation and ports are understood; `@revoked` refuses a key whatever else is there; `@cert-authority` never counts, and is reported.
//! Lines of no known form never count either, as in OpenSSH; but one with a marker is an error, since it may have meant to refuse.

use base64::{Engine, engine::general_purpose::STANDARD};
use camino::{Utf8Path, Utf8PathBuf};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::HostKeyProblem;
use crate::HostKey;

/// A parsed known_hosts file.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    path: Option<Utf8PathBuf>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    line: u64,
    mark: Mark,
    names: Names,
    key: HostKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    Revoked,
    CertAuthority,
}

#[derive(Clone, Debug)]
enum Names {
    Patterns(Vec<(bool, String)>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

/// A marked line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} has a marker and is not a known_hosts entry ({reason})")]
pub struct MarkedLineUnreadable {
    /// The line's number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl KnownHosts {
    /// Parses a file's text.
    pub fn parse(text: &str, path: &Utf8Path) -> Result<Self, MarkedLineUnreadable> {
        let mut entries = Vec::new();
        for (number, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match entry(number, text) {
                Ok(entry) => entries.push(entry),
                Err(reason) if text.starts_with('@') => {
                    return Err(MarkedLineUnreadable {
                        line: number,
                        reason,
                    });
                }
                Err(_) => {}
            }
        }
        Ok(Self {
            path: Some(path.to_owned()),
            entries,
        })
    }

    /// Returns the types of the keys on record for a host, in the file's order.
    #[must_use]
    pub fn kinds(&self, address: &str, port: u16) -> Vec<&str> {
        let name = lookup_name(address, port);
        let known = self
            .entries
            .iter()
            .filter(|entry| entry.mark == Mark::None && entry.names.cover(&name));
        known.map(|entry| entry.key.kind.as_str()).collect()
    }

    /// Judges the key a host showed.
    pub fn verify(&self, address: &str, port: u16, shown: &HostKey) -> Result<(), HostKeyProblem> {
        let name = lookup_name(address, port);
        let fingerprint = shown.fingerprint();
        let place = |entry: &Entry| {
            format!(
                "{}:{}",
                self.path.as_deref().unwrap_or(Utf8Path::new("known_hosts")),
                entry.line
            )
        };
        let about: Vec<&Entry> = self
            .entries
            .iter()
            .filter(|entry| entry.names.cover(&name))
            .collect();
        if let Some(entry) = about
            .iter()
            .find(|entry| entry.mark == Mark::Revoked && entry.key == *shown)
        {
            return Err(HostKeyProblem::Revoked {
                name,
                fingerprint,
                place: place(entry),
            });
        }
        let known: Vec<&&Entry> = about
            .iter()
            .filter(|entry| entry.mark == Mark::None)
            .collect();
        if known.iter().any(|entry| entry.key == *shown) {
            return Ok(());
        }
        let other = known
            .iter()
            .find(|entry| entry.key.kind == shown.kind)
            .or(known.first());
        if let Some(entry) = other {
            let expected = format!("{} {}", entry.key.kind, entry.key.fingerprint());
            return Err(HostKeyProblem::Changed {
                name,
                kind: shown.kind.clone(),
                fingerprint,
                expected,
                place: place(entry),
            });
        }
        let unsupported = about
            .iter()
            .filter(|entry| entry.mark == Mark::CertAuthority)
            .map(|entry| entry.line)
            .collect();
        Err(HostKeyProblem::Unknown {
            name,
            kind: shown.kind.clone(),
            fingerprint,
            file: self.path.clone(),
            unsupported,
        })
    }
}

/// Returns the name a host goes by in known_hosts: with the port in brackets unless it is 22.
#[must_use]
pub fn lookup_name(address: &str, port: u16) -> String {
    let address = address.to_lowercase();
    if port == 22 {
        address
    } else {
        format!("[{address}]:{port}")
    }
}

/// Returns the line to add to a known_hosts file for this key.
#[must_use]
pub fn line(address: &str, port: u16, key: &HostKey) -> String {
    format!("{} {key}", lookup_name(address, port))
}

fn entry(line: u64, text: &str) -> Result<Entry, &'static str> {
    let mut fields = text.split_ascii_whitespace();
    let mut next = |what| fields.next().ok_or(what);
    let first = next("empty")?;
    let (mark, names) = match first {
        "@revoked" => (Mark::Revoked, next("no host names")?),
        "@cert-authority" => (Mark::CertAuthority, next("no host names")?),
        other if other.starts_with('@') => return Err("unknown marker"),
        names => (Mark::None, names),
    };
    let names = Names::parse(names)?;
    let (kind, encoded) = (next("no key type")?, next("no key")?);
    let key = HostKey::from_parts(kind, encoded).ok_or("the key is damaged")?;
    Ok(Entry {
        line,
        mark,
        names,
        key,
    })
}

impl Names {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(hashed) = text.strip_prefix("|1|") {
            let (salt, hash) = hashed.split_once('|').ok_or("damaged hashed name")?;
            let decode = |part| {
                STANDARD
                    .decode(part)
                    .ok()
                    .filter(|bytes| bytes.len() == 20)
                    .ok_or("damaged hashed name")
            };
            return Ok(Self::Hashed {
                salt: decode(salt)?,
                hash: decode(hash)?,
            });
        }
        if text.starts_with('|') {
            return Err("unknown kind of hashed name");
        }
        let pattern = |part: &str| {
            part.strip_prefix('!').map_or_else(
                || (false, part.to_lowercase()),
                |rest| (true, rest.to_lowercase()),
            )
        };
        Ok(Self::Patterns(
            text.split(',')
                .filter(|part| !part.is_empty())
                .map(pattern)
                .collect(),
        ))
    }

    fn cover(&self, name: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
                .is_ok_and(|mac| mac.chain_update(name.as_bytes()).verify_slice(hash).is_ok()),
            Self::Patterns(patterns) => {
                let mut found = false;
                for (negated, pattern) in patterns {
                    if glob(pattern.as_bytes(), name.as_bytes()) {
                        if *negated {
                            return false;
                        }
                        found = true;
                    }
                }
                found
            }
        }
    }
}

/// Matches `*` and `?`, in time linear in the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
    const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn hosts(text: &str) -> KnownHosts {
        KnownHosts::parse(text, Utf8Path::new("known_hosts")).unwrap()
    }

    fn key(encoded: &str) -> HostKey {
        HostKey::from_parts("ssh-ed25519", encoded).unwrap()
    }

    #[test]
    fn names_ports_and_wildcards_decide() {
        let file = hosts(&format!(
            "# c\n\n10.0.0.1,[b]:2222 ssh-ed25519 {KEY}\n*.x,!bad.x ssh-ed25519 {KEY} comment here\n"
        ));
        for (address, port, known) in [
            ("10.0.0.1", 22, true),
            ("10.0.0.1", 2222, false),
            ("B", 2222, true),
            ("b", 22, false),
            ("good.x", 22, true),
            ("bad.x", 22, false),
            ("x", 22, false),
        ] {
            assert_eq!(
                file.verify(address, port, &key(KEY)).is_ok(),
                known,
                "{address}:{port}"
            );
        }
    }

    #[test]
    fn a_changed_key_names_the_line_and_both_fingerprints() {
        let problem = hosts(&format!("# first\na ssh-ed25519 {KEY}\n"))
            .verify("a", 22, &key(OTHER))
            .unwrap_err();
        let HostKeyProblem::Changed {
            expected,
            fingerprint,
            place,
            ..
        } = problem
        else {
            panic!("{problem:?}")
        };
        assert_eq!(place, "known_hosts:2");
        assert_eq!(expected, format!("ssh-ed25519 {}", key(KEY).fingerprint()));
        assert_eq!(fingerprint, key(OTHER).fingerprint());
    }

    #[test]
    fn a_revoked_key_is_refused_wherever_it_also_stands() {
        let file = hosts(&format!(
            "a ssh-ed25519 {KEY}\n@revoked * ssh-ed25519 {KEY}\n"
        ));
        assert!(
            matches!(file.verify("a", 22, &key(KEY)), Err(HostKeyProblem::Revoked { place, .. }) if place == "known_hosts:2")
        );
        assert!(
            hosts(&format!(
                "a ssh-ed25519 {KEY}\n@revoked b ssh-ed25519 {KEY}\n"
            ))
            .verify("a", 22, &key(KEY))
            .is_ok()
        );
    }

    #[test]
    fn a_cert_authority_never_counts_and_is_reported() {
        let file = hosts(&format!("@cert-authority * ssh-ed25519 {KEY}\n"));
        assert!(file.kinds("a", 22).is_empty());
        assert!(
            matches!(file.verify("a", 22, &key(KEY)), Err(HostKeyProblem::Unknown { unsupported, .. }) if unsupported == [1])
        );
    }

    #[test]
    fn damaged_lines_do_not_count_and_damaged_marks_are_errors() {
        let file = hosts("a ssh-ed25519 AAAA\na\na 1024 35 12345\n|1|x|y ssh-ed25519 AAAA\n");
        assert!(file.entries.is_empty());
        for text in [
            "@revoked a ssh-ed25519 AAAA",
            "@revoked",
            "@revoke a b c",
            "ok\n@revoked |2|a ssh-rsa AAAA",
        ] {
            assert!(
                KnownHosts::parse(text, Utf8Path::new("k")).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_pattern_full_of_stars_is_not_slow() {
        let pattern = "*a".repeat(200);
        assert!(!glob(pattern.as_bytes(), "a".repeat(199).as_bytes()));
        assert!(glob(pattern.as_bytes(), "a".repeat(200).as_bytes()));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_panic(text in "[ -~\n]{0,200}", name in "[ -~]{0,20}") {
            if let Ok(file) = KnownHosts::parse(&text, Utf8Path::new("k")) {
                prop_assert!(file.verify(&name, 22, &key(KEY)).is_err());
            }
        }

        #[test]
        fn what_we_write_we_find_again(address in "[a-z0-9.-]{1,30}", port: u16) {
            let file = hosts(&line(&address, port, &key(KEY)));
            prop_assert!(file.verify(&address, port, &key(KEY)).is_ok());
            prop_assert!(file.verify(&address, port, &key(OTHER)).is_err());
            prop_assert!(file.verify(&address, port.wrapping_add(1), &key(KEY)).is_err());
        }
    }
}
