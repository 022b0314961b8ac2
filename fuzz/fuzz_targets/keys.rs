//! Reading signatures, keys, key ids and trust policies.
#![no_main]

use airgap_signing::{KeyId, PublicKey, Signature, SigningKey, TrustRoot};
use camino::Utf8Path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(signature) = Signature::parse(data) {
        assert!(signature.to_line().as_bytes().starts_with(data));
        let stranger = SigningKey::from_seed(&[42; 32]).public_key();
        assert!(
            TrustRoot::new(vec![stranger])
                .verify(b"a message never signed", &[signature])
                .is_err()
        );
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = PublicKey::from_pem(text) {
        assert_eq!(
            PublicKey::from_pem(&key.to_pem()).expect("its own form"),
            key
        );
    }
    if let Ok(key) = SigningKey::from_pem(text, None) {
        let pem = key.to_pem(None).expect("its own form");
        assert_eq!(
            SigningKey::from_pem(&pem, None)
                .expect("its own form")
                .public_key(),
            key.public_key()
        );
    }
    if let Ok(id) = text.parse::<KeyId>() {
        assert_eq!(id.to_string(), text);
    }
    let folder = tempfile::tempdir_in("/dev/shm").expect("memory for a folder");
    let path = Utf8Path::from_path(folder.path()).expect("a plain path");
    let key = SigningKey::from_seed(&[42; 32]).public_key();
    std::fs::write(path.join("a.pub"), key.to_pem()).expect("memory for a file");
    std::fs::write(path.join("policy.yaml"), data).expect("memory for a file");
    if let Ok(root) = TrustRoot::load_dir(path) {
        assert!(root.threshold() >= 1);
        assert!(root.verify(b"message", &[]).is_err());
    }
});
