//! The AWS cloud controller: all of it on AWS, none of it elsewhere.
//!
//! The history that made this a test: a controller that no node would take left every node tainted, and nothing else started.

use airgap_installer::{
    Role,
    render::{
        config::{self, Entry},
        manifests::static_manifests,
        values,
    },
};
use airgap_manifests::{ResolvedEdition, SiteKind, strict};
use camino::Utf8PathBuf;
use serde_json::{Value, json};

use super::{edition, inventory};

const EDITIONS: [&str; 3] = ["community", "standard", "enterprise"];

/// What a site's nodes get: config.yaml of each host, and the static manifests.
struct Written {
    configs: Vec<(Role, String)>,
    files: Vec<(Utf8PathBuf, String)>,
}

fn written(edition: &ResolvedEdition, site: SiteKind) -> Written {
    let inventory = inventory(site);
    let plan = edition.site(site).unwrap();
    let facts = values::facts(&inventory, plan, None, "PUBLIC KEYS");
    let decided = plan.config_with(&facts).unwrap();
    let configs = inventory.hosts.iter().map(|host| {
        let image = "harbor.corp.example/airgap/docker.io/rancher/rke2-runtime@sha256:00";
        let file = config::config(&inventory, edition, &decided, image, host, &Entry::Founds);
        (host.role, String::from_utf8(file.unwrap().content).unwrap())
    });
    let read = |name: &str, _: &str| Ok(format!("chart {name}").into_bytes());
    let files = static_manifests(&inventory, edition, plan, &facts, read).unwrap();
    let text = |content| String::from_utf8(content).unwrap();
    Written {
        configs: configs.collect(),
        files: files
            .into_iter()
            .map(|file| (file.path, text(file.content)))
            .collect(),
    }
}

#[test]
fn kubelets_on_aws_wait_for_it_under_the_names_that_ec2_gives() {
    for name in EDITIONS {
        for (role, config) in written(&edition(name), SiteKind::Aws).configs {
            assert!(config.contains("cloud-provider-name: external"), "{config}");
            assert!(
                config.contains("node-name-from-cloud-provider-metadata: true"),
                "{config}"
            );
            assert!(
                !config.contains("node-name: "),
                "a name of our own: {config}"
            );
            // RKE2's own controller would remove the taint without knowing anything of EC2
            let off = config.contains("disable-cloud-controller: true");
            assert_eq!(off, role == Role::Server, "{config}");
        }
    }
}

#[test]
fn on_aws_it_lies_there_before_the_first_start_and_runs_on_a_tainted_node() {
    for name in EDITIONS {
        let edition = edition(name);
        let files = written(&edition, SiteKind::Aws).files;
        let (path, manifest) = files
            .iter()
            .find(|(path, _)| path.as_str().contains("cloud-controller"))
            .expect("a static manifest");
        assert!(
            path.starts_with("/var/lib/rancher/rke2/server/manifests"),
            "{path}"
        );
        let chart: Value = strict::parse(manifest, "manifest".into()).unwrap();
        assert_eq!(chart["kind"], "HelmChart");
        assert_eq!(chart["metadata"]["namespace"], "kube-system");
        // its job tolerates what is still tainted; its chart is inlined, since nothing could be pulled yet
        assert_eq!(chart["spec"]["bootstrap"], true);
        assert!(chart["spec"]["chartContent"].is_string());
        let text = chart["spec"]["valuesContent"].as_str().unwrap();
        let values: Value = strict::parse(text, "values".into()).unwrap();
        // the label that RKE2 gives its servers has the value "true": the chart's own empty one matches none of them
        let selector = json!({"node-role.kubernetes.io/control-plane": "true"});
        assert_eq!(values["nodeSelector"], selector);
        assert_eq!(values["hostNetworking"], true);
        // the cluster's DNS waits for this controller
        assert_eq!(values["dnsPolicy"], "Default");
        let tolerated = values["tolerations"].as_array().unwrap();
        for key in [
            "node.cloudprovider.kubernetes.io/uninitialized",
            "node.kubernetes.io/not-ready",
            "node-role.kubernetes.io/control-plane",
            "node-role.kubernetes.io/etcd",
            "CriticalAddonsOnly",
        ] {
            let mut keys = tolerated.iter().map(|toleration| &toleration["key"]);
            assert!(keys.any(|known| known == key), "{key}");
        }
        // letter by letter the name of the inventory, which is that of the tags kubernetes.io/cluster/<name>
        let arguments = values["args"].as_array().unwrap();
        assert!(
            arguments.contains(&"--cluster-name=prod".into()),
            "{arguments:?}"
        );
        assert!(
            arguments.contains(&"--cloud-provider=aws".into()),
            "{arguments:?}"
        );
        let text = |key: &str| values["image"][key].as_str().unwrap();
        let image = format!("{}:{}", text("repository"), text("tag"));
        let mut carried = edition.images.iter().map(|image| image.name.to_string());
        assert!(carried.any(|carried| carried == image), "{image}");
    }
}

#[test]
fn elsewhere_there_is_none_of_it() {
    for name in EDITIONS {
        let edition = edition(name);
        let Written { configs, files } = written(&edition, SiteKind::Onprem);
        for (_, config) in &configs {
            for word in [
                "cloud-provider-name",
                "disable-cloud-controller",
                "cloud-provider-metadata",
            ] {
                assert!(!config.contains(word), "{word}: {config}");
            }
            assert!(config.contains("node-name: "), "{config}");
        }
        for (path, content) in &files {
            for word in ["provider-aws", "--cluster-name="] {
                assert!(!content.contains(word), "{path}");
            }
        }
        assert!(!edition.components["aws-cloud-controller-manager"].on(SiteKind::Onprem));
    }
}
