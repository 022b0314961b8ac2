//! The form of hosts.yaml, said once: the check of a file and the JSON schema for editors both come from this table.

use super::{
    rules::Rule,
    shape::{Field, Shape},
};

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

/// registries.yaml's own keys, but for the account.
const EXTRA_REGISTRIES: &[Field] = &[
    may(
        "mirrors",
        Shape::Free(&Shape::Map(&[
            may(
                "endpoint",
                Shape::List(&Shape::Text(Rule::Url)),
                "Where its images are, tried in this order.",
            ),
            may(
                "rewrite",
                Shape::Free(&Shape::Text(Rule::Word)),
                "What takes the place of a repository's name, by regular expression.",
            ),
        ])),
        "Where images are, by the registry in their names.",
    ),
    may(
        "configs",
        Shape::Free(&Shape::Map(&[
            may(
                "auth",
                Shape::Map(ACCOUNT),
                "The account that nodes read with; anonymous when absent.",
            ),
            may(
                "tls",
                Shape::Map(&[
                    may(
                        "ca_file",
                        Shape::Text(Rule::Path),
                        "The CA of its certificate, a file on every node.",
                    ),
                    may(
                        "cert_file",
                        Shape::Text(Rule::Path),
                        "The nodes' own certificate, a file on every node.",
                    ),
                    may(
                        "key_file",
                        Shape::Text(Rule::Path),
                        "Its key, a file on every node.",
                    ),
                    may(
                        "insecure_skip_verify",
                        Shape::True,
                        "Believes any certificate.",
                    ),
                ]),
                "How to know it.",
            ),
        ])),
        "How nodes speak with a registry, by its host, with :port where it is not 443.",
    ),
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
                "The TSIG key's name; needed by rfc2136.",
            ),
            may(
                "tsigAlgorithm",
                Shape::Word(&["hmac-sha256", "hmac-sha512"]),
                "The TSIG key's algorithm, hmac-sha256 when absent.",
            ),
            may(
                "tsigSecret",
                Shape::Secret,
                "The TSIG key, base64; needed by rfc2136.",
            ),
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
            may(
                "buckets",
                Shape::Map(&[
                    may(
                        "loki",
                        Shape::Text(Rule::Word),
                        "The bucket that keeps logs.",
                    ),
                    may(
                        "tempo",
                        Shape::Text(Rule::Word),
                        "The bucket that keeps traces.",
                    ),
                    may(
                        "mimir",
                        Shape::Text(Rule::Word),
                        "The bucket that keeps metrics.",
                    ),
                    may(
                        "backup",
                        Shape::Text(Rule::Word),
                        "The bucket that keeps backups.",
                    ),
                ]),
                "S3 buckets of the site's own; the nodes' instance profile may read and write them.",
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
        Shape::Map(EXTRA_REGISTRIES),
        "Registries of your own that nodes pull from too, with the keys of RKE2's registries.yaml.",
    ),
    may(
        "defaults",
        Shape::Map(DEFAULTS),
        "Inherited by every host; the host wins, null drops.",
    ),
    must("hosts", Shape::List(&Shape::Map(HOST)), "The machines."),
    may(
        "licences",
        Shape::Map(&[may(
            "teleport",
            Shape::Secret,
            "The licence file of Teleport Enterprise.",
        )]),
        "Licence files that only you hold, for components that start with one.",
    ),
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
