//! The shape of hosts.yaml, said once: the check of a file and the JSON schema for editors both come from here.

use airgap_manifests::{
    Problem,
    strict::{Kind, Node},
    suggest,
};
use camino::Utf8Path;
use serde_json::{Map, Value, json};

use super::{owned, rules::Rule};

/// What may stand in one place of the file.
#[derive(Debug)]
pub(super) enum Shape {
    /// A text that a rule accepts.
    Text(Rule),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number within these bounds.
    Whole(u64, u64),
    /// `true`, and nothing else.
    True,
    /// Any number of these.
    List(&'static Shape),
    /// These keys.
    Map(&'static [Field]),
    /// Keys of the writer's choice, each with such a value.
    Free(&'static Shape),
    /// Anything.
    Any,
    /// RKE2's own keys, but those that are ours.
    Rke2,
    /// A secret, by reference.
    Secret,
    /// A text, or a reference.
    TextOrSecret,
}

/// One key of a mapping.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
    pub(super) about: &'static str,
}

const fn may(key: &'static str, shape: Shape, about: &'static str) -> Field {
    Field {
        key,
        shape,
        required: false,
        about,
    }
}

const fn must(key: &'static str, shape: Shape, about: &'static str) -> Field {
    Field {
        key,
        shape,
        required: true,
        about,
    }
}

const BASTION: &[Field] = &[
    must(
        "address",
        Shape::Text(Rule::Host),
        "Name or address of the bastion.",
    ),
    may("port", Shape::Whole(1, 65535), "SSH port, 22 when absent."),
    may(
        "user",
        Shape::Text(Rule::Word),
        "Login name; the host's when absent.",
    ),
    may(
        "keyPath",
        Shape::Text(Rule::Path),
        "Private key; the host's when absent.",
    ),
    may("keyPassphrase", Shape::Secret, "The key's passphrase."),
    may(
        "password",
        Shape::Secret,
        "The login password, where the site does not use keys.",
    ),
    may(
        "knownHosts",
        Shape::Text(Rule::Path),
        "known_hosts file; the host's when absent.",
    ),
    may(
        "hostKey",
        Shape::Text(Rule::HostKey),
        "The bastion's key, pinned: type and base64.",
    ),
    may(
        "connectTimeout",
        Shape::Whole(1, 600),
        "Seconds; 15 when absent.",
    ),
];

const SSH: &[Field] = &[
    may("address", Shape::Text(Rule::Host), "Name or address."),
    may("port", Shape::Whole(1, 65535), "SSH port, 22 when absent."),
    may(
        "user",
        Shape::Text(Rule::Word),
        "Login name, root when absent.",
    ),
    may(
        "keyPath",
        Shape::Text(Rule::Path),
        "Private key; the SSH agent's keys when absent.",
    ),
    may("keyPassphrase", Shape::Secret, "The key's passphrase."),
    may(
        "password",
        Shape::Secret,
        "The login password, where the site does not use keys.",
    ),
    may(
        "knownHosts",
        Shape::Text(Rule::Path),
        "known_hosts file, ~/.ssh/known_hosts when absent.",
    ),
    may(
        "hostKey",
        Shape::Text(Rule::HostKey),
        "The host's key, pinned: type and base64; beats knownHosts.",
    ),
    may(
        "connectTimeout",
        Shape::Whole(1, 600),
        "Seconds; 15 when absent.",
    ),
    may("bastion", Shape::Map(BASTION), "The host to pass through."),
];

const SUDO: &[Field] = &[may(
    "password",
    Shape::Secret,
    "The password sudo asks for; none when absent.",
)];

/// What hosts may inherit.
const DEFAULTS: &[Field] = &[
    may("ssh", Shape::Map(SSH), "How to log in."),
    may(
        "sudo",
        Shape::Map(SUDO),
        "How a login that is not root becomes root; `{}` where sudo asks for nothing.",
    ),
    may(
        "labels",
        Shape::Free(&Shape::Text(Rule::LabelValue)),
        "Node labels.",
    ),
    may(
        "taints",
        Shape::List(&Shape::Text(Rule::Taint)),
        "Node taints, key=value:Effect.",
    ),
    may("config", Shape::Rke2, "Raw RKE2 keys."),
];

const HOST: &[Field] = &[
    must(
        "name",
        Shape::Text(Rule::NodeName),
        "The node's name, unique.",
    ),
    must(
        "role",
        Shape::Word(&["server", "agent"]),
        "What the host becomes.",
    ),
    may("local", Shape::True, "This machine, without SSH."),
    may("ssh", Shape::Map(SSH), "How to log in."),
    may(
        "sudo",
        Shape::Map(SUDO),
        "How a login that is not root becomes root; `{}` where sudo asks for nothing.",
    ),
    may(
        "nodeIp",
        Shape::Text(Rule::Ip),
        "The node's address in the cluster, where it is not the one of SSH.",
    ),
    may(
        "labels",
        Shape::Free(&Shape::Text(Rule::LabelValue)),
        "Node labels.",
    ),
    may(
        "taints",
        Shape::List(&Shape::Text(Rule::Taint)),
        "Node taints, key=value:Effect.",
    ),
    may("config", Shape::Rke2, "Raw RKE2 keys for this host."),
];

const ACCOUNT: &[Field] = &[
    must("username", Shape::TextOrSecret, "The user name."),
    must("password", Shape::Secret, "The password."),
];

/// The whole file.
pub(super) const INVENTORY: Shape = Shape::Map(&[
    must(
        "apiVersion",
        Shape::Word(&["airgap/v1"]),
        "The version of this form.",
    ),
    must("kind", Shape::Word(&["Inventory"]), "What the file is."),
    must(
        "metadata",
        Shape::Map(&[must(
            "name",
            Shape::Text(Rule::ClusterName),
            "The cluster's name.",
        )]),
        "Names the cluster.",
    ),
    must("site", Shape::Word(&["onprem", "aws"]), "The kind of site."),
    may(
        "domain",
        Shape::Text(Rule::Domain),
        "The DNS domain under which the platform's services appear.",
    ),
    may(
        "cluster",
        Shape::Map(&[
            may(
                "endpoint",
                Shape::Text(Rule::Host),
                "Fixed registration address; the first server's when absent.",
            ),
            may(
                "tlsSans",
                Shape::List(&Shape::Text(Rule::Host)),
                "Further names and addresses for the API's certificate.",
            ),
            may("config", Shape::Rke2, "Raw RKE2 keys for all nodes."),
            may("serverConfig", Shape::Rke2, "Raw RKE2 keys for servers."),
            may("agentConfig", Shape::Rke2, "Raw RKE2 keys for agents."),
        ]),
        "What concerns all nodes.",
    ),
    may(
        "network",
        Shape::Map(&[
            may(
                "apiVip",
                Shape::Text(Rule::Ip),
                "A virtual address for the API, moved between servers.",
            ),
            may(
                "loadBalancerPools",
                Shape::List(&Shape::Text(Rule::Pool)),
                "Ranges (a-b) or networks (a/n) for load balancers.",
            ),
        ]),
        "Addresses that are the cluster's to use.",
    ),
    may(
        "tls",
        Shape::Map(&[must(
            "issuer",
            Shape::Map(&[must(
                "ca",
                Shape::Map(&[
                    must(
                        "certFile",
                        Shape::Text(Rule::Path),
                        "The CA's certificate, PEM.",
                    ),
                    must("key", Shape::Secret, "The CA's private key."),
                ]),
                "A CA whose key the cluster may hold.",
            )]),
            "Who issues the platform's certificates; a CA is made on site when absent.",
        )]),
        "The platform's certificates.",
    ),
    may(
        "dns",
        Shape::Map(&[
            must(
                "provider",
                Shape::Word(&["rfc2136", "route53"]),
                "How names are published.",
            ),
            may(
                "server",
                Shape::Text(Rule::Host),
                "The server that takes updates; needed by rfc2136.",
            ),
            must("zone", Shape::Text(Rule::Domain), "The zone."),
            may(
                "tsigKeyName",
                Shape::Text(Rule::Word),
                "The TSIG key's name.",
            ),
            may(
                "tsigAlgorithm",
                Shape::Word(&["hmac-sha256", "hmac-sha512"]),
                "The TSIG key's algorithm, hmac-sha256 when absent.",
            ),
            may("tsigSecret", Shape::Secret, "The TSIG key."),
        ]),
        "A DNS server that the platform may update.",
    ),
    may(
        "aws",
        Shape::Map(&[
            must(
                "clusterName",
                Shape::Text(Rule::Word),
                "The name in the tags kubernetes.io/cluster/<name>, letter by letter.",
            ),
            must("region", Shape::Text(Rule::Word), "The region."),
            may("vpcId", Shape::Text(Rule::Word), "The VPC."),
            may(
                "endpoints",
                Shape::Free(&Shape::Text(Rule::Url)),
                "Private endpoints, by service.",
            ),
            may(
                "kmsKeyId",
                Shape::Text(Rule::Word),
                "The KMS key that unseals OpenBao.",
            ),
        ]),
        "The account's side of an AWS site.",
    ),
    must(
        "registry",
        Shape::Map(&[
            must(
                "endpoint",
                Shape::Text(Rule::HostPort),
                "The registry's name, with :port where it is not 443.",
            ),
            may(
                "addresses",
                Shape::List(&Shape::Text(Rule::Ip)),
                "Its addresses, where no DNS knows the name.",
            ),
            must(
                "project",
                Shape::Text(Rule::Project),
                "The project that receives everything.",
            ),
            may(
                "caFile",
                Shape::Text(Rule::Path),
                "The CA of its certificate, PEM; the system's store when absent.",
            ),
            must(
                "push",
                Shape::Map(ACCOUNT),
                "The account that may write; it never reaches a node.",
            ),
            may(
                "pull",
                Shape::Map(ACCOUNT),
                "The account that nodes read with; anonymous when absent.",
            ),
        ]),
        "The site's registry.",
    ),
    may(
        "extraRegistries",
        Shape::Free(&Shape::Any),
        "registries.yaml entries of your own, by host.",
    ),
    may(
        "defaults",
        Shape::Map(DEFAULTS),
        "Inherited by every host; the host wins, null drops.",
    ),
    must("hosts", Shape::List(&Shape::Map(HOST)), "The machines."),
    may(
        "values",
        Shape::Free(&Shape::Any),
        "Site values per component, merged last.",
    ),
    may(
        "options",
        Shape::Map(&[
            may(
                "parallelHosts",
                Shape::Whole(1, 100),
                "Hosts worked on at a time, 10 when absent.",
            ),
            may(
                "parallelUploads",
                Shape::Whole(1, 64),
                "Uploads to the registry at a time, 4 when absent.",
            ),
        ]),
        "How much happens at once.",
    ),
]);

/// Checks a tree against its shape, and notes every problem.
pub(super) struct Checker<'a> {
    pub(super) path: &'a Utf8Path,
    pub(super) problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Notes a problem.
    pub(super) fn note(
        &mut self,
        line: u64,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (problem, remedy) = (Problem::new(self.path, message).at(line), remedy.into());
        self.problems.push(if remedy.is_empty() {
            problem
        } else {
            problem.remedy(remedy)
        });
    }

    /// Checks one place; `place` is its path in the file's own words. With `drops`, null takes the place of anything.
    pub(super) fn check(&mut self, node: &Node, shape: &Shape, place: &str, drops: bool) {
        if drops && node.kind == Kind::Scalar(Value::Null) {
            return;
        }
        match (shape, &node.kind) {
            (Shape::Any, _) => {}
            (Shape::Text(rule), Kind::Scalar(Value::String(text))) => {
                if let Err(reason) = rule.check(text) {
                    self.note(node.line, format!("`{place}` is `{text}`, {reason}"), "");
                }
            }
            // labels are texts, and yet people write numbers there
            (Shape::Text(Rule::LabelValue), Kind::Scalar(Value::Number(_) | Value::Bool(_))) => {
                self.note(
                    node.line,
                    format!("`{place}` must be a text"),
                    "put it in quotes",
                );
            }
            (Shape::Word(words), Kind::Scalar(Value::String(word)))
                if words.contains(&word.as_str()) => {}
            (Shape::Word(words), Kind::Scalar(Value::String(word))) => {
                self.note(
                    node.line,
                    format!("`{place}` is `{word}`"),
                    suggest(word, words.iter().copied()),
                );
            }
            (Shape::Whole(least, most), Kind::Scalar(Value::Number(number))) => {
                if !number
                    .as_u64()
                    .is_some_and(|number| (*least..=*most).contains(&number))
                {
                    self.note(
                        node.line,
                        format!("`{place}` is {number}, not between {least} and {most}"),
                        "",
                    );
                }
            }
            (Shape::True, Kind::Scalar(Value::Bool(true))) => {}
            (Shape::List(inner), Kind::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.check(item, inner, &format!("{place}[{index}]"), drops);
                }
            }
            (Shape::Free(inner), Kind::Map(entries)) => {
                for (key, _, value) in entries {
                    self.check(value, inner, &join(place, key), drops);
                }
            }
            (Shape::Map(fields), Kind::Map(entries)) => {
                self.map(node.line, entries, fields, place, drops);
            }
            (Shape::Rke2, Kind::Map(entries)) => owned::check(self, entries, place, drops),
            (Shape::Secret, _) => self.secret(node, place),
            (Shape::TextOrSecret, Kind::Scalar(Value::String(text))) if !text.is_empty() => {}
            (Shape::TextOrSecret, Kind::Map(_)) => self.secret(node, place),
            _ => self.note(node.line, format!("`{place}` must be {}", shape.noun()), ""),
        }
    }

