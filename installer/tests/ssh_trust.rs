//! Which host keys are trusted, and the way through a bastion, against real sshds.

use airgap_installer::{
    Command, ConnectionError, HostKey, Put, PutOutcome, Secrets,
    connection::{
        HostKeyProblem,
        known_hosts::{self, KnownHosts},
        scan_keys,
    },
};
use airgap_testkit::require_tool;
use camino::Utf8Path;

use crate::support::sshd::{Operator, Sshd, chain, connect, folder, host, sshd_runs_here, tool};

#[test]
fn an_unknown_host_key_is_refused_with_its_fingerprint() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let other = sshd.host_key("rsa");
    let known = sshd.known_hosts(&format!(
        "[127.0.0.2]:{} {other}\n@cert-authority * {other}\n",
        sshd.port
    ));
    let ssh = format!(
        "address: 127.0.0.1, port: {}, keyPath: {}/client, knownHosts: {known}",
        sshd.port, sshd.path
    );
    let error = connect(&host(&ssh, ""), &Operator::default())
        .err()
        .unwrap();
    let fingerprint = tool(
        "ssh-keygen",
        &["-lf", sshd.path.join("host_ed25519.pub").as_str()],
    );
    let text = error.to_string();
    assert!(
        text.contains(fingerprint.split_whitespace().nth(1).unwrap()),
        "{text}"
    );
    assert!(
        text.contains("line 2 is a @cert-authority entry")
            && text.contains("scan-keys")
            && text.contains(known.as_str()),
        "{text}"
    );
    assert!(
        !sshd.log().contains("userauth-request for user"),
        "no login is tried"
    );
    // without a known_hosts file there is nobody to trust
    let ssh = format!(
        "address: 127.0.0.1, port: {}, keyPath: {}/client",
        sshd.port, sshd.path
    );
    let error = connect(
        &host(&ssh, ""),
        &Operator {
            home: Some(sshd.path.clone()),
            ..Operator::default()
        },
    )
    .err()
    .unwrap();
    assert!(
        matches!(&error, ConnectionError::HostKey { problem, .. } if matches!(**problem, HostKeyProblem::Unknown { .. })),
        "{error}"
    );
}

#[test]
fn a_changed_host_key_is_refused_with_the_line_that_disagrees() {
    if !sshd_runs_here() {
        return;
    }
    let (sshd, old) = (Sshd::start(), Sshd::start());
    let known = sshd.known_hosts(&format!(
        "# site\n[127.0.0.1]:{} {}\n",
        sshd.port,
        old.host_key("ed25519")
    ));
    let ssh = format!(
        "address: 127.0.0.1, port: {}, keyPath: {}/client, knownHosts: {known}",
        sshd.port, sshd.path
    );
    let error = connect(&host(&ssh, ""), &Operator::default())
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains(&format!("{known}:2 expects ssh-ed25519 SHA256:")),
        "{error}"
    );
    let pinned = sshd
        .ssh()
        .replace(&sshd.host_key("ed25519"), &old.host_key("ed25519"));
    let error = connect(&host(&pinned, ""), &Operator::default())
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("`hostKey` in the inventory expects"),
        "{error}"
    );
    assert!(!error.is_retryable());
}

#[test]
fn a_revoked_host_key_is_refused() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let known = sshd.known_hosts(&format!(
        "{}@revoked * {}\n",
        sshd.known_line("ed25519"),
        sshd.host_key("ed25519")
    ));
    let ssh = format!(
        "address: 127.0.0.1, port: {}, keyPath: {}/client, knownHosts: {known}",
        sshd.port, sshd.path
    );
    let error = connect(&host(&ssh, ""), &Operator::default())
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains(&format!("{known}:2 marks as revoked")),
        "{error}"
    );
}

#[test]
fn a_hashed_entry_of_any_key_type_is_found_and_asked_for() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let known = sshd.known_hosts(&sshd.known_line(kind));
        tool("ssh-keygen", &["-H", "-f", known.as_str()]);
        assert!(fs_err::read_to_string(&known).unwrap().starts_with("|1|"));
        let ssh = format!(
            "address: 127.0.0.1, port: {}, keyPath: {}/client, knownHosts: {known}",
            sshd.port, sshd.path
        );
        connect(&host(&ssh, ""), &Operator::default())
            .unwrap_or_else(|error| panic!("{kind}: {}", chain(&error)));
    }
}

