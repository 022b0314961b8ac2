//! Bad inventories, one test for each way; and the example, the schema and the parser agreeing.

use camino::Utf8Path;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Access;

const GOOD: &str = "\
apiVersion: airgap/v1
kind: Inventory
metadata: {name: prod}
site: onprem
registry:
  endpoint: harbor.corp.example
  project: airgap
  push: {username: admin, password: {env: PUSH}}
hosts:
  - {name: cp1, role: server, ssh: {address: 10.0.0.11}}
";

fn parse(text: &str) -> Result<Inventory, Vec<String>> {
    Inventory::from_yaml(text, Utf8Path::new("hosts.yaml"))
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn good(text: &str) -> Inventory {
    parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn bad(text: &str) -> Vec<String> {
    parse(text).unwrap_err()
}

fn with_hosts(hosts: &str) -> String {
    GOOD.split_once("hosts:").unwrap().0.to_owned() + hosts
}

#[test]
fn the_least_file_is_enough_and_defaults_are_filled_in() {
    let inventory = good(GOOD);
    let Access::Ssh(ssh) = &inventory.hosts[0].access else {
        panic!()
    };
    assert_eq!(
        (
            ssh.user.as_str(),
            ssh.port,
            inventory.options.parallel_hosts
        ),
        ("root", 22, 10)
    );
    assert_eq!(inventory.endpoint().as_deref(), Some("10.0.0.11"));
    assert_eq!(
        inventory.registry_address(),
        ("harbor.corp.example".to_owned(), 443)
    );
}

#[test]
fn the_example_is_an_inventory_and_inherits() {
    let inventory = good(EXAMPLE);
    assert_eq!(inventory.servers().count(), 3);
    let way = |index: usize| {
        if let Access::Ssh(ssh) = &inventory.hosts[index].access {
            ssh.clone()
        } else {
            panic!()
        }
    };
    let bastion = way(0).bastion.unwrap();
    assert_eq!(
        (
            bastion.address.as_str(),
            bastion.user.as_str(),
            bastion.key_path
        ),
        ("jump.corp.example", "ops", way(0).key_path)
    );
    assert_eq!(way(3).bastion, None, "null drops what is inherited");
    assert_eq!(
        inventory.hosts[3].sudo.as_ref().unwrap().password,
        Some(SecretRef::Prompt)
    );
    assert_eq!(inventory.endpoint().as_deref(), Some("k8s.corp.example"));
}

#[test]
fn a_typo_is_named_with_its_line_and_the_likely_word() {
    let text = GOOD
        .replace("project:", "projct:")
        .replace("role: server", "rol: server")
        .replace("site: onprem", "site: on-prem");
    assert_eq!(
        bad(&text),
        [
            "hosts.yaml:4: `site` is `on-prem`; did you mean `onprem`?",
            "hosts.yaml:7: unknown key `projct` in `registry`; did you mean `project`?",
            "hosts.yaml:10: unknown key `rol` in `hosts[0]`; did you mean `role`?",
        ]
    );
}

#[test]
fn duplicate_names_and_addresses_are_refused() {
    let text = with_hosts(
        "hosts:\n- {name: a, role: server, ssh: {address: 10.0.0.1}}\n- {name: a, role: agent, ssh: {address: 10.0.0.2}}\n- {name: c, role: agent, ssh: {address: 10.0.0.1}}\n",
    );
    assert_eq!(
        bad(&text),
        [
            "hosts.yaml:11: two hosts are named `a`; the other is on line 10",
            "hosts.yaml:12: hosts `a` and `c` have the same address 10.0.0.1; the other is on line 10",
        ]
    );
}

#[test]
fn an_even_number_of_servers_and_none_are_refused() {
    let two = with_hosts(
        "hosts:\n- {name: a, role: server, ssh: {address: 10.0.0.1}}\n- {name: b, role: server, ssh: {address: 10.0.0.2}}\n",
    );
    assert!(
        bad(&two)[0].contains("2 hosts have `role: server`, an even number"),
        "{:?}",
        bad(&two)
    );
    assert!(bad(&two)[0].ends_with("use 1 or 3"));
    let none = with_hosts("hosts:\n- {name: a, role: agent, ssh: {address: 10.0.0.1}}\n");
    assert!(bad(&none)[0].contains("no host has `role: server`"));
    assert!(bad(&with_hosts("hosts: []\n"))[0].contains("no host has `role: server`"));
}

#[test]
fn an_inline_password_is_refused_with_the_reason_and_not_repeated() {
    let problems = bad(&GOOD.replace("{env: PUSH}", "hunter2"));
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("hosts.yaml:8: `registry.push.password` is written out"),
        "{problems:?}"
    );
    assert!(
        problems[0].contains("copied, mailed and committed")
            && problems[0].contains("{prompt: true}")
    );
    assert!(!problems[0].contains("hunter2"));
    for (wrong, part) in [
        ("{env: 1X}", "env"),
        ("{fil: x}", "did you mean `file`"),
        ("{env: A, file: b}", "one place"),
        ("{prompt: false}", "prompt"),
    ] {
        assert!(
            bad(&GOOD.replace("{env: PUSH}", wrong))[0].contains(part),
            "{wrong}"
        );
    }
}

#[test]
fn keys_that_airgap_sets_are_refused_with_what_to_do_instead() {
    let text = format!(
        "{GOOD}cluster: {{config: {{token: x, cni: calico}}, serverConfig: {{tls-san+: [a]}}}}\n"
    );
    let problems = bad(&text);
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(
        problems
            .iter()
            .any(|p| p.contains("`cluster.serverConfig.tls-san+`")
                && p.contains("use `cluster.tlsSans`"))
    );
    assert!(!problems.iter().any(|p| p.contains(": x")));
    let host = GOOD.replace(
        "address: 10.0.0.11}",
        "address: 10.0.0.11}, config: {node-ip: 1.2.3.4}",
    );
    assert!(bad(&host)[0].contains("use the host's `nodeIp`"));
}

#[test]
fn a_secret_among_rke2s_own_keys_is_refused_and_not_repeated() {
    for key in ["etcd-s3-secret-key", "etcd-s3-session-token"] {
        let problems = bad(&format!(
            "{GOOD}cluster: {{serverConfig: {{{key}: hunter2}}}}\n"
        ));
        assert_eq!(problems.len(), 1, "{problems:#?}");
        let start = format!("hosts.yaml:11: `cluster.serverConfig.{key}` is written out");
        assert!(problems[0].starts_with(&start), "{problems:#?}");
        assert!(problems[0].contains("`etcd-s3-config-secret`"));
        assert!(!problems[0].contains("hunter2"));
    }
    good(&format!(
        "{GOOD}cluster: {{serverConfig: {{etcd-s3: true, etcd-s3-config-secret: s3}}}}\n"
    ));
}

#[test]
fn registries_of_ones_own_have_mirrors_and_configs() {
    let text = format!(
        "{GOOD}extraRegistries:
  mirrors:
    internal.corp: {{endpoint: ['https://mirror.corp:5000'], rewrite: {{'^(.*)$': 'proxy/$1'}}}}
    plain.corp:
  configs:
    mirror.corp:5000: {{auth: {{username: nodes, password: {{file: ./mirror}}}}, tls: {{ca_file: /etc/ssl/mirror.pem}}}}
"
    );
    let extra = good(&text).extra_registries;
    assert_eq!(
        extra.mirrors["internal.corp"]["endpoint"][0],
        "https://mirror.corp:5000"
    );
    assert_eq!(extra.mirrors["plain.corp"], json!({}));
    let config = &extra.configs["mirror.corp:5000"];
    assert_eq!(
        config.auth.as_ref().unwrap().password,
        SecretRef::File("./mirror".into())
    );
    assert_eq!(config.tls["ca_file"], "/etc/ssl/mirror.pem");
}

#[test]
fn a_registry_of_ones_own_by_host_alone_is_refused_for_it_would_have_no_effect() {
    let text = format!(
        "{GOOD}extraRegistries:\n  internal.corp: {{endpoint: ['https://mirror.corp:5000']}}\n"
    );
    assert_eq!(
        bad(&text),
        [
            "hosts.yaml:12: unknown key `internal.corp` in `extraRegistries`; known here: mirrors, configs"
        ]
    );
}

#[test]
fn registries_of_ones_own_are_neither_all_nor_the_sites() {
    for part in ["mirrors", "configs"] {
        for (name, why) in [
            ("'*'", "a wildcard would capture"),
            ("harbor.corp.example", "airgap writes"),
            ("Harbor.corp.example:443", "airgap writes"),
            ("https://internal.corp", "no scheme"),
        ] {
            let problems = bad(&format!(
                "{GOOD}extraRegistries:\n  {part}:\n    {name}: {{}}\n"
            ));
            let place = format!(
                "hosts.yaml:13: `extraRegistries.{part}.{}`",
                name.trim_matches('\'')
            );
            assert_eq!(problems.len(), 1, "{problems:#?}");
            assert!(problems[0].starts_with(&place), "{problems:#?}");
            assert!(problems[0].contains(why), "{problems:#?}");
        }
    }
}

#[test]
fn a_password_of_a_registry_of_ones_own_is_refused_when_written_out() {
    let problems = bad(&format!(
        "{GOOD}extraRegistries: {{configs: {{r.corp: {{auth: {{username: u, password: hunter2}}}}}}}}\n"
    ));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0].contains("`extraRegistries.configs.r.corp.auth.password` is written out"),
        "{problems:#?}"
    );
    assert!(!problems[0].contains("hunter2"), "{problems:#?}");
    let problems = bad(&format!(
        "{GOOD}extraRegistries: {{mirrors: {{r.corp: {{endpoint: ['https://u:hunter2@m.corp']}}}}}}\n"
    ));
    assert!(
        problems[0]
            .contains("`extraRegistries.mirrors.r.corp.endpoint[0]` is a URL with an account"),
        "{problems:#?}"
    );
    assert!(!problems[0].contains("hunter2"), "{problems:#?}");
}

