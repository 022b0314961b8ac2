//! A disk that fills up, or a writer that fails otherwise: nothing under the final name, and an error that says how much is needed.

use std::io::{self, Read};
use std::process::Command;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use airgap_archive::{ArchiveWriter, BlobSource, Error, Role, WriteOptions};
use airgap_testkit::bundle::{Blobs, FakeBundle, test_key};
use camino::Utf8PathBuf;
use oci_spec::image::Digest;

use crate::support::{DOCKER, Folder, OCI, noisy, quiet};

/// A small file system in memory, unmounted at the end.
struct SmallDisk(Folder);

impl SmallDisk {
    /// Mounts it, or says why the test is skipped.
    fn mount(mebibytes: u32) -> Option<Self> {
        let folder = Folder::new();
        let options = format!("size={mebibytes}m");
        let status = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &options,
                "tmpfs",
                folder.path().as_str(),
            ])
            .output();
        if status.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "CI runs as root and can mount a tmpfs"
        );
        eprintln!("SKIPPED: mounting a tmpfs needs root");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path().as_str()).output();
    }
}

/// A source that gives nothing to read before somebody else has filled the disk.
struct Filling {
    blobs: Blobs,
    /// What is to be written, until a worker asks for the first blob; the others wait for it.
    filler: Mutex<Option<(Utf8PathBuf, usize)>>,
}

impl BlobSource for Filling {
    fn open(&self, digest: &Digest, size: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut filler = self.filler.lock().unwrap();
        if let Some((file, bytes)) = filler.take() {
            fs_err::write(file, vec![b'x'; bytes])?;
        }
        drop(filler);
        self.blobs.open(digest, size)
    }
}

#[test]
fn a_disk_too_small_is_refused_before_writing() {
    let Some(disk) = SmallDisk::mount(8) else {
        return;
    };
    let bundle = FakeBundle::new("large").with(Role::Image, OCI, &noisy(12 << 20, 1));
    let error = bundle
        .write(
            &disk.0.join("x.tar.zst"),
            &test_key(),
            &WriteOptions::default(),
        )
        .unwrap_err();
    let Error::NoSpace {
        needed, available, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(*needed > 12 << 20 && available.is_some_and(|free| free <= 8 << 20));
    assert!(!error.is_trust_failure());
    assert!(
        error
            .to_string()
            .contains(&format!("{needed} bytes needed")),
        "{error}"
    );
    assert!(disk.0.names().is_empty());
}

#[test]
fn a_disk_that_fills_while_writing_leaves_nothing_under_the_final_name() {
    let Some(disk) = SmallDisk::mount(40) else {
        return;
    };
    let bundle = FakeBundle::new("large").with(Role::Image, OCI, &noisy(20 << 20, 1));
    let filler = disk.0.join("somebody-elses");
    for volume_size in [None, Some(8 << 20)] {
        let source = Filling {
            blobs: bundle.blobs.clone(),
            filler: Mutex::new(Some((filler.clone(), 30 << 20))),
        };
        let options = WriteOptions {
            volume_size,
            ..WriteOptions::default()
        };
        let path = disk.0.join("x.tar.zst");
        let error =
            ArchiveWriter::create(&path, &bundle.tree, &test_key(), &options, &source, &quiet)
                .unwrap_err();
        assert!(
            matches!(error, Error::NoSpace { needed, .. } if needed > 20 << 20),
            "{error}"
        );
        assert_eq!(disk.0.names(), ["somebody-elses"]);
        fs_err::remove_file(&filler).unwrap();
        // the same command again, once there is room
        let written = bundle.write(&path, &test_key(), &options).unwrap();
        assert_eq!(crate::support::verify(&written.paths[0]).unwrap(), []);
        written
            .paths
            .iter()
            .for_each(|path| fs_err::remove_file(path).unwrap());
    }
}

/// A source whose largest blob is still on its way, and whose next one cannot be had.
struct Waiting {
    largest: u64,
    given_up: Mutex<bool>,
    changed: Condvar,
}

impl BlobSource for Waiting {
    fn open(&self, _: &Digest, size: u64) -> io::Result<Box<dyn Read + Send>> {
        if size < self.largest {
            return Err(io::Error::other("gone"));
        }
        let waiting = self.given_up.lock().unwrap();
        let long = Duration::from_secs(20);
        let waited = self
            .changed
            .wait_timeout_while(waiting, long, |given_up| !*given_up);
        let heard = !waited.unwrap().1.timed_out();
        assert!(heard, "nobody says that the writer failed");
        Err(io::Error::other("given up"))
    }

    fn give_up(&self) {
        *self.given_up.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

#[test]
fn whoever_waits_for_a_blob_hears_that_the_writer_failed() {
    let folder = Folder::new();
    let bundle = FakeBundle::new("two")
        .with(Role::Image, OCI, &noisy(3 << 20, 1))
        .with(Role::Image, DOCKER, &noisy(2 << 20, 2));
    let source = Waiting {
        largest: 3 << 20,
        given_up: Mutex::new(false),
        changed: Condvar::new(),
    };
    let options = WriteOptions {
        jobs: 2,
        ..WriteOptions::default()
    };
    let path = folder.join("x.tar.zst");
    let error = ArchiveWriter::create(&path, &bundle.tree, &test_key(), &options, &source, &quiet)
        .unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "gone", "{error}");
    assert!(folder.names().is_empty());
}
