//! `extraRegistries`: registries that are not the bundle's, as containerd's registries.yaml has them.
//!
//! Invariant: no entry here is for everything, or for the site's registry, whose entries airgap writes. Passwords are references.

use std::collections::BTreeMap;

use airgap_manifests::strict::{Kind, Node};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Account,
    read::{account, object, texts},
    rules::Rule,
    shape::{Checker, join},
};

/// Registries of the customer's own, which the nodes pull from beside the site's.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ExtraRegistries {
    /// Where images of a registry are, by the registry's name: `endpoint` and `rewrite`.
    pub mirrors: Map<String, Value>,
    /// How to speak with a host, by its name.
    pub configs: BTreeMap<String, RegistryConfig>,
}

/// How nodes speak with one registry host.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RegistryConfig {
    /// The account; anonymous without one.
    pub auth: Option<Account>,
    /// `ca_file`, `cert_file`, `key_file`, `insecure_skip_verify`; the files are the nodes' own.
    pub tls: Map<String, Value>,
}

/// Reads the entries, and notes those whose names cannot stand there; `site` is the site registry's endpoint.
pub(super) fn extra_registries(
    checker: &mut Checker<'_>,
    root: &Node,
    site: &str,
) -> ExtraRegistries {
    let mut extra = ExtraRegistries::default();
    for (name, node) in named(checker, root, "mirrors", site) {
        extra.mirrors.insert(name.to_owned(), mirror(node).into());
    }
    for (name, node) in named(checker, root, "configs", site) {
        let config = RegistryConfig {
            auth: node.get("auth").and_then(account),
            tls: object(node, "tls"),
        };
        extra.configs.insert(name.to_owned(), config);
    }
    extra
}

fn mirror(node: &Node) -> Map<String, Value> {
    let (endpoint, rewrite) = (texts(node, "endpoint"), object(node, "rewrite"));
    let mut mirror = Map::new();
    if !endpoint.is_empty() {
        mirror.insert("endpoint".to_owned(), endpoint.into());
    }
    if !rewrite.is_empty() {
        mirror.insert("rewrite".to_owned(), rewrite.into());
    }
    mirror
}

/// Returns the entries of one part, having checked their names.
fn named<'n>(
    checker: &mut Checker<'_>,
    root: &'n Node,
    part: &str,
    site: &str,
) -> Vec<(&'n str, &'n Node)> {
    let Some(Kind::Map(entries)) = root.find(["extraRegistries", part]).map(|node| &node.kind)
    else {
        return Vec::new();
    };
    for (name, line, _) in entries {
        let place = join(&join("extraRegistries", part), name);
        if name == "*" {
            checker.note(
                *line,
                format!(
                    "`{place}` is not allowed: a wildcard would capture the bundle's own images"
                ),
                "name each registry",
            );
        } else if let Err(reason) = Rule::HostPort.check(name) {
            checker.note(*line, format!("`{place}` is named `{name}`, {reason}"), "");
        } else if bare(name).eq_ignore_ascii_case(bare(site)) {
            checker.note(
                *line,
                format!("`{place}` is not allowed: airgap writes the site registry's entry itself"),
                "remove it; `registry.caFile` and `registry.pull` say how nodes reach it",
            );
        }
    }
    entries
        .iter()
        .map(|(name, _, node)| (name.as_str(), node))
        .collect()
}

/// 443 is the port of a registry without one.
fn bare(endpoint: &str) -> &str {
    endpoint.strip_suffix(":443").unwrap_or(endpoint)
}