#[test]
fn a_login_that_cannot_become_root_is_refused() {
    let text = GOOD.replace("10.0.0.11}", "10.0.0.11, user: ops}");
    assert!(bad(&text)[0].contains("logs in as ops and has no `sudo`"));
    good(&(text.clone() + "defaults: {sudo: {}}\n"));
    good(&(text + "defaults: {sudo: {password: {prompt: true}}}\n"));
}

#[test]
fn a_host_is_local_or_has_an_address() {
    good(&with_hosts(
        "hosts: [{name: solo, role: server, local: true}]\n",
    ));
    assert!(
        bad(&with_hosts("hosts: [{name: solo, role: server}]\n"))[0].contains("no `ssh.address`")
    );
    assert!(
        bad(&with_hosts(
            "hosts: [{name: s, role: server, local: true, ssh: {address: a}}]\n"
        ))[0]
            .contains("both")
    );
    let two = with_hosts(
        "hosts: [{name: s, role: server, local: true}, {name: w, role: agent, ssh: {address: a}}]\n",
    );
    assert!(bad(&two)[0].contains("needs `nodeIp`"));
}

#[test]
fn a_mistake_in_defaults_is_reported_once() {
    let hosts = "defaults: {ssh: {port: 0, address: x}}\nhosts:\n- {name: a, role: server, ssh: {address: a}}\n- {name: b, role: agent, ssh: {address: b}}\n";
    let problems = bad(&with_hosts(hosts));
    assert_eq!(problems.len(), 2, "{problems:#?}");
}

