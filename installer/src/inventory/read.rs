//! From a tree whose shape is right to an [`Inventory`]: defaults, inheritance, and the rules that join several places.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use airgap_manifests::{
    SiteKind,
    strict::{Kind, Node},
};
use camino::Utf8PathBuf;
use serde_json::{Map, Value};

use super::{
    Account, Aws, Cluster, Dns, Inventory, IssuerCa, Licences, Network, Options, Registry, TextRef,
    Tls,
    extra::extra_registries,
    rules::{self, Rule},
    shape::{Checker, join},
};
use crate::{Access, Host, HostKey, Role, SecretRef, SshTarget, Sudo, Taint};

const CONNECT_SECONDS: u64 = 15;

/// Lays a host's tree over the defaults: mappings merge, everything else replaces, null drops.
pub(super) fn inherit(defaults: Option<&Node>, own: &Node) -> Node {
    let (Some(defaults), Kind::Map(entries)) = (defaults, &own.kind) else {
        return without_nulls(own);
    };
    let Kind::Map(inherited) = &defaults.kind else {
        return without_nulls(own);
    };
    let mut merged: Vec<(String, u64, Node)> = Vec::new();
    for (key, line, value) in inherited {
        match entries.iter().find(|(own, ..)| own == key) {
            // a secret names one place: two of them do not mix
            Some((_, line, value)) if is_secret(value) => {
                merged.push((key.clone(), *line, value.clone()));
            }
            Some((_, line, own)) => merged.push((key.clone(), *line, inherit(Some(value), own))),
            None => merged.push((key.clone(), *line, without_nulls(value))),
        }
    }
    let added = entries
        .iter()
        .filter(|(key, ..)| !inherited.iter().any(|(known, ..)| known == key));
    merged.extend(added.map(|(key, line, value)| (key.clone(), *line, without_nulls(value))));
    merged.retain(|(.., value)| value.kind != Kind::Scalar(Value::Null));
    Node {
        line: own.line,
        kind: Kind::Map(merged),
    }
}

fn without_nulls(node: &Node) -> Node {
    let Kind::Map(entries) = &node.kind else {
        return node.clone();
    };
    let kept = entries
        .iter()
        .filter(|(.., value)| value.kind != Kind::Scalar(Value::Null));
    Node {
        line: node.line,
        kind: Kind::Map(
            kept.map(|(key, line, value)| (key.clone(), *line, without_nulls(value)))
                .collect(),
        ),
    }
}

fn is_secret(node: &Node) -> bool {
    matches!(&node.kind, Kind::Map(entries) if matches!(entries.as_slice(), [(key, ..)] if matches!(key.as_str(), "env" | "file" | "prompt")))
}

