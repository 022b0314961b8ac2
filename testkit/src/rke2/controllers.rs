//! The loops of a server: add-ons on every server; everything else only where this server leads.

use std::sync::Arc;
use std::time::Duration;

use super::server::Server;
use super::{addons, argocd, helm, log, nodes, workloads};

/// How often the leader's controllers look.
const TICK: Duration = Duration::from_millis(500);

pub(crate) fn start(server: &Arc<Server>) {
    let own = Arc::clone(server);
    tokio::spawn(async move { addons::run(&own).await });
    let own = Arc::clone(server);
    tokio::spawn(async move {
        let mut charts = helm::Charts::default();
        let mut argo = argocd::Controller::default();
        loop {
            if own.peers.is_leader() {
                let done = [
                    own.peers.commit(nodes::expire).await,
                    charts.tick(&own).await,
                    argo.tick(&own).await,
                    workloads::tick(&own).await,
                ];
                for error in done.into_iter().filter_map(Result::err) {
                    log::error(format!("controller: {error}"));
                }
            }
            tokio::time::sleep(TICK).await;
        }
    });
}
