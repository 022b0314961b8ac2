//! Replication between servers: one leader, commits acknowledged by a majority of voters, catch-up by whole documents.
//!
//! This is no Raft: a cluster split in two is outside what the tests do. What it keeps of etcd is what an installer can meet: no
//! quorum, no write; a member that was removed stops; a new one is a learner until it has caught up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use reqwest::Client;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::Mutex;

use super::fail::{Context as _, Fail, Result};
use super::store::{Delta, Disk, Member, State};

/// What a member tells its peers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) id: u64,
    pub(crate) leader: bool,
    pub(crate) revision: u64,
}

/// This server's copy of the state, and its part in the replication.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) me: Member,
    state: RwLock<State>,
    disk: Disk,
    client: Client,
    leading: AtomicBool,
    leader: AtomicU64,
    commits: Mutex<()>,
}

/// Where a write has to go.
#[derive(Debug, Clone)]
pub(crate) enum Leader {
    Me,
    Other(Member),
}

impl Peers {
    pub(crate) fn new(me: Member, state: State, disk: Disk) -> Result<Arc<Self>> {
        let ca = reqwest::Certificate::from_pem(state.cluster.ca_cert.as_bytes())?;
        let client = Client::builder()
            .tls_certs_only([ca])
            .connect_timeout(Duration::from_millis(900))
            .timeout(Duration::from_secs(5))
            .no_proxy()
            .build()?;
        disk.save(&me.name, &state)?;
        Ok(Arc::new(Self {
            me,
            state: RwLock::new(state),
            disk,
            client,
            leading: AtomicBool::new(false),
            leader: AtomicU64::new(0),
            commits: Mutex::new(()),
        }))
    }