#[test]
fn scanned_keys_are_shown_and_not_trusted() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let known = sshd.known_hosts(&sshd.known_line("ecdsa"));
    let ssh = format!(
        "address: 127.0.0.1, port: {}, keyPath: {}/client, knownHosts: {known}",
        sshd.port, sshd.path
    );
    let keys = scan_keys(
        &host(&ssh, ""),
        &Secrets::new(&Operator::default(), Utf8Path::new("/")),
    )
    .unwrap();
    let shown: Vec<_> = keys
        .iter()
        .map(|key| (key.kind.as_str(), key.trusted))
        .collect();
    assert_eq!(
        shown,
        [
            ("ssh-ed25519", false),
            ("ecdsa-sha2-nistp256", true),
            ("ssh-rsa", false)
        ]
    );
    for (key, kind) in keys.iter().zip(["ed25519", "ecdsa", "rsa"]) {
        assert_eq!(key.line, sshd.known_line(kind).trim());
        assert!(
            tool(
                "ssh-keygen",
                &["-lf", sshd.path.join(format!("host_{kind}.pub")).as_str()]
            )
            .contains(&key.fingerprint)
        );
    }
    assert_eq!(
        fs_err::read_to_string(&known).unwrap(),
        sshd.known_line("ecdsa"),
        "nothing is written"
    );
}

#[test]
fn a_host_behind_a_bastion_is_reached_and_takes_big_files() {
    if !sshd_runs_here() {
        return;
    }
    let (jump, sshd) = (Sshd::start(), Sshd::start());
    let ssh = format!("{}, bastion: {{{}}}", sshd.ssh(), jump.ssh());
    let mut behind = connect(&host(&ssh, ""), &Operator::default())
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(jump.log().contains("direct-tcpip"));
    let (_folder, path) = folder();
    let bytes: Vec<u8> = (0..64_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let put = Put::of(path.join("big"), 0o644, &bytes);
    assert_eq!(
        behind.put(&put, &mut bytes.as_slice()).unwrap(),
        PutOutcome::Written
    );
    // both ways at once
    let output = behind
        .run(&Command::new("cat").stdin(bytes[..16 << 20].to_vec()))
        .unwrap();
    assert!(output.stdout == bytes[..16 << 20]);
    // the bastion goes, and says so
    jump.cut();
    let error = behind.run(&Command::new("true")).unwrap_err();
    assert!(error.is_retryable(), "{}", chain(&error));
}

#[test]
fn a_bastion_is_trusted_no_more_than_a_host_and_names_what_it_cannot_reach() {
    if !sshd_runs_here() {
        return;
    }
    let (jump, sshd) = (Sshd::start(), Sshd::start());
    let wrong = jump
        .ssh()
        .replace(&jump.host_key("ed25519"), &sshd.host_key("ed25519"));
    let error = connect(
        &host(&format!("{}, bastion: {{{wrong}}}", sshd.ssh()), ""),
        &Operator::default(),
    )
    .err()
    .unwrap();
    assert!(
        matches!(&error, ConnectionError::HostKey { host, .. } if host.contains("bastion 127.0.0.1")),
        "{error}"
    );
    let nowhere = sshd
        .ssh()
        .replace(&format!("port: {}", sshd.port), "port: 1");
    let error = connect(
        &host(&format!("{nowhere}, bastion: {{{}}}", jump.ssh()), ""),
        &Operator::default(),
    )
    .err()
    .unwrap();
    assert!(
        chain(&error).contains("the bastion cannot reach it") && error.is_retryable(),
        "{}",
        chain(&error)
    );
}

#[test]
fn names_hashed_by_the_real_ssh_keygen_are_found() {
    if !require_tool("ssh-keygen") {
        return;
    }
    let (_folder, path) = folder();
    tool(
        "ssh-keygen",
        &[
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-f",
            path.join("k").as_str(),
        ],
    );
    let public = fs_err::read_to_string(path.join("k.pub")).unwrap();
    let key = HostKey::parse(&public).unwrap();
    let hosts: Vec<(String, u16)> = (0..40_u16)
        .map(|n| {
            (
                format!("host-{n}.corp.example"),
                if n % 2 == 0 { 22 } else { 2000 + n },
            )
        })
        .chain([("10.0.0.1".to_owned(), 22), ("fd00::1".to_owned(), 2222)])
        .collect();
    let text: String = hosts
        .iter()
        .map(|(host, port)| known_hosts::line(host, *port, &key) + "\n")
        .collect();
    let file = path.join("known_hosts");
    fs_err::write(&file, &text).unwrap();
    tool("ssh-keygen", &["-H", "-f", file.as_str()]);
    let hashed = fs_err::read_to_string(&file).unwrap();
    assert_eq!(hashed.matches("|1|").count(), hosts.len());
    let known = KnownHosts::parse(&hashed, &file).unwrap();
    for (host, port) in &hosts {
        assert_eq!(known.verify(host, *port, &key), Ok(()), "{host}:{port}");
        assert!(
            known.verify(host, port + 1, &key).is_err()
                && known.verify("other", *port, &key).is_err()
        );
    }
    // and what it says the fingerprint is, we say too
    assert!(tool("ssh-keygen", &["-lf", path.join("k.pub").as_str()]).contains(&key.fingerprint()));
}
