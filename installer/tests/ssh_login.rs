//! Logging in and becoming root, against a real sshd.

use std::{
    process::{Command as Process, Stdio},
    time::Duration,
};

use airgap_installer::{Command, ConnectionError, Put, PutOutcome, connection::SudoFailure};
use airgap_testkit::require_tool;
use camino::Utf8PathBuf;

use crate::support::sshd::{Operator, Sshd, chain, connect, folder, host, sshd_runs_here, tool};

#[test]
fn an_unreachable_host_is_named() {
    // discard, which nobody serves any more
    let port = 9;
    let (_folder, path) = folder();
    let ssh = format!("address: 127.0.0.1, port: {port}");
    let error = connect(
        &host(&ssh, ""),
        &Operator {
            home: Some(path),
            ..Operator::default()
        },
    )
    .err()
    .unwrap();
    assert!(
        chain(&error).contains(&format!("failed to connect to host n1 at 127.0.0.1:{port}")),
        "{}",
        chain(&error)
    );
    assert!(error.is_retryable());
}

#[test]
fn the_agent_and_keys_with_passphrases_log_in() {
    if !sshd_runs_here() || !require_tool("ssh-agent") {
        return;
    }
    let sshd = Sshd::start();
    let pinned = format!(
        "address: 127.0.0.1, port: {}, hostKey: \"{}\"",
        sshd.port,
        sshd.host_key("ed25519")
    );
    let socket = sshd.path.join("agent");
    let mut agent = Process::new("ssh-agent")
        .args(["-D", "-a", socket.as_str()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..1_000 {
        if socket.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let operator = Operator {
        agent: Some(socket.clone()),
        ..Operator::default()
    };
    let empty = connect(&host(&pinned, ""), &operator).err().unwrap();
    let key = sshd.path.join("client");
    let added = Process::new("ssh-add")
        .arg(&key)
        .env("SSH_AUTH_SOCK", &socket)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let full = connect(&host(&pinned, ""), &operator).map(|_| ());
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(added.success());
    assert!(
        empty.to_string().contains("none of its keys was accepted"),
        "{empty}"
    );
    full.unwrap();

    tool(
        "ssh-keygen",
        &[
            "-q",
            "-p",
            "-P",
            "",
            "-N",
            "canary-phrase",
            "-f",
            key.as_str(),
        ],
    );
    let with_phrase = format!("{}, keyPassphrase: {{env: PHRASE}}", sshd.ssh());
    let secret = |secret| Operator {
        secret,
        ..Operator::default()
    };
    connect(&host(&with_phrase, ""), &secret(Some("canary-phrase"))).unwrap();
    let wrong = connect(&host(&with_phrase, ""), &secret(Some("not-it")))
        .err()
        .unwrap();
    assert!(
        matches!(wrong, ConnectionError::Login { .. }) && !wrong.to_string().contains("not-it"),
        "{wrong}"
    );
    let unset = connect(&host(&with_phrase, ""), &secret(None))
        .err()
        .unwrap();
    assert!(
        chain(&unset).contains("environment variable PHRASE is not set"),
        "{}",
        chain(&unset)
    );
}

#[test]
fn keys_that_are_missing_open_to_others_or_not_accepted_say_so() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let with_key = |key: &Utf8PathBuf| {
        sshd.ssh()
            .replace(sshd.path.join("client").as_str(), key.as_str())
    };
    let error = |ssh: String| {
        chain(
            &connect(&host(&ssh, ""), &Operator::default())
                .err()
                .unwrap(),
        )
    };
    assert!(
        error(with_key(&sshd.path.join("none"))).contains("failed to use"),
        "missing"
    );
    tool("chmod", &["644", sshd.path.join("host_ecdsa").as_str()]);
    assert!(
        error(with_key(&sshd.path.join("host_ecdsa"))).contains("chmod 600"),
        "open"
    );
    let foreign = error(with_key(&sshd.path.join("host_rsa")));
    assert!(
        foreign.contains("failed to log in to host n1 as root"),
        "{foreign}"
    );
}

#[test]
fn sudo_with_and_without_password_wrong_missing_and_forbidden() {
    const CANARY: &str = "canary-sudo-password";
    const PASSWORD: &str = ", sudo: {password: {env: P}}";
    const NONE: &str = ", sudo: {}";
    if !sshd_runs_here() || !require_tool("sudo") || !require_tool("useradd") {
        return;
    }
    let sshd = Sshd::start();
    let user = Account::new("airgap-test", CANARY);
    let ssh = format!("{}, user: {}", sshd.ssh(), user.name);
    let with = |sudo: &str, secret| {
        connect(
            &host(&ssh, sudo),
            &Operator {
                secret,
                ..Operator::default()
            },
        )
        .unwrap()
    };
    let refusal = |sudo: &str, secret| match with(sudo, secret).run(&Command::new("id").as_root()) {
        Err(ConnectionError::Sudo { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };

    assert_eq!(refusal(PASSWORD, Some(CANARY)), SudoFailure::NotAllowed);
    user.allow("ALL=(ALL) ALL");
    assert_eq!(refusal(PASSWORD, Some("wrong")), SudoFailure::WrongPassword);
    assert_eq!(refusal(NONE, None), SudoFailure::PasswordNeeded);
    let mut ops = with(PASSWORD, Some(CANARY));
    assert_ne!(
        ops.check(&Command::new("id").arg("-u")).unwrap().text(),
        "0"
    );
    // the command sees its own input and not the password; nor does any process show it
    let seen = ops.check(&Command::script("# look\nid -u; cat; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true").stdin("input\n").as_root()).unwrap();
    assert!(seen.text().starts_with("0\ninput\n"));
    assert!(!String::from_utf8_lossy(&seen.stdout).contains(CANARY));
    let (_folder, path) = folder();
    let put = Put::of(path.join("secret"), 0o600, b"content");
    assert_eq!(
        ops.put(&put, &mut b"content".as_slice()).unwrap(),
        PutOutcome::Written
    );
    assert_eq!(
        ops.read(&path.join("secret")).unwrap().as_deref(),
        Some(b"content".as_slice())
    );

    user.allow("ALL=(ALL) NOPASSWD: ALL");
    // a password that is not asked for does not become the command's input
    let output = with(PASSWORD, Some(CANARY))
        .check(&Command::new("cat").stdin("only this").as_root())
        .unwrap();
    assert_eq!(output.text(), "only this");
    assert_eq!(
        with(NONE, None)
            .check(&Command::new("id").arg("-u").as_root())
            .unwrap()
            .text(),
        "0"
    );
    assert!(!sshd.log().contains(CANARY));
}

/// A login that goes with the test.
struct Account {
    name: String,
    rule: Utf8PathBuf,
}

impl Account {
    fn new(prefix: &str, password: &str) -> Self {
        use std::io::Write;
        let name = format!("{prefix}-{}", std::process::id());
        tool("useradd", &["-M", "-d", "/", "-s", "/bin/sh", &name]);
        let account = Self {
            rule: format!("/etc/sudoers.d/{name}").into(),
            name,
        };
        let mut chpasswd = Process::new("chpasswd")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(
            chpasswd.stdin.take().unwrap(),
            "{}:{password}",
            account.name
        )
        .unwrap();
        assert!(chpasswd.wait().unwrap().success());
        account
    }

    fn allow(&self, rule: &str) {
        fs_err::write(
            &self.rule,
            format!("Defaults:{0} timestamp_timeout=0\n{0} {rule}\n", self.name),
        )
        .unwrap();
        tool("chmod", &["440", self.rule.as_str()]);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = fs_err::remove_file(&self.rule);
        let _ = Process::new("userdel").arg(&self.name).status();
    }
}