/// Reads the tree; what does not fit together is noted, and the result then thrown away by the caller.
pub(super) fn inventory(checker: &mut Checker<'_>, root: &Node) -> Option<Inventory> {
    let site = text(root, "site")?.parse::<SiteKind>().ok()?;
    let cluster = root.get("cluster").map(cluster).unwrap_or_default();
    let hosts = hosts(checker, root);
    let registry = registry(root.get("registry")?)?;
    if registry.pull.as_ref() == Some(&registry.push) {
        let line = root.line_of(["registry", "pull"]);
        checker.note(
            line,
            "`registry.pull` is the account of `registry.push`",
            "nodes keep the pull account, so give them one that can only read",
        );
    }
    let dns = root.get("dns").and_then(dns);
    if let Some(dns) = dns.as_ref().filter(|dns| dns.provider == "rfc2136") {
        let missing = [
            (
                "server",
                dns.server.is_none(),
                "the server that takes updates",
            ),
            (
                "tsigKeyName",
                dns.tsig_key_name.is_none(),
                "the name of the key that signs updates: anybody could write to the zone otherwise",
            ),
            (
                "tsigSecret",
                dns.tsig_secret.is_none(),
                "the key that signs updates: anybody could write to the zone otherwise",
            ),
        ];
        for (key, _, what) in missing.into_iter().filter(|(_, missing, _)| *missing) {
            checker.note(
                root.line_of(["dns"]),
                format!("`dns.{key}` is missing"),
                format!("rfc2136 needs {what}"),
            );
        }
    }
    let aws = root.get("aws").and_then(aws);
    match (site, &aws) {
        (SiteKind::Aws, None) => checker.note(
            root.line_of(["site"]),
            "`aws` is missing",
            "a site on AWS needs clusterName and region",
        ),
        (SiteKind::Onprem, Some(_)) => checker.note(
            root.line_of(["aws"]),
            "`aws` is given, and `site` is onprem",
            "remove one of them",
        ),
        _ => {}
    }
    let extra_registries = extra_registries(checker, root, &registry.endpoint);
    Some(Inventory {
        path: checker.path.to_owned(),
        name: text(root.get("metadata")?, "name")?,
        site,
        domain: text(root, "domain"),
        cluster,
        network: root.get("network").map(network).unwrap_or_default(),
        tls: Tls {
            ca: root.find(["tls", "issuer", "ca"]).and_then(issuer_ca),
        },
        dns,
        aws,
        registry,
        extra_registries,
        hosts,
        licences: Licences {
            teleport: root.find(["licences", "teleport"]).and_then(secret),
        },
        values: free(root, "values"),
        options: options(root),
    })
}

fn cluster(node: &Node) -> Cluster {
    Cluster {
        endpoint: text(node, "endpoint"),
        tls_sans: texts(node, "tlsSans"),
        config: object(node, "config"),
        server_config: object(node, "serverConfig"),
        agent_config: object(node, "agentConfig"),
    }
}

fn network(node: &Node) -> Network {
    Network {
        api_vip: text(node, "apiVip").and_then(|ip| ip.parse().ok()),
        load_balancer_pools: texts(node, "loadBalancerPools"),
    }
}

fn issuer_ca(node: &Node) -> Option<IssuerCa> {
    Some(IssuerCa {
        cert_file: text(node, "certFile")?.into(),
        key: secret(node.get("key")?)?,
    })
}

fn dns(node: &Node) -> Option<Dns> {
    Some(Dns {
        provider: text(node, "provider")?,
        server: text(node, "server"),
        zone: text(node, "zone")?,
        tsig_key_name: text(node, "tsigKeyName"),
        tsig_algorithm: text(node, "tsigAlgorithm"),
        tsig_secret: node.get("tsigSecret").and_then(secret),
    })
}

fn aws(node: &Node) -> Option<Aws> {
    let endpoints = free(node, "endpoints")
        .into_iter()
        .filter_map(|(name, url)| Some((name, url.as_str()?.to_owned())));
    let buckets = free(node, "buckets")
        .into_iter()
        .filter_map(|(name, bucket)| Some((name, bucket.as_str()?.to_owned())));
    Some(Aws {
        cluster_name: text(node, "clusterName")?,
        region: text(node, "region")?,
        vpc_id: text(node, "vpcId"),
        endpoints: endpoints.collect(),
        kms_key_id: text(node, "kmsKeyId"),
        buckets: buckets.collect(),
    })
}

fn registry(node: &Node) -> Option<Registry> {
    Some(Registry {
        endpoint: text(node, "endpoint")?,
        addresses: texts(node, "addresses")
            .iter()
            .filter_map(|ip| ip.parse().ok())
            .collect(),
        project: text(node, "project")?,
        ca_file: text(node, "caFile").map(Utf8PathBuf::from),
        push: account(node.get("push")?)?,
        pull: node.get("pull").and_then(account),
    })
}

pub(super) fn account(node: &Node) -> Option<Account> {
    let name = node.get("username")?;
    let username = match &name.kind {
        Kind::Scalar(Value::String(text)) => TextRef::Plain(text.clone()),
        _ => TextRef::From(secret(name)?),
    };
    Some(Account {
        username,
        password: secret(node.get("password")?)?,
    })
}

