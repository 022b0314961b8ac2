//! Deltas: `bundle --base`.

use airgap_archive::Base;
use airgap_bundler::{BundlePlatform, BundleRequest, Error, delta_file_name, plan};

use crate::support::*;

#[tokio::test]
async fn a_delta_on_the_same_lock_carries_no_image_layer_and_fetches_none() {
    let world = World::new().await;
    let full = world.path("airgap-small-1.0.0-amd64.tar.zst");
    world.bundle(&world.request(&full)).await.unwrap();
    let whole = open(&full);
    let base = Base::of(&whole);
    let name = delta_file_name("small", "1.0.0", "1.0.0", BundlePlatform::LinuxAmd64);
    assert_eq!(name, "airgap-small-1.0.0-from-1.0.0-amd64.tar.zst");
    let output = world.path(&name);
    let request = BundleRequest {
        base: Some(&base),
        verify_written: true,
        ..world.request(&output)
    };
    // an empty cache: what is left out is not even fetched
    let cache = std::sync::Arc::new(airgap_bundler::Cache::open(&world.path("empty")).unwrap());
    let bundled = world
        .bundle_with(&request, cache.clone(), Some(&world.puller))
        .await
        .unwrap();
    let left_out = bundled.left_out.unwrap();
    // one large layer of each of the three images, and a small one that two of them share
    assert_eq!(left_out.layers, 4);
    assert!(left_out.bytes > 2_000_000, "{}", left_out.bytes);
    let delta = open(&output);
    assert_eq!(delta.whole_digest(), whole.index_digest());
    assert!(delta.file_bytes() + left_out.bytes < whole.file_bytes() + 20_000);
    for layer in delta.omitted() {
        assert!(!cache.contains(&layer.digest, None), "{}", layer.digest);
    }
    // a plan knows as much
    let planned = plan(&request, &cache).unwrap();
    assert!(planned.total_bytes < left_out.bytes);

    let again = world.path("again.tar.zst");
    let request = BundleRequest {
        output: &again,
        jobs: 1,
        ..request
    };
    world.bundle(&request).await.unwrap();
    assert_eq!(
        fs_err::read(&again).unwrap(),
        fs_err::read(&output).unwrap()
    );
}

#[tokio::test]
async fn a_base_of_another_platform_or_of_a_later_release_is_refused() {
    let world = World::new().await;
    let full = world.path("full.tar.zst");
    world.bundle(&world.request(&full)).await.unwrap();
    let good = Base::of(&open(&full));
    let mut foreign = good.clone();
    foreign.platform = "linux/arm64".to_owned();
    let mut later = good;
    later.id.release += 1;
    let output = world.path("delta.tar.zst");
    for (base, reason) in [
        (
            foreign,
            "that bundle is for linux/arm64, this one for linux/amd64",
        ),
        (later, "it is later than release 1, which is to be bundled"),
    ] {
        let request = BundleRequest {
            base: Some(&base),
            ..world.request(&output)
        };
        let error = world.bundle(&request).await.unwrap_err();
        let Error::Unusable { reason: found, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(found, reason);
        assert!(!output.exists());
    }
}
