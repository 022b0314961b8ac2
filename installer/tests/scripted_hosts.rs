//! Several hosts at a time, without any host: what is asked of them, and what is made of their answers.

use airgap_installer::{
    Command, Connection, ConnectionError, Error, Output, Put, PutOutcome, facts, for_each_host,
};
use camino::Utf8Path;

use crate::support::scripted::{Asked, ScriptedConnection};

const ANSWER: &str = "clock-start\t0\ncpus\t4\nclock-end\t0\nend\n";

#[test]
fn facts_of_many_hosts_come_in_order_and_a_failing_host_fails_alone() {
    let mut hosts = [
        ScriptedConnection::new("a").says("/bin/sh -s", ANSWER),
        ScriptedConnection::new("b").fails("/bin/sh -s", 2, "sh: broken"),
        ScriptedConnection::new("c").says("/bin/sh -s", "cpus\t4\n"),
    ];
    let query = facts::FactsQuery::default();
    let answers = for_each_host(2, &mut hosts, |host| facts::gather(host, &query));
    assert_eq!(answers[0].as_ref().map(|facts| facts.cpus).ok(), Some(4));
    assert!(
        matches!(&answers[1], Err(Error::Connection(ConnectionError::CommandFailed { host, stderr, .. })) if host == "b" && stderr == "sh: broken")
    );
    assert!(
        matches!(&answers[2], Err(Error::Facts(error)) if error.to_string().contains("host c"))
    );
    let [
        Asked::Run {
            command,
            stdin,
            root,
        },
    ] = hosts[0].asked.as_slice()
    else {
        panic!("{:?}", hosts[0].asked)
    };
    assert!(
        *root && command == "/bin/sh -s -- -- -- -- --" && stdin.starts_with(b"# facts of a host")
    );
    assert_eq!(hosts[0].commands().len(), 1);
}

#[test]
fn a_scripted_host_keeps_files_as_a_real_one_does() {
    let mut host = ScriptedConnection::new("a")
        .with_file("/etc/a", "old")
        .on("cat", |_, stdin| {
            Ok(Output {
                stdout: stdin.to_vec(),
                ..Output::default()
            })
        });
    let put = Put::of("/etc/a", 0o600, b"new");
    assert_eq!(
        host.put(&put, &mut b"new".as_slice()).unwrap(),
        PutOutcome::Written
    );
    assert_eq!(
        host.put(&put, &mut b"".as_slice()).unwrap(),
        PutOutcome::Unchanged
    );
    let open = Put {
        mode: 0o644,
        ..put.clone()
    };
    assert_eq!(
        host.put(&open, &mut b"".as_slice()).unwrap(),
        PutOutcome::Mended
    );
    let wrong = Put {
        sha256: "0".repeat(64),
        ..put
    };
    assert!(host.put(&wrong, &mut b"new".as_slice()).is_err());
    assert_eq!(
        host.read(Utf8Path::new("/etc/a")).unwrap().as_deref(),
        Some(b"new".as_slice())
    );
    assert_eq!(host.files[Utf8Path::new("/etc/a")].mode, 0o644);
    assert_eq!(
        host.run(&Command::new("cat").stdin("x")).unwrap().text(),
        "x"
    );
    assert_eq!(host.written().len(), 2);
}