fn options(root: &Node) -> Options {
    let number =
        |key| whole(root.get("options")?, key).and_then(|number| usize::try_from(number).ok());
    let standard = Options::default();
    Options {
        parallel_hosts: number("parallelHosts").unwrap_or(standard.parallel_hosts),
        parallel_uploads: number("parallelUploads").unwrap_or(standard.parallel_uploads),
    }
}

/// Reads the hosts, and checks what no host can know alone.
fn hosts(checker: &mut Checker<'_>, root: &Node) -> Vec<Host> {
    let Some(Node {
        kind: Kind::List(items),
        line: list_line,
    }) = root.get("hosts")
    else {
        return Vec::new();
    };
    let mut hosts: Vec<Host> = Vec::new();
    let mut seen: BTreeMap<(&str, String), (String, u64)> = BTreeMap::new();
    for item in items {
        let merged = inherit(root.get("defaults"), item);
        let Some(host) = host(checker, &merged) else {
            continue;
        };
        let mut once = |kind: &'static str, value: String| {
            let holder = (host.name.clone(), host.line);
            if let Some((other, line)) = seen.insert((kind, value.clone()), holder) {
                let message = if kind == "name" {
                    format!("two hosts are named `{value}`")
                } else {
                    format!(
                        "hosts `{other}` and `{}` have the same {kind} {value}",
                        host.name
                    )
                };
                checker.note(host.line, message, format!("the other is on line {line}"));
            }
        };
        once("name", host.name.clone());
        match &host.access {
            Access::Ssh(ssh) => once(
                "address",
                if ssh.port == 22 {
                    ssh.address.to_lowercase()
                } else {
                    format!("{}:{}", ssh.address.to_lowercase(), ssh.port)
                },
            ),
            Access::Local => once("connection", "`local: true`".to_owned()),
        }
        if let Some(ip) = host.node_ip {
            once("nodeIp", ip.to_string());
        }
        hosts.push(host);
    }
    let servers = hosts
        .iter()
        .filter(|host| host.role == Role::Server)
        .count();
    if hosts.len() == items.len() {
        if servers == 0 {
            checker.note(
                *list_line,
                "no host has `role: server`",
                "a cluster needs one, three or five servers",
            );
        } else if servers % 2 == 0 {
            let why = "etcd needs a majority: an even number of servers survives no more failures than one server fewer";
            checker.note(
                *list_line,
                format!("{servers} hosts have `role: server`, an even number"),
                format!("{why}; use {} or {}", servers - 1, servers + 1),
            );
        }
        if hosts.len() > 1
            && hosts
                .iter()
                .any(|host| matches!(host.access, Access::Local) && host.node_ip.is_none())
        {
            checker.note(
                *list_line,
                "a local host among others needs `nodeIp`",
                "the other nodes must know where to find it",
            );
        }
    }
    hosts
}

fn host(checker: &mut Checker<'_>, node: &Node) -> Option<Host> {
    let name = text(node, "name")?;
    let role = match text(node, "role")?.as_str() {
        "server" => Role::Server,
        "agent" => Role::Agent,
        _ => return None,
    };
    let local = node.get("local").is_some();
    let address = node.get("ssh").and_then(|ssh| text(ssh, "address"));
    let access = match (local, address) {
        (true, Some(_)) => {
            checker.note(
                node.line,
                format!("host `{name}` has both `local: true` and `ssh.address`"),
                "remove one of them",
            );
            return None;
        }
        (true, None) => Access::Local,
        (false, Some(_)) => Access::Ssh(Box::new(target(node.get("ssh")?, None)?)),
        (false, None) => {
            checker.note(
                node.line,
                format!("host `{name}` has no `ssh.address`"),
                "give it one, or `local: true` for this machine",
            );
            return None;
        }
    };
    let sudo = node.get("sudo").map(|sudo| Sudo {
        password: sudo.get("password").and_then(secret),
    });
    if let Access::Ssh(ssh) = &access
        && ssh.user != "root"
        && sudo.is_none()
    {
        let remedy =
            "add `sudo: {password: {prompt: true}}`, or `sudo: {}` where sudo asks for nothing";
        checker.note(
            node.line,
            format!("host `{name}` logs in as {} and has no `sudo`", ssh.user),
            remedy,
        );
    }
    if let Some(Kind::Map(labels)) = node.get("labels").map(|labels| &labels.kind) {
        for (key, line, _) in labels.iter().filter(|(key, ..)| !rules::label_key(key)) {
            checker.note(
                *line,
                format!("`{key}` is not a label's key"),
                Rule::LabelValue.about(),
            );
        }
    }
    Some(Host {
        name,
        role,
        access,
        sudo,
        node_ip: text(node, "nodeIp").and_then(|ip| ip.parse::<IpAddr>().ok()),
        labels: free(node, "labels")
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())))
            .collect(),
        taints: texts(node, "taints").into_iter().map(Taint).collect(),
        config: object(node, "config"),
        line: node.line,
    })
}

