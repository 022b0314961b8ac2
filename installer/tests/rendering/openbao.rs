//! OpenBao: Healthy again after its pod or its node has restarted, with nobody there.

use airgap_installer::render::values;
use airgap_manifests::{SecretKey, SiteKind};
use serde_json::Value;

use super::{application, edition, inventory};

#[test]
fn openbao_unseals_itself_and_initialises_itself_once() {
    let edition = edition("standard");
    let facts = |site| {
        let inventory = inventory(site);
        values::facts(&inventory, edition.site(site).unwrap(), None, "PUBLIC KEYS")
    };
    let render = |site| application(&edition, site, "openbao", &facts(site)).values;
    let spec = &edition.components["openbao"];
    let seal = spec
        .secrets
        .iter()
        .find(|secret| secret.name == "openbao-seal")
        .unwrap();

    let onprem = render(SiteKind::Onprem);
    let server = &onprem["server"];
    let config = &server["ha"]["raft"]["config"];
    // the key is a file of a Secret that is made once and left with the operator; 64 hex digits are the 32 bytes of AES-256
    assert!(seal.recovery && seal.on(SiteKind::Onprem) && !seal.on(SiteKind::Aws));
    assert!(matches!(seal.keys["key"], SecretKey::Hex { length: 64 }));
    let named = |list: &str, name: &str| {
        let entries = server[list].as_array().unwrap();
        entries
            .iter()
            .find(|entry| entry["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(
        named("volumes", "seal")["secret"]["secretName"],
        "openbao-seal"
    );
    let folder = named("volumeMounts", "seal")["mountPath"]
        .as_str()
        .unwrap()
        .to_owned();
    let key = &config["seal"]["static"];
    assert_eq!(key["current_key"], format!("file://{folder}/key"));
    assert_eq!(key["current_key_id"], "site-1");

    let aws = render(SiteKind::Aws);
    let kms = &aws["server"]["ha"]["raft"]["config"]["seal"];
    assert_eq!(kms["awskms"]["kms_key_id"], "alias/openbao");
    assert!(kms["static"].is_null() && !aws.to_string().contains("openbao-seal"));

    for values in [&onprem, &aws] {
        let server = &values["server"];
        let config = &server["ha"]["raft"]["config"];
        // one kind of seal, or it would wait for a migration by hand
        assert_eq!(config["seal"].as_object().unwrap().len(), 1);
        // several pods that initialise themselves become several clusters
        assert_eq!(server["ha"]["replicas"], 1);
        assert_eq!(server["dataStorage"]["enabled"], true);
        assert_eq!(config["storage"]["raft"]["path"], "/openbao/data");
        // the way in does not depend on anything that may be down; what does must not keep it from starting
        let requests: Vec<&Value> = config["initialize"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|block| block.as_object().unwrap().values())
            .flat_map(|block| block["request"].as_array().unwrap())
            .flat_map(|request| request.as_object().unwrap().values())
            .collect();
        assert!(
            requests
                .iter()
                .any(|request| request["path"] == "auth/userpass/users/admin")
        );
        for request in requests {
            let asks_others = request["path"].as_str().unwrap().contains("oidc");
            assert_eq!(request["allow_failure"] == true, asks_others, "{request}");
        }
    }
}
