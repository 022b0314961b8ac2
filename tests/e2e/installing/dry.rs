//! What `--dry-run` shows and leaves alone, and an installation that is interrupted from the keyboard.

use std::{thread, time::Duration};

use airgap_testkit::cluster::ClusterSpec;
use rustix::process::{Pid, Signal, kill_process};

use super::field::{Field, PULL_PASSWORD, PUSH_PASSWORD, TSIG_SECRET, possible};
use crate::support::Outcome;

/// Files that a node has had written since it came up. What sshd, sudo and systemd note about every login is not counted.
const WRITTEN: &str = "find / -xdev -newer /run/marker -type f ! -path '/proc/*' ! -path '/sys/*' ! -path '/run/*' \
    ! -path '/tmp/systemd*' ! -path '/var/log/*' ! -path '/var/lib/sudo/*' ! -path '/var/lib/systemd/*'";

fn dry_run(field: &Field) -> Outcome {
    field.airgap(&[
        "install",
        "--dry-run",
        "--bundle",
        field.bundle.as_str(),
        "--key",
        field.key.as_str(),
        "--allow-small",
    ])
}

#[test]
fn a_dry_run_shows_plan_and_findings_and_writes_nowhere_and_ctrl_c_is_followed_by_the_same_command()
{
    if !possible() {
        return;
    }
    let field = Field::start(ClusterSpec::of(1, 1), "community");
    for node in field.cluster.nodes() {
        node.check(&["touch", "/run/marker"]).unwrap();
    }
    thread::sleep(Duration::from_millis(1100));

    let outcome = dry_run(&field);
    assert_eq!(outcome.code, 0, "{}", outcome.transcript());
    for words in [
        "seed: cp1 founds the cluster; no server runs it yet",
        "tags missing, at most",
        "cp1 (server): install RKE2; write ",
        "start, found the cluster",
        "w1 (agent): install RKE2; write ",
        "start, join",
        "apply Namespace argocd",
        "wave 1: ",
        "mend: ",
    ] {
        assert!(
            outcome.stdout.contains(words),
            "{words:?}:\n{}",
            outcome.transcript()
        );
    }
    for node in field.cluster.nodes() {
        let written = node.check(&["sh", "-c", WRITTEN]).unwrap();
        assert_eq!(written.trim(), "", "{}", node.name());
    }
    assert_eq!(field.harbor.used("airgap"), 0);
    let requests = field.harbor.log().all();
    // the probe of the rights opens an upload and cancels it
    let writes: Vec<_> = requests
        .iter()
        .filter(|request| request.is_write() && !request.path.contains("/blobs/uploads/"))
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
    let opened = requests
        .iter()
        .filter(|request| request.method == "POST")
        .count();
    let cancelled = requests
        .iter()
        .filter(|request| request.method == "DELETE")
        .count();
    assert_eq!(opened, cancelled, "{requests:#?}");

    // a host that cannot be asked is a finding of the dry run too
    let inventory = fs_err::read_to_string(field.path("hosts.yaml")).unwrap();
    let absent = "  - {name: w9, role: agent, ssh: {address: 127.0.0.1, port: 9}}\n";
    field.write("hosts.yaml", &format!("{inventory}{absent}"));
    let refused = dry_run(&field);
    assert_eq!(refused.code, 4, "{}", refused.transcript());
    assert!(
        refused.stdout.contains("host.unreachable") && refused.stdout.contains("w9"),
        "{}",
        refused.transcript()
    );
    field.write("hosts.yaml", &inventory);

    // Ctrl-C in the middle of the push
    let child = field.begin_install(&[]);
    let pushed = || {
        let log = field.harbor.log();
        log.count(|it| it.method == "PUT" && it.path.contains("/manifests/"))
    };
    for _ in 0..600 {
        if pushed() > 0 {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert!(pushed() > 0, "nothing was pushed within a minute");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let stopped = Outcome::of("airgap install", &child.wait_with_output().unwrap());
    assert_eq!(stopped.code, 130, "{}", stopped.transcript());
    assert!(
        stopped.stderr.contains("to carry on, type: "),
        "{}",
        stopped.transcript()
    );
    assert_eq!(field.installed(&[])["changed"], true);
    assert_eq!(field.ready("cp1"), ["cp1", "w1"]);

    let logs = field.logs();
    assert!(logs.contains("asking every host what it is"), "{logs}");
    let token = field
        .cluster
        .node("cp1")
        .check(&["cat", "/var/lib/rancher/rke2/server/token"])
        .unwrap();
    let (_, token) = token.trim().rsplit_once("::server:").unwrap();
    let said = [&outcome, &refused, &stopped]
        .map(Outcome::transcript)
        .concat();
    for secret in [PUSH_PASSWORD, PULL_PASSWORD, TSIG_SECRET, token] {
        assert!(!logs.contains(secret), "a log holds a secret");
        assert!(!said.contains(secret), "a secret was printed");
    }
}
