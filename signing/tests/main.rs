//! Keys and signatures against the real openssl, both ways.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, and a skipped test has to say so"
)]

use std::process::{Command, Output};

use airgap_signing::{Error, KeyProblem, PublicKey, Signature, SigningKey, TrustRoot};
use camino::{Utf8Path, Utf8PathBuf};
use secrecy::SecretString;

/// Says whether openssl is there; in CI it has to be.
fn openssl_is_there() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok();
    if !found {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "openssl is missing, and CI skips nothing"
        );
        eprintln!("SKIPPED: openssl is not installed");
    }
    found
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn join(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.0.path()).unwrap().join(name)
    }

    fn openssl(&self, arguments: &[&str]) -> Output {
        Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn openssl_ok(&self, arguments: &[&str]) -> String {
        let output = self.openssl(arguments);
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

const MESSAGE: &[u8] = br#"{"schemaVersion":2}"#;

#[test]
fn openssl_accepts_our_key_and_our_signature() {
    if !openssl_is_there() {
        return;
    }
    let folder = Folder::new();
    let key = SigningKey::generate().unwrap();
    key.write_new(&folder.join("airgap.key"), None).unwrap();
    key.public_key()
        .write_new(&folder.join("airgap.pub"))
        .unwrap();
    // the private key is one that openssl reads, and it is the one that belongs to the public key
    let derived = folder.openssl_ok(&["pkey", "-in", "airgap.key", "-pubout"]);
    assert_eq!(derived, key.public_key().to_pem());

    fs_err::write(folder.join("index.json"), MESSAGE).unwrap();
    fs_err::write(folder.join("index.json.sig"), key.sign(MESSAGE).to_line()).unwrap();
    let check = "base64 -d index.json.sig > s && openssl pkeyutl -verify -pubin -inkey airgap.pub -rawin -in index.json -sigfile s";
    let run = || {
        Command::new("sh")
            .args(["-c", check])
            .current_dir(folder.0.path())
            .output()
            .unwrap()
    };
    let output = run();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("Signature Verified Successfully"));

    fs_err::write(folder.join("index.json"), br#"{"schemaVersion":3}"#).unwrap();
    assert!(!run().status.success());
}

#[test]
fn openssl_opens_our_key_with_its_passphrase_only() {
    if !openssl_is_there() {
        return;
    }
    let folder = Folder::new();
    let key = SigningKey::generate().unwrap();
    let passphrase = SecretString::from("correct horse battery staple");
    key.write_new(&folder.join("airgap.key"), Some(&passphrase))
        .unwrap();
    fs_err::write(folder.join("right"), "correct horse battery staple\n").unwrap();
    fs_err::write(folder.join("wrong"), "wrong\n").unwrap();
    let derived = folder.openssl_ok(&[
        "pkey",
        "-in",
        "airgap.key",
        "-passin",
        "file:right",
        "-pubout",
    ]);
    assert_eq!(derived, key.public_key().to_pem());
    assert!(
        !folder
            .openssl(&[
                "pkey",
                "-in",
                "airgap.key",
                "-passin",
                "file:wrong",
                "-pubout"
            ])
            .status
            .success()
    );
}

#[test]
fn we_accept_openssls_key_and_signature() {
    if !openssl_is_there() {
        return;
    }
    let folder = Folder::new();
    folder.openssl_ok(&["genpkey", "-algorithm", "ed25519", "-out", "their.key"]);
    folder.openssl_ok(&["pkey", "-in", "their.key", "-pubout", "-out", "their.pub"]);
    fs_err::write(folder.join("m"), MESSAGE).unwrap();
    folder.openssl_ok(&[
        "pkeyutl",
        "-sign",
        "-inkey",
        "their.key",
        "-rawin",
        "-in",
        "m",
        "-out",
        "s",
    ]);

    let public = PublicKey::read(&folder.join("their.pub")).unwrap();
    let bytes: [u8; 64] = fs_err::read(folder.join("s")).unwrap().try_into().unwrap();
    let signature = Signature::from_bytes(bytes);
    let root = TrustRoot::new(vec![public.clone()]);
    assert_eq!(
        root.verify(MESSAGE, &[signature]).unwrap(),
        [public.key_id()]
    );
    assert!(root.verify(b"other", &[signature]).is_err());

    // their private key makes the same signature in our hands: pure Ed25519 is deterministic
    let private = SigningKey::read(&folder.join("their.key"), None).unwrap();
    assert_eq!(private.public_key(), public);
    assert_eq!(private.sign(MESSAGE), signature);

    // and the key id is what openssl and sha256 say it is
    folder.openssl_ok(&[
        "pkey",
        "-pubin",
        "-in",
        "their.pub",
        "-outform",
        "DER",
        "-out",
        "der",
    ]);
    let printed = folder.openssl_ok(&["dgst", "-sha256", "-r", "der"]);
    assert!(printed.starts_with(&public.fingerprint()));
    assert!(printed.starts_with(&public.key_id().to_string()));
}

#[test]
fn we_open_openssls_encrypted_keys() {
    if !openssl_is_there() {
        return;
    }
    let folder = Folder::new();
    fs_err::write(folder.join("pass"), "secret\n").unwrap();
    folder.openssl_ok(&["genpkey", "-algorithm", "ed25519", "-out", "plain.key"]);
    let plain = SigningKey::read(&folder.join("plain.key"), None).unwrap();
    let ciphers: [&[&str]; 3] = [
        &["-v2", "aes-256-cbc"],
        &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512"],
        &[
            "-scrypt",
            "-scrypt_N",
            "16384",
            "-scrypt_r",
            "8",
            "-scrypt_p",
            "1",
        ],
    ];
    for cipher in ciphers {
        let arguments = [
            &[
                "pkcs8",
                "-topk8",
                "-in",
                "plain.key",
                "-out",
                "sealed.key",
                "-passout",
                "file:pass",
            ],
            cipher,
        ]
        .concat();
        folder.openssl_ok(&arguments);
        let sealed = folder.join("sealed.key");
        assert!(SigningKey::is_encrypted(
            &fs_err::read_to_string(&sealed).unwrap()
        ));
        let opened = SigningKey::read(&sealed, Some(&SecretString::from("secret"))).unwrap();
        assert_eq!(opened.public_key(), plain.public_key());
        let Err(Error::Key { source, .. }) =
            SigningKey::read(&sealed, Some(&SecretString::from("Secret")))
        else {
            panic!("a wrong passphrase opens nothing");
        };
        assert_eq!(source, KeyProblem::WrongPassphrase);
    }
}

#[test]
fn keys_of_other_kinds_are_refused() {
    if !openssl_is_there() {
        return;
    }
    let folder = Folder::new();
    for (algorithm, options) in [
        ("x25519", None),
        ("ed448", None),
        ("EC", Some("ec_paramgen_curve:P-256")),
    ] {
        let mut arguments = vec!["genpkey", "-algorithm", algorithm, "-out", "other.key"];
        arguments.extend(options.into_iter().flat_map(|option| ["-pkeyopt", option]));
        folder.openssl_ok(&arguments);
        folder.openssl_ok(&["pkey", "-in", "other.key", "-pubout", "-out", "other.pub"]);
        for result in [
            SigningKey::read(&folder.join("other.key"), None).map(|_| ()),
            PublicKey::read(&folder.join("other.pub")).map(|_| ()),
        ] {
            assert!(
                matches!(
                    result,
                    Err(Error::Key {
                        source: KeyProblem::NotEd25519,
                        ..
                    })
                ),
                "{algorithm}: {result:?}"
            );
        }
    }
}

#[test]
fn a_prehashed_signature_is_refused() {
    // RFC 8032 §7.3: the one test vector of Ed25519ph, which signs a hash of the message instead
    let secret: [u8; 32] =
        hex::decode("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42")
            .unwrap()
            .try_into()
            .unwrap();
    let signature: [u8; 64] = hex::decode(
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406",
    )
    .unwrap()
    .try_into()
    .unwrap();
    let key = SigningKey::from_seed(&secret);
    let root = TrustRoot::new(vec![key.public_key()]);
    assert!(
        root.verify(b"abc", &[Signature::from_bytes(signature)])
            .is_err()
    );
    assert!(root.verify(b"abc", &[key.sign(b"abc")]).is_ok());
}

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let path = folder.join("airgap.key");
    let key = SigningKey::generate().unwrap();
    key.write_new(&path, None).unwrap();
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs_err::read(&path).unwrap();
    let error = SigningKey::generate()
        .unwrap()
        .write_new(&path, None)
        .unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(fs_err::read(&path).unwrap(), before);
    // nothing else is left in the folder
    assert_eq!(folder.0.path().read_dir().unwrap().count(), 1);
    // a dangling link is no free name either
    let link = folder.join("link.key");
    std::os::unix::fs::symlink(folder.join("elsewhere"), &link).unwrap();
    assert!(key.write_new(&link, None).is_err());
    assert!(!folder.join("elsewhere").exists());
}

#[test]
fn a_missing_key_is_an_error_that_names_it() {
    let folder = Folder::new();
    let path = folder.join("none.key");
    let error = SigningKey::read(&path, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("failed to read private key {path}")
    );
    assert!(!error.is_trust_failure());
}