    /// Reads the state.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        match self.state.read() {
            Ok(state) => look(&state),
            Err(poisoned) => look(&poisoned.into_inner()),
        }
    }

    fn replace(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let mut state = match self.state.write() {
            Ok(state) => state,
            Err(poisoned) => poisoned.into_inner(),
        };
        change(&mut state);
        self.disk.save(&self.me.name, &state)
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.leading.load(Ordering::SeqCst)
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            id: self.me.id,
            leader: self.is_leader(),
            revision: self.read(|state| state.revision),
        }
    }

    /// Whether this server is still in the member list, and a voter.
    pub(crate) fn membership(&self) -> Option<Member> {
        self.read(|state| {
            state
                .members
                .iter()
                .find(|member| member.id == self.me.id)
                .cloned()
        })
    }

    /// Changes the state as leader: replicates to every member and returns once a majority of voters has it.
    pub(crate) async fn commit<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        let _one = self.commits.lock().await;
        if !self.is_leader() {
            return Err(Fail::new("etcdserver: not leader"));
        }
        let old = self.read(Clone::clone);
        let mut new = old.clone();
        let out = change(&mut new)?;
        if new.objects == old.objects && new.members == old.members {
            return Ok(out);
        }
        new.revision = old.revision + 1;
        let delta = Delta::between(&old, &new);
        self.replicate(&old, &new, &delta).await?;
        self.replace(|state| *state = new)?;
        Ok(out)
    }

    async fn replicate(&self, old: &State, new: &State, delta: &Delta) -> Result<()> {
        // the quorum is that of the members before the change, except when one leaves
        let voters: Vec<&Member> = if new.members.len() < old.members.len() {
            new.voters().collect()
        } else {
            old.voters().collect()
        };
        let majority = voters.len() / 2 + 1;
        let mut acks = usize::from(voters.iter().any(|member| member.id == self.me.id));
        let mut waiting = FuturesUnordered::new();
        for member in new.members.iter().filter(|member| member.id != self.me.id) {
            let (client, member, delta, full) = (
                self.client.clone(),
                member.clone(),
                delta.clone(),
                new.clone(),
            );
            waiting.push(tokio::spawn(async move {
                let sent = post::<_, Value>(&client, &member, &full, "delta", &delta).await;
                if sent.is_err() {
                    post::<_, Value>(&client, &member, &full, "document", &full).await?;
                }
                Ok::<Member, Fail>(member)
            }));
        }
        while acks < majority {
            match waiting.next().await {
                Some(Ok(Ok(member))) if !member.learner => acks += 1,
                Some(_) => {}
                None => return Err(Fail::new("etcdserver: request timed out (no quorum)")),
            }
        }
        Ok(())
    }

    /// Takes a leader's change; fails where this copy is not the one it was made on.
    pub(crate) fn take_delta(&self, delta: Delta) -> Result<()> {
        if self.read(|state| state.revision) != delta.before {
            return Err(Fail::new("revision differs"));
        }
        self.replace(|state| delta.apply(state))
    }

    pub(crate) fn take_document(&self, document: State) -> Result<()> {
        self.replace(|state| *state = document)
    }

    /// Finds the leader; makes one where there is none and a majority of voters can be reached.
    pub(crate) async fn leader(&self) -> Result<Leader> {
        if self.is_leader() {
            return Ok(Leader::Me);
        }
        let known = self.leader.load(Ordering::SeqCst);
        let state = self.read(Clone::clone);
        if let Some(member) = state.members.iter().find(|member| member.id == known)
            && self
                .ask(member, &state)
                .await
                .is_ok_and(|status| status.leader)
        {
            return Ok(Leader::Other(member.clone()));
        }
        self.elect(&state).await
    }

    async fn ask(&self, member: &Member, state: &State) -> Result<Status> {
        get(&self.client, member, state, "status").await
    }

    async fn elect(&self, state: &State) -> Result<Leader> {
        let others = state.voters().filter(|member| member.id != self.me.id);
        let answers = futures_util::future::join_all(
            others.map(|member| async { (member.clone(), self.ask(member, state).await) }),
        )
        .await;
        let mut alive: Vec<(Member, Status)> = answers
            .into_iter()
            .filter_map(|(member, status)| Some((member, status.ok()?)))
            .collect();
        if let Some((member, _)) = alive.iter().find(|(_, status)| status.leader) {
            self.leader.store(member.id, Ordering::SeqCst);
            return Ok(Leader::Other(member.clone()));
        }
        if self.membership().is_some_and(|me| !me.learner) {
            alive.push((self.me.clone(), self.status()));
        }
        if alive.len() < state.voters().count() / 2 + 1 {
            return Err(Fail::new("etcdserver: no leader"));
        }
        let best = alive
            .iter()
            .max_by_key(|(member, status)| (status.revision, std::cmp::Reverse(member.id)));
        let (member, _) = best.context("etcdserver: no leader")?;
        if member.id == self.me.id {
            self.leading.store(true, Ordering::SeqCst);
            self.leader.store(self.me.id, Ordering::SeqCst);
            return Ok(Leader::Me);
        }
        post::<_, Value>(&self.client, member, state, "lead", &()).await?;
        self.leader.store(member.id, Ordering::SeqCst);
        Ok(Leader::Other(member.clone()))
    }

    /// Brings this copy up to the leader's.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        if let Leader::Other(member) = self.leader().await? {
            let state = self.read(Clone::clone);
            let status = self.ask(&member, &state).await?;
            if status.revision != state.revision {
                let document: State = get(&self.client, &member, &state, "document").await?;
                // a delta may have come in meanwhile: only a newer copy replaces ours
                if document.revision > self.read(|state| state.revision)
                    || status.revision < state.revision
                {
                    self.take_document(document)?;
                }
            }
        }
        Ok(())
    }

    /// Passes a request to the leader's own handler.
    pub(crate) async fn forward<B: Serialize, T: DeserializeOwned>(
        &self,
        member: &Member,
        what: &str,
        body: &B,
    ) -> Result<T> {
        let state = self.read(Clone::clone);
        post(&self.client, member, &state, what, body).await
    }
}

fn url(member: &Member, what: &str) -> String {
    format!("https://{}:2380/standin/{what}", member.address)
}

async fn get<T: DeserializeOwned>(
    client: &Client,
    member: &Member,
    state: &State,
    what: &str,
) -> Result<T> {
    let request = client
        .get(url(member, what))
        .bearer_auth(&state.cluster.server_password);
    read(request.send().await?).await
}

async fn post<B: Serialize, T: DeserializeOwned>(
    client: &Client,
    member: &Member,
    state: &State,
    what: &str,
    body: &B,
) -> Result<T> {
    let request = client
        .post(url(member, what))
        .bearer_auth(&state.cluster.server_password);
    read(request.json(body).send().await?).await
}

async fn read<T: DeserializeOwned>(response: reqwest::Response) -> Result<T> {
    let status = response.status();
    let bytes = response.bytes().await?;
    if !status.is_success() {
        return Err(Fail::new(String::from_utf8_lossy(&bytes).into_owned()));
    }
    Ok(serde_json::from_slice(&bytes)?)
}
