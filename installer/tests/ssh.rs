//! The connection against a real sshd: commands, files, and everything that must be refused.

use std::{
    io::{self, Read},
    process::Command as Process,
    time::Duration,
};

use airgap_installer::{Command, Connection, ConnectionError, Put, PutOutcome};
use camino::Utf8Path;

use crate::support::sshd::{Operator, Sshd, chain, connect, folder, root, sshd_runs_here, tool};

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
    let new = Put::of(target.clone(), 0o600, &vec![7; 100_000]);
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
    let error = host
        .put(&new, &mut vec![8; 100_000].as_slice())
        .unwrap_err();
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
    assert_eq!(
        settled(&path.join("new folder"), "it's.yaml\n"),
        "it's.yaml\n"
    );
}

/// What is in a folder, once it is as expected: a node clears away by itself what a broken-off command left.
fn settled(folder: &Utf8Path, expected: &str) -> String {
    let mut seen = String::new();
    for _ in 0..200 {
        seen = tool("ls", &["-A", folder.as_str()]);
        if seen == expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    seen
}

/// A source nobody should read.
struct Unread;

impl Read for Unread {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("must not be read"))
    }
}

#[test]
fn a_big_file_arrives_whole() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let (_folder, path) = folder();
    let bytes: Vec<u8> = (0..256_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let put = Put::of(path.join("big"), 0o644, &bytes);
    let mut host = root(&sshd);
    assert_eq!(
        host.put(&put, &mut bytes.as_slice()).unwrap(),
        PutOutcome::Written
    );
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
fn a_dropped_connection_is_retryable_and_the_next_command_logs_in_anew() {
    if !sshd_runs_here() {
        return;
    }
    let sshd = Sshd::start();
    let mut host = root(&sshd);
    let (_folder, path) = folder();
    let put = Put::of(path.join("f"), 0o600, &vec![1; 1 << 20]);
    let mut source = Cutting {
        sshd: &sshd,
        reads: 0,
        left: 1 << 20,
    };
    let error = host.put(&put, &mut source).unwrap_err();
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
    assert_eq!(settled(&path, ""), "", "the half-written file is gone");
}

/// A source during whose third read the host ends the login.
struct Cutting<'a> {
    sshd: &'a Sshd,
    reads: usize,
    left: usize,
}

impl Read for Cutting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.reads == 3 {
            self.sshd.cut();
        }
        let count = self.left.min(buffer.len()).min(4096);
        buffer[..count].fill(1);
        self.left -= count;
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
    let error = host
        .run(
            &Command::new("sleep")
                .arg("60")
                .timeout(Duration::from_secs(1)),
        )
        .unwrap_err();
    assert!(matches!(error, ConnectionError::TimedOut { .. }), "{error}");
    assert!(host.run(&Command::new("true")).unwrap().success());
}
