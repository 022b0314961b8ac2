//! One CA in every Secret, given or made, on the first run and on later ones.

use airgap_manifests::SecretKey;
use base64::Engine;
use serde_json::Value;

use super::*;

fn spec(name: &str, keys: &[(&str, &str)]) -> SecretSpec {
    let keys = keys.iter().map(|(key, from)| {
        let from = (*from).to_owned();
        ((*key).to_owned(), SecretKey::Site { from })
    });
    SecretSpec {
        name: name.to_owned(),
        labels: BTreeMap::new(),
        recovery: false,
        sites: None,
        keys: keys.collect(),
        shared_with: Vec::new(),
    }
}

fn authority() -> SecretSpec {
    spec(
        "site-ca",
        &[
            ("tls.crt", "tls.issuer.ca.certFile"),
            ("tls.key", "tls.issuer.ca.key"),
        ],
    )
}

fn bundle() -> SecretSpec {
    spec("site-ca-bundle", &[("ca.crt", "tls.issuer.ca.certFile")])
}

fn cluster_with(namespace: &str, name: &str, values: &[(&str, &str)]) -> ClusterState {
    let data: BTreeMap<&str, String> = values
        .iter()
        .map(|(key, value)| {
            (
                *key,
                base64::engine::general_purpose::STANDARD.encode(value),
            )
        })
        .collect();
    let metadata = json!({"namespace": namespace, "name": name});
    let secret: Value = json!({"kind": "Secret", "metadata": metadata, "data": data});
    ClusterState {
        secrets: vec![secret],
        ..ClusterState::default()
    }
}

fn site(given: &[(SiteSecret, &str)]) -> SiteSecrets {
    let given = given.iter().map(|(what, value)| (*what, (*value).into()));
    SiteSecrets {
        given: given.collect(),
        cluster: "prod".to_owned(),
    }
}

#[test]
fn a_ca_is_made_where_none_is_given_and_found_again_afterwards() {
    let (authority, bundle) = (authority(), bundle());
    let declared = [
        (vec!["cert-manager".to_owned()], &authority),
        (
            vec!["cert-manager".to_owned(), "argocd".to_owned()],
            &bundle,
        ),
    ];
    let site = site(&[]);
    let made = site.complete(&declared, &ClusterState::default()).unwrap();
    let certificate = made[&SiteSecret::CaCertificate].expose_secret();
    let key = &made[&SiteSecret::CaKey];
    // what is made would be accepted if somebody gave it
    ca::check(certificate, key).unwrap();

    let values = [("tls.crt", certificate), ("tls.key", key.expose_secret())];
    let state = cluster_with("cert-manager", "site-ca", &values);
    let again = site.complete(&declared, &state).unwrap();
    assert_eq!(
        again[&SiteSecret::CaCertificate].expose_secret(),
        certificate
    );
    assert_eq!(
        again[&SiteSecret::CaKey].expose_secret(),
        key.expose_secret()
    );
    assert!(site.differing(&declared, &state).is_empty());
}

#[test]
fn half_a_ca_is_not_made_whole_by_another() {
    let (authority, bundle) = (authority(), bundle());
    let declared = [
        (vec!["cert-manager".to_owned()], &authority),
        (vec!["argocd".to_owned()], &bundle),
    ];
    let state = cluster_with("argocd", "site-ca-bundle", &[("ca.crt", "PEM")]);
    let error = site(&[]).complete(&declared, &state).unwrap_err();
    assert!(error.to_string().contains("but not its key"), "{error}");
    assert!(error.remedy().unwrap().contains("site-ca-bundle"));
}

#[test]
fn what_is_given_goes_before_what_is_there_and_the_difference_is_told() {
    let authority = authority();
    let declared = [(vec!["cert-manager".to_owned()], &authority)];
    let site = site(&[(SiteSecret::CaCertificate, "NEW"), (SiteSecret::CaKey, "K")]);
    let values = [("tls.crt", "OLD"), ("tls.key", "K")];
    let state = cluster_with("cert-manager", "site-ca", &values);
    let brought = site.complete(&declared, &state).unwrap();
    assert_eq!(brought[&SiteSecret::CaCertificate].expose_secret(), "NEW");
    assert_eq!(site.differing(&declared, &state), ["cert-manager/site-ca"]);
}

#[test]
fn what_the_site_must_bring_is_named_by_its_entry_of_hosts_yaml() {
    let needed = spec("tsig", &[("secret", "dns.tsigSecret")]);
    let error = site(&[]).check(&needed).unwrap_err();
    assert_eq!(
        error.to_string(),
        "secret tsig of the platform needs what only the site has: set `dns.tsigSecret` in hosts.yaml"
    );
    let optional = spec("tsig", &[("secret", "dns.tsigSecret?")]);
    assert!(site(&[]).check(&optional).is_ok() && !site(&[]).wants(&optional));
    let given = site(&[(SiteSecret::TsigSecret, "canary")]);
    assert!(given.check(&needed).is_ok() && given.wants(&optional));
    assert!(site(&[]).check(&authority()).is_ok());
}

#[test]
fn a_ca_that_cannot_issue_is_refused_with_the_reason() {
    let (certificate, key) = ca::make("prod").unwrap();
    let (_, other) = ca::make("prod").unwrap();
    let reason = |certificate: &str, key: &SecretString| {
        ca::check(certificate, key).unwrap_err().to_string()
    };
    let leaf = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let leaf_key = leaf.signing_key.serialize_pem().into();
    for (said, expected) in [
        (
            reason(certificate.expose_secret(), &other),
            "not the one that the certificate was made for",
        ),
        (reason(&leaf.cert.pem(), &leaf_key), "is not that of a CA"),
        (reason("nothing", &key), "no certificate in PEM"),
        (
            reason(certificate.expose_secret(), &"nothing".into()),
            "no private key in PEM",
        ),
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn the_pull_account_is_what_a_pull_secret_is() {
    let registry = crate::render::registries::SiteRegistryRef {
        endpoint: "harbor.corp.example:8443",
        project: "airgap",
        own_ca: true,
        pull: Some(("nodes".to_owned(), "canary".to_owned().into())),
    };
    let spec = spec(
        "airgap-registry",
        &[(".dockerconfigjson", "registry.pull?")],
    );
    // a registry that anybody may read from has no account, and needs no Secret
    assert!(!site(&[]).wants(&spec));
    let config = crate::render::argocd::docker_config(&registry);
    let given = site(&[]).with_pull(config);
    assert!(given.wants(&spec));
    let brought = given.complete(&[], &ClusterState::default()).expect("all");
    let values = crate::random::make(&spec, &brought).expect("made");
    let secret = crate::render::argocd::made_secret("kyverno", &spec, &values);
    // Kyverno passes over secrets of any other type
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    let config = values[".dockerconfigjson"].expose_secret();
    assert!(
        config.contains(r#""harbor.corp.example:8443":{"auth":"bm9kZXM6Y2FuYXJ5""#),
        "{config}"
    );
}
