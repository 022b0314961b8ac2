//! The stand-in RKE2 on real systemd nodes.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which end at the first surprise"
)]

use std::time::Instant;

use airgap_testkit::cluster::{ClusterSpec, Node, NodeSpec};

use crate::site::{PASSWORD, Site, possible};

#[test]
fn a_single_node_comes_up_from_the_registry_alone() {
    if !possible() {
        return;
    }
    let start = Instant::now();
    let site = Site::start(ClusterSpec::single());
    eprintln!("site up after {:?}", start.elapsed());
    let node = site.cluster.node("solo");
    site.prepare(node, &format!("{}cni: [cilium]\n", site.config()));
    Site::start_unit(node, "rke2-server");
    eprintln!("READY after {:?}", start.elapsed());
    Site::await_node(node, "solo");
    eprintln!("node Ready after {:?}", start.elapsed());
    assert!(Site::kubectl(node, "get --raw /readyz").contains("ok"));
    assert!(Site::kubectl(node, "get nodes").contains("solo\tReady\tv1.36.4+rke2r1"));
    assert_eq!(
        node.sh("stat -c %a /etc/rancher/rke2/rke2.yaml")
            .unwrap()
            .stdout,
        "600"
    );
    assert!(
        node.sh("rke2 --version")
            .unwrap()
            .stdout
            .contains("stand-in")
    );
    let pulled = node
        .sh("/var/lib/rancher/rke2/bin/crictl images")
        .unwrap()
        .stdout;
    assert!(
        pulled.contains("docker.io/rancher/mirrored-cilium-cilium:v1.19.6"),
        "{pulled}"
    );
    assert_eq!(site.cluster.escapes(), Vec::<String>::new());
}

#[test]
fn three_servers_and_two_agents_outlive_their_seed() {
    if !possible() {
        return;
    }
    let start = Instant::now();
    let mut site = Site::start(ClusterSpec::of(3, 2));
    eprintln!("site up after {:?}", start.elapsed());
    let seed = site.cluster.node("cp1");
    let address = seed.address();
    site.prepare(seed, &format!("{}cni: [cilium]\n", site.config()));
    Site::start_unit(seed, "rke2-server");
    let token = seed
        .sh("cat /var/lib/rancher/rke2/server/token")
        .unwrap()
        .stdout;
    assert!(token.starts_with("K10") && token.contains("::server:"));
    for (name, unit) in [
        ("cp2", "rke2-server"),
        ("cp3", "rke2-server"),
        ("w1", "rke2-agent"),
        ("w2", "rke2-agent"),
    ] {
        let node = site.cluster.node(name);
        join(&site, node, unit, &address.to_string(), &token);
        Site::start_unit(node, unit);
    }
    eprintln!("all READY after {:?}", start.elapsed());
    let other = site.cluster.node("cp2");
    Site::kubectl(
        other,
        "wait --for=condition=Ready nodes --timeout=60s cp1 cp2 cp3 w1 w2",
    );
    eprintln!("all Ready after {:?}", start.elapsed());
    Site::kubectl(seed, "create namespace kept");

    site.cluster.reimage("cp1").unwrap();
    assert!(
        Site::kubectl(site.cluster.node("cp2"), "get namespace kept -o name")
            .contains("namespace/kept")
    );
    let seed = site.cluster.node("cp1");
    join(&site, seed, "rke2-server", &other_address(&site), &token);
    seed.sh("systemctl start --no-block rke2-server").unwrap();
    Site::until("the password of the old machine is remembered", 30, || {
        Site::journal(seed, "rke2-server").contains("Node password rejected")
    });
    Site::kubectl(
        site.cluster.node("cp2"),
        "delete secret -n kube-system cp1.node-password.rke2",
    );
    Site::until("the stale member is remembered", 30, || {
        Site::journal(seed, "rke2-server").contains("duplicate node name found")
    });
    Site::kubectl(site.cluster.node("cp2"), "delete node cp1");
    Site::until("it rejoins", 60, || {
        seed.sh("systemctl is-active rke2-server").unwrap().stdout == "active"
    });
    assert!(Site::kubectl(seed, "get namespace kept -o name").contains("namespace/kept"));
    eprintln!("rejoined after {:?}", start.elapsed());

    let worker = site.cluster.node("w1");
    let pulled = worker
        .sh("/var/lib/rancher/rke2/bin/crictl pull docker.io/rancher/mirrored-pause:3.10.2")
        .unwrap();
    assert_eq!(pulled.code, 0, "{pulled:?}");
    site.harbor.leave();
    let refused = worker
        .sh("/var/lib/rancher/rke2/bin/crictl pull docker.io/rancher/mirrored-pause:3.10.2")
        .unwrap();
    assert_ne!(refused.code, 0);
    assert_eq!(site.cluster.escapes(), Vec::<String>::new());
    // without the key, the next start makes the same pull go to docker.io, and the site sees it
    worker
        .sh("sed -i /disable-default/d /etc/rancher/rke2/config.yaml; systemctl restart rke2-agent")
        .unwrap();
    worker
        .sh("/var/lib/rancher/rke2/bin/crictl pull docker.io/rancher/mirrored-pause:3.10.2")
        .unwrap();
    let escapes = site.cluster.escapes();
    assert!(
        escapes
            .iter()
            .any(|line| line.contains("registry-1.docker.io")),
        "{escapes:?}"
    );
    eprintln!("done after {:?}", start.elapsed());
}

