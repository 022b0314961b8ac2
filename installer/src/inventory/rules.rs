//! What the texts of hosts.yaml must look like: one parser for each kind.

use std::net::IpAddr;

use crate::HostKey;

/// A kind of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// One word without blanks.
    Word,
    /// A file's path.
    Path,
    /// An environment variable's name.
    EnvName,
    /// A cluster's name: an RFC 1123 label.
    ClusterName,
    /// A node's name: an RFC 1123 subdomain.
    NodeName,
    /// A DNS domain of two labels or more.
    Domain,
    /// A DNS name or an address.
    Host,
    /// A DNS name or an address, with or without a port.
    HostPort,
    /// An IP address.
    Ip,
    /// A range or network of addresses.
    Pool,
    /// An http or https URL.
    Url,
    /// A registry project.
    Project,
    /// An SSH host key.
    HostKey,
    /// A node label's value.
    LabelValue,
    /// A node taint.
    Taint,
}

impl Rule {
    /// Says what such a text is.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Word => "a word without blanks",
            Self::Path => "a path",
            Self::EnvName => "the name of an environment variable",
            Self::ClusterName => {
                "lower-case letters, digits and `-`, at most 40, beginning with a letter and not ending with `-`"
            }
            Self::NodeName => {
                "lower-case letters, digits, `-` and `.`, at most 253, each part at most 63"
            }
            Self::Domain => "a DNS domain such as platform.corp.example",
            Self::Host => "a DNS name or an IP address",
            Self::HostPort => {
                "a DNS name or an IP address, with :port where it is not 443 (no scheme, no path)"
            }
            Self::Ip => "an IP address",
            Self::Pool => "a range (10.0.0.200-10.0.0.220) or a network (10.0.1.0/28)",
            Self::Url => "a URL that begins with http:// or https://, without a password",
            Self::Project => "lower-case letters, digits, `.`, `_` and `-`",
            Self::HostKey => {
                "a host key such as `ssh-ed25519 AAAA…` (see `airgap inventory scan-keys`)"
            }
            Self::LabelValue => "at most 63 letters, digits, `.`, `_` and `-`, or empty",
            Self::Taint => "a taint: key=value:NoSchedule, :PreferNoSchedule or :NoExecute",
        }
    }

    /// Accepts a text, or says what it should be.
    pub(super) fn check(self, text: &str) -> Result<(), String> {
        let fits = match self {
            Self::Word => {
                !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control())
            }
            Self::Path => !text.is_empty() && !text.chars().any(char::is_control),
            Self::EnvName => {
                !text.starts_with(|c: char| c.is_ascii_digit())
                    && !text.is_empty()
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            }
            Self::ClusterName => {
                dns_label(text)
                    && text.len() <= 40
                    && text.starts_with(|c: char| c.is_ascii_lowercase())
            }
            Self::NodeName => text.len() <= 253 && text.split('.').all(dns_label),
            Self::Domain => dns_name(text) && text.contains('.') && text.parse::<IpAddr>().is_err(),
            Self::Host => host(text),
            Self::HostPort => split_port(text).is_some(),
            Self::Ip => text.parse::<IpAddr>().is_ok(),
            Self::Pool => pool(text),
            Self::Url => url::Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.password().is_none()
            }),
            Self::Project => {
                let inner =
                    |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
                let outer = |b: Option<&u8>| {
                    b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                };
                text.len() <= 255
                    && text.bytes().all(inner)
                    && outer(text.as_bytes().first())
                    && outer(text.as_bytes().last())
            }
            Self::HostKey => HostKey::parse(text).is_some(),
            Self::LabelValue => text.is_empty() || label_word(text),
            Self::Taint => taint(text),
        };
        if fits {
            Ok(())
        } else {
            Err(format!("not {}", self.about()))
        }
    }
}

/// Accepts a label's or taint's key: an optional DNS prefix, `/`, and a word.
pub(super) fn label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, word)) => dns_name(prefix) && prefix.len() <= 253 && label_word(word),
        None => label_word(text),
    }
}