    fn map(
        &mut self,
        line: u64,
        entries: &[(String, u64, Node)],
        fields: &'static [Field],
        place: &str,
        drops: bool,
    ) {
        for (key, line, value) in entries {
            match fields.iter().find(|field| field.key == key) {
                // null stands for absent in a place that need not be filled
                Some(field) => self.check(
                    value,
                    &field.shape,
                    &join(place, key),
                    drops || !field.required,
                ),
                None => {
                    let within = if place.is_empty() {
                        String::new()
                    } else {
                        format!(" in `{place}`")
                    };
                    self.note(
                        *line,
                        format!("unknown key `{key}`{within}"),
                        suggest(key, fields.iter().map(|field| field.key)),
                    );
                }
            }
        }
        for field in fields
            .iter()
            .filter(|field| field.required && !entries.iter().any(|(key, ..)| key == field.key))
        {
            // a misspelt key has been reported as such
            let misspelt = entries.iter().any(|(key, ..)| {
                fields.iter().all(|field| field.key != key)
                    && airgap_manifests::did_you_mean(key, [field.key]).is_some()
            });
            if !misspelt {
                self.note(
                    line,
                    format!("`{}` is missing", join(place, field.key)),
                    field.about.trim_end_matches('.').to_lowercase(),
                );
            }
        }
    }