fn other_address(site: &Site) -> String {
    site.cluster.node("cp2").address().to_string()
}

fn join(site: &Site, node: &Node, unit: &str, address: &str, token: &str) {
    let role = if unit == "rke2-server" {
        "cni: [cilium]\n"
    } else {
        ""
    };
    site.prepare(
        node,
        &format!(
            "{}{role}server: https://{address}:9345\ntoken-file: /etc/rancher/rke2/join-token\n",
            site.config()
        ),
    );
    node.put("/etc/rancher/rke2/join-token", "600", token.as_bytes())
        .unwrap();
}

#[test]
fn what_the_real_one_refuses_is_refused() {
    if !possible() {
        return;
    }
    let spec = ClusterSpec::of(1, 1).node(NodeSpec::new("lost").no_default_route());
    let site = Site::start(spec);
    let server = site.cluster.node("cp1");
    let config = format!("{}cni: [cilium]\n", site.config());
    site.prepare(server, &config);
    refused(
        server,
        "server",
        &format!("{config}tls-sans: [a]\n"),
        "flag provided but not defined: -tls-sans",
    );
    refused(
        server,
        "server",
        &format!("{config}profile: strict\n"),
        "invalid value provided for --profile",
    );
    refused(server, "server", "server: https://cp1:6443\n", "9345");
    let lost = site.cluster.node("lost");
    site.prepare(lost, &config);
    refused(
        lost,
        "server",
        &config,
        "unable to select an IP from default routes",
    );

    // a registries.yaml with a misspelt field, then one whose password is wrong
    let registries = Site::registries();
    server
        .put(
            "/etc/rancher/rke2/registries.yaml",
            "600",
            registries.replace("endpoint", "endpoints").as_bytes(),
        )
        .unwrap();
    refused(
        server,
        "server",
        &config,
        "failed to parse /etc/rancher/rke2/registries.yaml",
    );
    server
        .put(
            "/etc/rancher/rke2/registries.yaml",
            "600",
            registries.replace(PASSWORD, "wrong").as_bytes(),
        )
        .unwrap();
    refused(server, "server", &config, "failed to get runtime image");
    server
        .put(
            "/etc/rancher/rke2/registries.yaml",
            "600",
            registries.as_bytes(),
        )
        .unwrap();
    assert_eq!(site.cluster.escapes(), Vec::<String>::new());

    server
        .put("/etc/rancher/rke2/config.yaml", "600", config.as_bytes())
        .unwrap();
    Site::start_unit(server, "rke2-server");
    joins_that_are_refused(&site, server);
}

fn refused(node: &Node, role: &str, config: &str, words: &str) {
    node.put("/etc/rancher/rke2/config.yaml", "600", config.as_bytes())
        .unwrap();
    let output = node.sh(&format!("timeout 120 rke2 {role}")).unwrap();
    assert!(
        output.code != 0 && output.stderr.contains(words),
        "{words}: {output:?}"
    );
}

/// The second half: what a running server refuses, and where a pull goes that no mirror serves.
fn joins_that_are_refused(site: &Site, server: &Node) {
    let registries = Site::registries();
    let token = server
        .sh("cat /var/lib/rancher/rke2/server/token")
        .unwrap()
        .stdout;
    let agent = site.cluster.node("w1");
    let joins = format!(
        "{}server: https://{}:9345\n",
        site.config(),
        server.address()
    );
    site.prepare(agent, &joins);
    let forged = format!("{joins}token: K10{}::server:x\n", "0".repeat(64));
    refused(agent, "agent", &forged, "token CA hash does not match");
    refused(
        agent,
        "agent",
        &format!("{joins}token: wrong\n"),
        "401 Unauthorized",
    );
    refused(agent, "agent", &joins, "--token is required");
    refused(
        agent,
        "server",
        &format!("{joins}token: {token}\ncluster-cidr: 10.99.0.0/16\n"),
        "critical configuration value mismatch between servers: cluster-cidr",
    );
    // without `runtime-image` the mirror still serves it, and what the mirror lacks is asked of docker.io
    agent
        .put(
            "/etc/rancher/rke2/registries.yaml",
            "600",
            registries
                .replace("airgap/docker.io/", "airgap/nowhere/")
                .as_bytes(),
        )
        .unwrap();
    let bare = joins
        .lines()
        .filter(|line| !line.starts_with("runtime-image"))
        .collect::<Vec<_>>()
        .join("\n");
    refused(
        agent,
        "agent",
        &format!("{bare}\ntoken: {token}\n"),
        "failed to get runtime image docker.io/rancher/rke2-runtime",
    );
    assert!(
        site.cluster
            .dns()
            .foreign()
            .iter()
            .any(|query| query.name == "registry-1.docker.io")
    );
}