/// Reads a way to log in. A bastion takes user, key and known_hosts from the host behind it, unless it has its own.
fn target(node: &Node, behind: Option<&SshTarget>) -> Option<SshTarget> {
    let own_key = node.get("keyPath").is_some() || behind.is_none();
    let mut target = SshTarget {
        address: text(node, "address")?,
        port: whole(node, "port")
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(22),
        user: text(node, "user")
            .or_else(|| Some(behind?.user.clone()))
            .unwrap_or_else(|| "root".to_owned()),
        key_path: text(node, "keyPath")
            .map(Utf8PathBuf::from)
            .or_else(|| behind?.key_path.clone()),
        key_passphrase: node
            .get("keyPassphrase")
            .and_then(secret)
            .or_else(|| behind.filter(|_| !own_key)?.key_passphrase.clone()),
        password: node.get("password").and_then(secret),
        known_hosts: text(node, "knownHosts")
            .map(Utf8PathBuf::from)
            .or_else(|| behind?.known_hosts.clone()),
        host_key: text(node, "hostKey").and_then(|key| HostKey::parse(&key)),
        connect_timeout: Duration::from_secs(
            whole(node, "connectTimeout").unwrap_or(CONNECT_SECONDS),
        ),
        bastion: None,
    };
    target.bastion = match node.get("bastion") {
        Some(bastion) => Some(Box::new(self::target(bastion, Some(&target))?)),
        None => None,
    };
    Some(target)
}

fn text(node: &Node, key: &str) -> Option<String> {
    match &node.get(key)?.kind {
        Kind::Scalar(Value::String(text)) => Some(text.clone()),
        _ => None,
    }
}

pub(super) fn texts(node: &Node, key: &str) -> Vec<String> {
    let Some(Kind::List(items)) = node.get(key).map(|node| &node.kind) else {
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| Some(item.to_value().as_str()?.to_owned()))
        .collect()
}

fn whole(node: &Node, key: &str) -> Option<u64> {
    node.get(key)?.to_value().as_u64()
}

pub(super) fn object(node: &Node, key: &str) -> Map<String, Value> {
    match node.get(key).map(|node| without_nulls(node).to_value()) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn free(node: &Node, key: &str) -> BTreeMap<String, Value> {
    match node.get(key).map(Node::to_value) {
        Some(Value::Object(map)) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

fn secret(node: &Node) -> Option<SecretRef> {
    if let Some(name) = text(node, "env") {
        return Some(SecretRef::Env(name));
    }
    if let Some(path) = text(node, "file") {
        return Some(SecretRef::File(path.into()));
    }
    node.get("prompt").map(|_| SecretRef::Prompt)
}

/// Checks that defaults name no address: every host would have it.
pub(super) fn check_defaults(checker: &mut Checker<'_>, root: &Node) {
    for key in ["address", "hostKey"] {
        if root.find(["defaults", "ssh", key]).is_some() {
            let place = join("defaults.ssh", key);
            checker.note(
                root.line_of(["defaults", "ssh", key]),
                format!("`{place}` would hold for every host"),
                "give it to the hosts",
            );
        }
    }
}