#[test]
fn a_secret_of_a_host_replaces_the_inherited_one() {
    let hosts = "defaults: {ssh: {user: o}, sudo: {password: {prompt: true}}}\nhosts: [{name: a, role: server, ssh: {address: a}, sudo: {password: {env: X}}}]\n";
    let inventory = good(&with_hosts(hosts));
    assert_eq!(
        inventory.hosts[0].sudo.as_ref().unwrap().password,
        Some(SecretRef::Env("X".to_owned()))
    );
}

#[test]
fn a_pull_account_that_can_write_is_refused() {
    let text = GOOD.replace(
        "hosts:",
        "  pull: {username: admin, password: {env: PUSH}}\nhosts:",
    );
    assert!(bad(&text)[0].contains("is the account of `registry.push`"));
}

#[test]
fn aws_and_its_kind_of_site_go_together() {
    assert!(bad(&GOOD.replace("onprem", "aws"))[0].contains("`aws` is missing"));
    assert!(
        bad(&format!("{GOOD}aws: {{clusterName: a, region: b}}\n"))[0].contains("`site` is onprem")
    );
    good(
        &(GOOD.replace("onprem", "aws")
            + "aws: {clusterName: a, region: b, endpoints: {ec2: https://x}}\n"),
    );
}

#[test]
fn broken_yaml_and_wrong_types_have_a_line() {
    assert!(bad("a: [")[0].starts_with("hosts.yaml:"));
    assert!(
        bad(&GOOD.replace("metadata: {name: prod}", "metadata: prod"))[0]
            .starts_with("hosts.yaml:3: `metadata` must be a mapping")
    );
    assert!(bad("")[0].contains("empty"));
}

