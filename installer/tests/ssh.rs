//! The connection against a real sshd: commands, files, and everything that must be refused.

use std::{
    io::{self, Read},
    process::{Command as Process, Stdio},
    time::{Duration, Instant},
};

use airgap_installer::{
    Command, Connection, ConnectionError, Put, PutOutcome, Secrets,
    connection::{HostKeyProblem, SudoFailure, scan_keys},
    facts::{self, FactsQuery, Reach, RegistryAnswer, RegistryQuery},
};
use airgap_testkit::require_tool;
use camino::{Utf8Path, Utf8PathBuf};

use crate::support::sshd::{Operator, Sshd, chain, connect, folder, host, root, tool};

/// A real sshd needs root to let anyone in.
fn sshd_runs_here() -> bool {
    require_tool("sshd") && require_tool("ssh-keygen") && rustix::process::geteuid().is_root()
}

#[test]
fn commands_get_their_words_and_their_input() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let mut host = root(&sshd);
    let odd = [
        "", "a b", "'; id #", "$(id)", "`id`", "\\", "\"", "*", "ä\n\tz", "-n", "!x",
    ];
    let output = host
        .run(&Command::new("printf").arg("[%s]").args(odd))
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        odd.map(|word| format!("[{word}]")).concat()
    );
    let output = host
        .run(
            &Command::script("# s\ncat; echo \"$1\" >&2; exit 3")
                .arg("it's")
                .stdin("in\n"),
        )
        .unwrap();
    assert_eq!(
        (
            output.status,
            output.text().as_str(),
            output.error_text().as_str()
        ),
        (3, "in", "it's")
    );
    let error = host
        .check(&Command::script("# fail here\necho why >&2; exit 7").arg("x y"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`[fail here] 'x y'` failed on host n1 with status 7: why"
    );
    assert_eq!(
        host.run(&Command::script("# die\nkill -TERM $$"))
            .unwrap()
            .status,
        143
    );
    assert!(
        sshd.log().contains("cipher: aes128-gcm@openssh.com"),
        "the fast cipher is in use"
    );
}

#[test]
fn much_input_and_output_at_once_do_not_block_each_other() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let bytes: Vec<u8> = (0..16_000_000_u32).map(|n| (n % 251) as u8).collect();
    let output = root(&sshd)
        .run(&Command::new("tee").arg("/dev/stderr").stdin(bytes.clone()))
        .unwrap();
    assert!(output.stdout == bytes && output.stderr == bytes);
}

#[test]
fn files_are_written_mended_left_alone_and_read() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let (_folder, path) = folder();
    files(root(&sshd).as_mut(), &path);
    let text = "apiVersion: airgap/v1\nkind: Inventory\nmetadata: {name: t}\nsite: onprem\nregistry: {endpoint: r.x, project: a, push: {username: a, password: {env: P}}}\nhosts: [{name: n1, role: server, local: true}]\n";
    let local = airgap_installer::Inventory::from_yaml(text, Utf8Path::new("h"))
        .unwrap()
        .hosts
        .remove(0);
    files(
        connect(&local, &Operator::default()).unwrap().as_mut(),
        &path.join("local"),
    );
}

fn files(host: &mut dyn Connection, path: &Utf8Path) {
    let target = path.join("new folder/it's.yaml");
    assert_eq!(host.read(&target).unwrap(), None);
    let put = Put::of(target.clone(), 0o600, b"one\n");
    assert_eq!(
        host.put(&put, &mut b"one\n".as_slice()).unwrap(),
        PutOutcome::Written
    );
    assert_eq!(host.put(&put, &mut Unread).unwrap(), PutOutcome::Unchanged);
    let open = Put {
        mode: 0o644,
        ..put.clone()
    };
    assert_eq!(host.put(&open, &mut Unread).unwrap(), PutOutcome::Mended);
    assert_eq!(
        host.read(&target).unwrap().as_deref(),
        Some(b"one\n".as_slice())
    );
    let stat = host
        .check(&Command::new("stat").args(["-c", "%a %U", target.as_str()]))
        .unwrap();
    assert_eq!(stat.text(), "644 root");

    // a source that breaks, is short, or is not what was announced leaves the old content and nothing else
    let new = Put::of(target.clone(), 0o600, &[7; 100_000]);
    let error = host
        .put(&new, &mut [7; 5000].as_slice().chain(Unread))
        .unwrap_err();
    assert!(
        matches!(&error, ConnectionError::Content { path, .. } if *path == target),
        "{error}"
    );
    let error = host.put(&new, &mut [7; 5000].as_slice()).unwrap_err();
    assert!(
        chain(&error).contains("95000 bytes fewer than announced"),
        "{}",
        chain(&error)
    );
    let error = host.put(&new, &mut [8; 100_000].as_slice()).unwrap_err();
    assert!(
        matches!(error, ConnectionError::ContentDiffers { .. }),
        "{error}"
    );
    assert_eq!(
        host.read(&target).unwrap().as_deref(),
        Some(b"one\n".as_slice())
    );
    let error = host
        .put(&Put::of(path.to_owned(), 0o600, b"x"), &mut b"x".as_slice())
        .unwrap_err();
    assert!(error.to_string().contains("is a directory"), "{error}");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        tool("ls", &["-A", path.join("new folder").as_str()]).trim(),
        "it's.yaml"
    );
}

