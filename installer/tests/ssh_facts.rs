//! What a real host says about itself.

use airgap_installer::{
    Put,
    facts::{self, FactsQuery, Reach, RegistryAnswer, RegistryQuery},
};

use crate::support::sshd::{Sshd, chain, folder, root, sshd_runs_here};

#[test]
fn facts_of_a_real_host_are_gathered_with_one_command() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let (_folder, path) = folder();
    fs_err::write(path.join("config.yaml"), "a: b\n").unwrap();
    let query = FactsQuery {
        states: vec![path.join("config.yaml"), path.join("absent")],
        contents: vec![path.join("config.yaml")],
        resolve: vec!["no.such.name.invalid".to_owned()],
        registry: Some(RegistryQuery {
            host: "127.0.0.1".to_owned(),
            port: 1,
            addresses: Vec::new(),
            ca_pem: Some("-----BEGIN\n".to_owned()),
        }),
    };
    let mut host = root(&sshd);
    let before = sshd.log().matches("Starting session: command").count();
    let facts =
        facts::gather(host.as_mut(), &query).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(
        sshd.log().matches("Starting session: command").count(),
        before + 1
    );
    println!("{facts:#?}");
    assert_eq!(
        facts.arch,
        if cfg!(target_arch = "x86_64") {
            "amd64"
        } else {
            "arm64"
        }
    );
    assert!(
        facts.cpus > 0
            && facts.memory > 1 << 28
            && !facts.kernel.is_empty()
            && !facts.os.id.is_empty()
    );
    assert!(
        facts.mounts["/var/lib/rancher"].total > 0 && !facts.mounts["/tmp"].mount_point.is_empty()
    );
    assert!(
        facts.clock_skew_ms.unsigned_abs() <= facts.clock_error_ms + 50,
        "the same clock"
    );
    assert_eq!(facts.files.len(), 1);
    assert_eq!(
        facts.files[&path.join("config.yaml")].sha256,
        Put::of("/x", 0, b"a: b\n").sha256
    );
    assert_eq!(facts.contents[&path.join("config.yaml")], b"a: b\n");
    assert_eq!(facts.resolved["no.such.name.invalid"], Vec::<String>::new());
    assert!(matches!(
        facts.registry["127.0.0.1:1"],
        RegistryAnswer::Unreachable { .. }
    ));
    assert!(facts.listening.contains(&sshd.port));
}

#[test]
fn ports_are_probed_from_the_host() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let probes = facts::probe(
        root(&sshd).as_mut(),
        &[
            ("127.0.0.1".to_owned(), sshd.port),
            ("127.0.0.1".to_owned(), 1),
        ],
    )
    .unwrap();
    assert_eq!(
        probes
            .iter()
            .map(|probe| (probe.port, probe.reach))
            .collect::<Vec<_>>(),
        [(1, Reach::Closed), (sshd.port, Reach::Open)]
    );
}