    fn secret(&mut self, node: &Node, place: &str) {
        const REMEDY: &str = "write `{env: NAME}`, `{file: PATH}` or `{prompt: true}`";
        let Kind::Map(entries) = &node.kind else {
            let why =
                "an inventory is copied, mailed and committed, so a secret may not stand in it";
            self.note(
                node.line,
                format!("`{place}` is written out: {why}"),
                REMEDY,
            );
            return;
        };
        match entries.as_slice() {
            [(key, _, value)] => match (key.as_str(), &value.kind) {
                ("prompt", Kind::Scalar(Value::Bool(true))) => {}
                ("env", Kind::Scalar(Value::String(name))) if Rule::EnvName.check(name).is_ok() => {
                }
                ("file", Kind::Scalar(Value::String(path))) if Rule::Path.check(path).is_ok() => {}
                ("prompt" | "env" | "file", _) => self.note(
                    value.line,
                    format!("`{}` does not say where the secret is", join(place, key)),
                    REMEDY,
                ),
                _ => self.note(
                    node.line,
                    format!("unknown key `{key}` in `{place}`"),
                    suggest(key, ["env", "file", "prompt"]),
                ),
            },
            _ => self.note(
                node.line,
                format!("`{place}` must name one place for the secret"),
                REMEDY,
            ),
        }
    }
}

