//! The command line of the stand-in kubectl.

use std::collections::BTreeMap;

use crate::rke2::fail::{Context as _, Fail, Result};

/// Flags that take a value, with their short forms.
const VALUES: &[(&str, &str)] = &[
    ("kubeconfig", ""),
    ("namespace", "n"),
    ("output", "o"),
    ("filename", "f"),
    ("selector", "l"),
    ("field-manager", ""),
    ("raw", ""),
    ("for", ""),
    ("timeout", ""),
    ("patch", "p"),
    ("patch-file", ""),
    ("type", ""),
    ("server", "s"),
    ("request-timeout", ""),
    ("dry-run", ""),
    ("validate", ""),
    ("tail", ""),
    ("subresource", ""),
    ("context", ""),
    ("cascade", ""),
    ("sort-by", ""),
    ("chunk-size", ""),
    ("grace-period", ""),
    ("field-selector", ""),
    ("ignore-not-found", ""),
    ("wait", ""),
];

/// Flags that stand alone.
const SWITCHES: &[(&str, &str)] = &[
    ("all-namespaces", "A"),
    ("server-side", ""),
    ("force-conflicts", ""),
    ("no-headers", ""),
    ("overwrite", ""),
    ("client", ""),
    ("now", ""),
    ("ignore-daemonsets", ""),
    ("delete-emptydir-data", ""),
    ("force", ""),
    ("show-labels", ""),
    ("all", ""),
    ("insecure-skip-tls-verify", ""),
];

/// Flags of [`VALUES`] that may stand alone, and then mean `true`.
const OPTIONAL: &[&str] = &["dry-run", "ignore-not-found", "wait", "validate"];

/// A parsed command line.
#[derive(Debug, Default)]
pub(super) struct Args {
    pub(super) words: Vec<String>,
    /// What stands after `--`: the command for a pod.
    pub(super) inner: Vec<String>,
    flags: BTreeMap<String, Vec<String>>,
}

impl Args {
    pub(super) fn parse(words: &[String]) -> Result<Self> {
        let mut args = Self::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let (name, inline) = match word.strip_prefix("--") {
                Some("") => {
                    args.inner = rest.cloned().collect();
                    break;
                }
                Some(long) => long
                    .split_once('=')
                    .map_or((long, None), |(name, value)| (name, Some(value.to_owned()))),
                None => match word.strip_prefix('-') {
                    Some("") | None => {
                        args.words.push(word.clone());
                        continue;
                    }
                    Some(short) => {
                        let value = short.get(1..).filter(|value| !value.is_empty());
                        (
                            &short[..1],
                            value.map(|value| value.trim_start_matches('=').to_owned()),
                        )
                    }
                },
            };
            let long = |table: &[(&'static str, &'static str)]| {
                table
                    .iter()
                    .find(|(long, short)| *long == name || (!short.is_empty() && *short == name))
                    .map(|(long, _)| *long)
            };
            if let Some(name) = long(SWITCHES) {
                if inline.as_deref() != Some("false") {
                    args.flags
                        .entry(name.to_owned())
                        .or_default()
                        .push("true".into());
                }
            } else if let Some(name) = long(VALUES) {
                let value = match inline {
                    Some(value) => value,
                    None if OPTIONAL.contains(&name) => "true".into(),
                    None => rest
                        .next()
                        .context(format!("error: flag needs an argument: --{name}"))?
                        .clone(),
                };
                if !(OPTIONAL.contains(&name) && ["false", "none"].contains(&value.as_str())) {
                    args.flags.entry(name.to_owned()).or_default().push(value);
                }
            } else {
                return Err(Fail::new(format!(
                    "error: unknown flag: {word} (airgap stand-in kubectl)"
                )));
            }
        }
        Ok(args)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.flags.contains_key(name)
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last().map(String::as_str)
    }

    pub(super) fn values(&self, name: &str) -> &[String] {
        self.flags.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}