/// Splits a registry's endpoint into its host and its port, if it has one.
pub(super) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        return match port {
            "" => Some((address, None)),
            port => Some((address, Some(parse_port(port.strip_prefix(':')?)?))),
        };
    }
    match text.rsplit_once(':') {
        Some((name, port)) if host(name) && !name.contains(':') => {
            Some((name, Some(parse_port(port)?)))
        }
        None if host(text) => Some((text, None)),
        _ => None,
    }
}

fn parse_port(text: &str) -> Option<u16> {
    text.parse()
        .ok()
        .filter(|port| *port != 0 && !text.starts_with('+'))
}

fn host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || (dns_name(text) && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

fn dns_name(text: &str) -> bool {
    text.len() <= 253
        && text
            .split('.')
            .all(|label| dns_label(&label.to_ascii_lowercase()))
}

fn dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn label_word(text: &str) -> bool {
    let outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    text.len() <= 63
        && outer(text.as_bytes().first())
        && outer(text.as_bytes().last())
        && text.bytes().all(inner)
}

fn taint(text: &str) -> bool {
    let Some((left, effect)) = text.rsplit_once(':') else {
        return false;
    };
    let (key, value) = left.split_once('=').unwrap_or((left, ""));
    label_key(key)
        && (value.is_empty() || label_word(value))
        && matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute")
}

fn pool(text: &str) -> bool {
    if let Some((from, to)) = text.split_once('-') {
        return match (from.parse::<IpAddr>(), to.parse::<IpAddr>()) {
            (Ok(from), Ok(to)) => from.is_ipv4() == to.is_ipv4() && from <= to,
            _ => false,
        };
    }
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_rule_knows_right_from_wrong() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS";
        for (rule, right, wrong) in [
            (Rule::Word, vec!["ops", "robot$x"], vec!["", "a b"]),
            (Rule::EnvName, vec!["A_1"], vec!["", "1A", "A-B"]),
            (
                Rule::ClusterName,
                vec!["prod-seoul"],
                vec!["", "Prod", "1a", "a.b", "a-"],
            ),
            (
                Rule::NodeName,
                vec!["cp1", "cp1.corp.example", "1"],
                vec!["", "cp_1", "Cp1", ".a", "a..b", "-a"],
            ),
            (Rule::Domain, vec!["a.b"], vec!["a", "10.0.0.1", "a..b"]),
            (
                Rule::Host,
                vec!["a", "a.b", "10.0.0.1", "fd00::1"],
                vec!["", "10.0.0", "a b", "a/b", "https://a"],
            ),
            (
                Rule::HostPort,
                vec!["h", "h:5000", "10.0.0.1:5000", "[fd00::1]:5000"],
                vec!["h:", "h:0", "h:99999", "https://h", "h/p", "fd00::1"],
            ),
            (Rule::Ip, vec!["10.0.0.1", "::1"], vec!["10.0.0", "a"]),
            (
                Rule::Pool,
                vec!["10.0.0.1-10.0.0.9", "10.0.0.0/24"],
                vec![
                    "10.0.0.9-10.0.0.1",
                    "10.0.0.0/33",
                    "10.0.0.0",
                    "::1-10.0.0.1",
                ],
            ),
            (
                Rule::Url,
                vec!["https://x"],
                vec!["x", "ftp://x", "https://u:p@x"],
            ),
            (
                Rule::Project,
                vec!["airgap", "a.b-c_d"],
                vec!["", "Airgap", "a/b", "-a"],
            ),
            (
                Rule::HostKey,
                vec![key],
                vec![
                    "ssh-ed25519",
                    "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIGPK",
                    "SHA256:abc",
                ],
            ),
            (Rule::LabelValue, vec!["", "b", "a.b"], vec!["a b", "-a"]),
            (
                Rule::Taint,
                vec!["gpu=true:NoSchedule", "x/y:NoExecute"],
                vec!["gpu", "gpu=true", "gpu:never", "=a:NoExecute"],
            ),
        ] {
            for text in right {
                assert_eq!(rule.check(text), Ok(()), "{rule:?} {text}");
            }
            for text in wrong {
                assert!(rule.check(text).is_err(), "{rule:?} {text}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_rule_panic(text in "\\PC{0,40}") {
            for rule in [Rule::Host, Rule::HostPort, Rule::Pool, Rule::HostKey, Rule::Taint, Rule::Domain, Rule::Url] {
                let _ = rule.check(&text);
            }
        }
    }
}