/// Joins a place and a key as the file's reader would.
pub(super) fn join(place: &str, key: &str) -> String {
    if place.is_empty() {
        key.to_owned()
    } else {
        format!("{place}.{key}")
    }
}

impl Shape {
    fn noun(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Word(_) => "a text",
            Self::Whole(..) => "a whole number",
            Self::True => "`true`, or left out",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Free(_) | Self::Rke2 => "a mapping",
            Self::Any => "anything",
            Self::Secret => "a secret by reference",
            Self::TextOrSecret => "a text, or a reference",
        }
    }

    /// Returns the JSON schema of this place.
    pub(super) fn schema(&self) -> Value {
        match self {
            Self::Text(rule) => {
                json!({"type": "string", "minLength": 1, "description": rule.about()})
            }
            Self::Word(words) => json!({"enum": words}),
            Self::Whole(least, most) => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Self::True => json!({"const": true}),
            Self::List(inner) => json!({"type": "array", "items": inner.schema()}),
            Self::Free(inner) => json!({"type": "object", "additionalProperties": inner.schema()}),
            Self::Any => json!({}),
            Self::Rke2 => {
                let refused: Vec<&str> = owned::KEYS.iter().map(|(key, _)| *key).collect();
                json!({"type": "object", "propertyNames": {"not": {"enum": refused}}})
            }
            Self::Secret => secret_schema(),
            Self::TextOrSecret => {
                json!({"anyOf": [{"type": "string", "minLength": 1}, secret_schema()]})
            }
            Self::Map(fields) => {
                let mut properties = Map::new();
                for field in *fields {
                    let mut schema = field.shape.schema();
                    if !field.required {
                        schema = json!({"anyOf": [schema, {"type": "null"}]});
                    }
                    schema["description"] = field.about.into();
                    properties.insert(field.key.to_owned(), schema);
                }
                let required: Vec<&str> = fields
                    .iter()
                    .filter(|field| field.required)
                    .map(|field| field.key)
                    .collect();
                json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required})
            }
        }
    }
}

fn secret_schema() -> Value {
    let one = |key: &str, value: Value| json!({"type": "object", "additionalProperties": false, "required": [key], "properties": {key: value}});
    json!({"oneOf": [one("env", json!({"type": "string"})), one("file", json!({"type": "string"})), one("prompt", json!({"const": true}))]})
}
