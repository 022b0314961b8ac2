//! Whether a project has a repository at all.

use airgap_registry::{ProjectName, SiteConfig, SiteRegistry};
use airgap_testkit::{
    faults::{Fault, FaultAction},
    require_tool,
};

use crate::{
    plain::{config, start},
    support::{Site, push, repository, sample, tag},
};

#[tokio::test]
async fn a_project_lists_nothing_until_something_is_tagged_and_only_a_clear_answer_says_so() {
    if !require_tool("docker-registry") {
        return;
    }
    let site = Site::usual();
    let registry = site.pusher().await;
    assert!(registry.lists_nothing().await);
    let list = "/projects/airgap/repositories$";
    for action in [
        FaultAction::Status {
            code: 403,
            retry_after: None,
        },
        FaultAction::Status {
            code: 500,
            retry_after: None,
        },
        FaultAction::CutResponse { after_bytes: 1 },
        FaultAction::CorruptBody,
    ] {
        let before = registry.stats().reads;
        site.harbor.fault(Fault::once("GET", list, action.clone()));
        assert!(!registry.lists_nothing().await, "{action:?}");
        assert_eq!(registry.stats().reads, before + 1, "{action:?}");
    }
    // whoever may only pull is not told
    let puller = SiteRegistry::connect(site.config("robot$airgap+pull"))
        .await
        .unwrap();
    assert!(!puller.lists_nothing().await);

    push(&registry, &repository("a/b"), &tag("v1"), &sample())
        .await
        .unwrap();
    assert!(!registry.lists_nothing().await);
}

#[tokio::test]
async fn a_plain_registry_lists_nothing_only_while_it_is_empty_as_a_whole() {
    let Some((registry, ca)) = start() else {
        return;
    };
    let connect = async |project: &str| {
        let project = ProjectName::parse(project).unwrap();
        let config = config(&registry, &ca, "Canary-1");
        SiteRegistry::connect(SiteConfig { project, ..config })
            .await
            .unwrap()
    };
    let (site, other) = (connect("airgap").await, connect("other").await);
    // looking at the rights leaves nothing behind
    site.probe().await.unwrap();
    assert!(site.lists_nothing().await && other.lists_nothing().await);
    push(&other, &repository("a/b"), &tag("v1"), &sample())
        .await
        .unwrap();
    assert!(!site.lists_nothing().await && !other.lists_nothing().await);
}