/// Judges a value by the parts of JSON schema that [`json_schema`] uses.
fn fits(schema: &Value, value: &Value) -> bool {
    let all = |key: &str, test: &dyn Fn(&Value) -> bool| schema.get(key).is_none_or(test);
    let count = |list: &Value| {
        list.as_array()
            .unwrap()
            .iter()
            .filter(|schema| fits(schema, value))
            .count()
    };
    all("type", &|kind| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    }) && all("enum", &|words| words.as_array().unwrap().contains(value))
        && all("const", &|wanted| wanted == value)
        && all("minimum", &|least| value.as_u64() >= least.as_u64())
        && all("maximum", &|most| value.as_u64() <= most.as_u64())
        && all("minLength", &|least| {
            value
                .as_str()
                .is_some_and(|text| text.len() as u64 >= least.as_u64().unwrap())
        })
        && all("anyOf", &|list| count(list) > 0)
        && all("oneOf", &|list| count(list) == 1)
        && all("items", &|schema| {
            value
                .as_array()
                .is_some_and(|items| items.iter().all(|item| fits(schema, item)))
        })
        && all("required", &|keys| {
            keys.as_array()
                .unwrap()
                .iter()
                .all(|key| value.get(key.as_str().unwrap()).is_some())
        })
        && all("propertyNames", &|names| {
            let refused = names["not"]["enum"].as_array().unwrap();
            value
                .as_object()
                .is_none_or(|map| map.keys().all(|key| !refused.contains(&json!(key))))
        })
        && value.as_object().is_none_or(|map| {
            map.iter().all(|(key, value)| {
                match (
                    schema["properties"].get(key),
                    schema.get("additionalProperties"),
                ) {
                    (None, Some(Value::Bool(allowed))) => *allowed,
                    (Some(schema), _) | (None, Some(schema)) => fits(schema, value),
                    (None, None) => true,
                }
            })
        })
}

#[test]
fn the_schema_accepts_what_the_parser_accepts_and_refuses_what_it_refuses() {
    let tree = |text: &str| {
        airgap_manifests::strict::parse_node(text, Utf8Path::new("x"))
            .unwrap()
            .to_value()
    };
    let schema = json_schema();
    // with the registries that the example only shows
    let (before, shown) = EXAMPLE.split_once("# extraRegistries:\n").unwrap();
    let (shown, after) = shown.split_once("\n\n").unwrap();
    let before = before.rsplit_once("extraRegistries: {}").unwrap().0;
    let shown = shown.replace("\n#", "\n ").replacen('#', " ", 1);
    let whole = format!("{before}extraRegistries:\n{shown}\n\n{after}");
    assert_eq!(good(&whole).extra_registries.configs.len(), 1);
    for text in [EXAMPLE, GOOD, &whole] {
        good(text);
        assert!(fits(&schema, &tree(text)));
    }
    for (from, to) in [
        ("site: onprem", "site: moon"),
        ("project:", "projct:"),
        ("{env: PUSH}", "hunter2"),
        ("role: server", "role: master"),
        ("ssh: {address", "config: {token: a}, ssh: {address"),
        ("kind: Inventory\n", ""),
        (
            "kind: Inventory\n",
            "kind: Inventory\nextraRegistries: {internal.corp: {}}\n",
        ),
        (
            "kind: Inventory\n",
            "kind: Inventory\ncluster: {config: {etcd-s3-secret-key: x}}\n",
        ),
    ] {
        let text = GOOD.replace(from, to);
        bad(&text);
        assert!(!fits(&schema, &tree(&text)), "{to}");
    }
}

proptest! {
    #[test]
    fn no_edit_of_a_good_file_makes_the_parser_panic(at in 0..EXAMPLE.len(), with in "[ -~\n]{0,6}") {
        let mut text = EXAMPLE.to_owned();
        if text.is_char_boundary(at) {
            text.insert_str(at, &with);
            let _ = parse(&text);
        }
    }
}

#[test]
fn a_licence_file_is_named_as_a_secret_is() {
    let named = GOOD.to_owned() + "licences: {teleport: {file: ./license.pem}}\n";
    assert!(good(&named).licences.teleport.is_some());
    let inline = GOOD.to_owned() + "licences: {teleport: BEGIN}\n";
    assert!(!bad(&inline).is_empty());
}