/// A source nobody should read.
struct Unread;

impl Read for Unread {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("must not be read"))
    }
}

#[test]
fn a_big_file_arrives_whole_and_fast() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let (_folder, path) = folder();
    let bytes: Vec<u8> = (0..256_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let put = Put::of(path.join("big"), 0o644, &bytes);
    let mut host = root(&sshd);
    let start = Instant::now();
    assert_eq!(
        host.put(&put, &mut bytes.as_slice()).unwrap(),
        PutOutcome::Written
    );
    println!("256 MiB in {:?}", start.elapsed());
    assert!(fs_err::read(path.join("big")).unwrap() == bytes);
}

#[test]
fn disk_full_on_a_node_leaves_no_file_and_says_how_much_is_free() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let (_folder, path) = folder();
    if !Process::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs", path.as_str()])
        .status()
        .unwrap()
        .success()
    {
        println!("SKIPPED: no right to mount");
        return;
    }
    let bytes = vec![1; 3 << 20];
    let put = Put::of(path.join("rke2.tar.gz"), 0o644, &bytes);
    let result = root(&sshd).put(&put, &mut bytes.as_slice());
    let left = tool("ls", &["-A", path.as_str()]);
    tool("umount", &[path.as_str()]);
    let error = result.unwrap_err();
    assert!(
        matches!(
            &error,
            ConnectionError::DiskFull {
                needed: 3_145_728,
                available: 1_048_576,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(left, "");
}

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
    let start = Instant::now();
    assert_eq!(
        behind.put(&put, &mut bytes.as_slice()).unwrap(),
        PutOutcome::Written
    );
    println!("64 MiB through a bastion in {:?}", start.elapsed());
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
fn an_unreachable_host_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
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
    while !socket.exists() {
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
fn a_dropped_connection_is_retryable_and_the_next_command_logs_in_anew() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let mut host = root(&sshd);
    let (_folder, path) = folder();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(800));
            sshd.cut();
        });
        host.put(
            &Put::of(path.join("f"), 0o600, &vec![1; 1 << 20]),
            &mut Slow(1 << 20),
        )
        .unwrap_err()
    });
    assert!(
        matches!(&error, ConnectionError::Lost { during, .. } if during.contains("write a file")),
        "{}",
        chain(&error)
    );
    assert!(error.is_retryable());
    assert_eq!(
        host.check(&Command::new("echo").arg("back"))
            .unwrap()
            .text(),
        "back"
    );
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        tool("ls", &["-A", path.as_str()]),
        "",
        "the half-written file is gone"
    );
}

/// A source that takes its time.
struct Slow(usize);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::thread::sleep(Duration::from_millis(100));
        let count = self.0.min(buffer.len()).min(4096);
        buffer[..count].fill(1);
        self.0 -= count;
        Ok(count)
    }
}

#[test]
fn a_command_that_does_not_end_is_given_up() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let mut host = root(&sshd);
    let start = Instant::now();
    let error = host
        .run(
            &Command::new("sleep")
                .arg("60")
                .timeout(Duration::from_secs(1)),
        )
        .unwrap_err();
    assert!(
        matches!(error, ConnectionError::TimedOut { .. })
            && start.elapsed() < Duration::from_secs(10),
        "{error}"
    );
    assert!(host.run(&Command::new("true")).unwrap().success());
}

#[test]
fn sudo_with_and_without_password_wrong_missing_and_forbidden() {
    const CANARY: &str = "canary-sudo-password";
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
    const PASSWORD: &str = ", sudo: {password: {env: P}}";
    const NONE: &str = ", sudo: {}";

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
