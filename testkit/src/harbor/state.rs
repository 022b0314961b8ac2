//! Who may do what in which project, and what a project holds.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A right on a project's repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Right {
    /// Read repositories.
    Pull,
    /// Write repositories.
    Push,
    /// Read the project itself.
    Read,
    /// Read the project's quota.
    Quota,
}

/// A user or robot.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// The login name; a robot's begins with `robot$`.
    pub name: String,
    /// The password or secret.
    pub password: String,
    /// Whether it may do everything.
    pub admin: bool,
    /// Its rights by project; `*` stands for every project.
    pub rights: BTreeMap<String, BTreeSet<Right>>,
}

impl Account {
    /// Returns an administrator.
    #[must_use]
    pub fn admin(name: &str, password: &str) -> Self {
        Self {
            admin: true,
            ..Self::with(name, password, "*", &[])
        }
    }

    /// Returns a project's robot that may push and pull.
    #[must_use]
    pub fn pusher(project: &str, password: &str) -> Self {
        let name = format!("robot${project}+push");
        Self::with(
            &name,
            password,
            project,
            &[Right::Pull, Right::Push, Right::Read, Right::Quota],
        )
    }

    /// Returns a project's robot that may only pull.
    #[must_use]
    pub fn puller(project: &str, password: &str) -> Self {
        Self::with(
            &format!("robot${project}+pull"),
            password,
            project,
            &[Right::Pull],
        )
    }

    /// Returns an account with these rights on one project.
    #[must_use]
    pub fn with(name: &str, password: &str, project: &str, rights: &[Right]) -> Self {
        Self {
            name: name.to_owned(),
            password: password.to_owned(),
            admin: false,
            rights: BTreeMap::from([(project.to_owned(), rights.iter().copied().collect())]),
        }
    }
}

/// A project and its policies.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Whether anybody may pull.
    pub public: bool,
    /// Bytes it may hold; `None` is without limit.
    pub quota: Option<u64>,
    /// Whether every tag is immutable.
    pub immutable_tags: bool,
    /// Whether only images with a cosign signature may be pulled.
    pub content_trust: bool,
    /// Whether it is a pull-through cache, which nobody may push to.
    pub proxy: bool,
}

impl Project {
    /// Returns a private project without limits or policies.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// What a project has taken in.
#[derive(Debug, Default)]
pub(super) struct Holding {
    pub(super) id: u64,
    pub(super) project: Project,
    /// Sizes of blobs and manifests by digest.
    pub(super) sizes: HashMap<String, u64>,
    /// Digest by `repository:tag`.
    pub(super) tags: HashMap<String, String>,
    /// `repository@digest` of what has a cosign signature.
    pub(super) signed: BTreeSet<String>,
    /// `repository@digest` of signatures.
    pub(super) signatures: BTreeSet<String>,
    /// Descriptors of referrers, by `repository@subject`.
    pub(super) referrers: BTreeMap<String, Vec<Value>>,
}

/// Everything that Harbor's database would hold.
#[derive(Debug)]
pub(super) struct State {
    accounts: Vec<Account>,
    pub(super) projects: BTreeMap<String, Holding>,
    pub(super) read_only: bool,
    pub(super) creation_admin_only: bool,
    next_id: u64,
    locked: HashMap<String, Instant>,
}

impl State {
    pub(super) fn new(accounts: Vec<Account>, projects: Vec<Project>, admin_only: bool) -> Self {
        let mut state = Self {
            accounts,
            projects: BTreeMap::new(),
            read_only: false,
            creation_admin_only: admin_only,
            next_id: 2,
            locked: HashMap::new(),
        };
        state.set_project(Project {
            public: true,
            ..Project::named("library")
        });
        for project in projects {
            state.set_project(project);
        }
        state
    }

    pub(super) fn set_project(&mut self, project: Project) {
        self.next_id += 1;
        let id = self.next_id;
        let holding = self.projects.entry(project.name.clone()).or_default();
        if holding.id == 0 {
            holding.id = id;
        }
        holding.project = project;
    }

    pub(super) fn set_account(&mut self, account: Account) {
        self.accounts.retain(|other| other.name != account.name);
        self.accounts.push(account);
    }

    pub(super) fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// Checks a login. A wrong password also locks the name for 1.5 s.
    pub(super) fn login(&mut self, name: &str, password: &str) -> bool {
        let now = Instant::now();
        if self.locked.get(name).is_some_and(|until| *until > now) {
            return false;
        }
        let right = self
            .account(name)
            .is_some_and(|account| account.password == password);
        if !right {
            self.locked
                .insert(name.to_owned(), now + Duration::from_millis(1500));
        }
        right
    }

    /// Whether somebody has a right on a project; `None` is nobody in particular.
    pub(super) fn may(&self, user: Option<&str>, project: &str, right: Right) -> bool {
        let Some(holding) = self.projects.get(project) else {
            return false;
        };
        if right == Right::Pull && holding.project.public {
            return true;
        }
        let Some(account) = user.and_then(|user| self.account(user)) else {
            return false;
        };
        account.admin
            || ["*", project].iter().any(|scope| {
                account
                    .rights
                    .get(*scope)
                    .is_some_and(|rights| rights.contains(&right))
            })
    }

    /// Whether the project is there and this account may know.
    pub(super) fn sees(&self, user: &str, project: &str) -> bool {
        self.projects.contains_key(project)
            && (self.account(user).is_some_and(|account| account.admin)
                || self.may(Some(user), project, Right::Read)
                || self.projects[project].project.public)
    }

    pub(super) fn used(&self, project: &str) -> u64 {
        self.projects
            .get(project)
            .map_or(0, |holding| holding.sizes.values().sum())
    }

    /// Returns the words of the refusal when `size` more bytes under `digest` exceed the quota.
    pub(super) fn over_quota(
        &self,
        project: &str,
        digest: Option<&str>,
        size: u64,
    ) -> Option<String> {
        let holding = self.projects.get(project)?;
        let limit = holding.project.quota?;
        if digest.is_some_and(|digest| holding.sizes.contains_key(digest)) {
            return None;
        }
        let used = self.used(project);
        (used + size > limit).then(|| {
            format!(
                "adding {size} of storage resource, which when updated to current usage of {} will exceed the configured upper limit of {limit}.",
                used + size
            )
        })
    }

    pub(super) fn hold(&mut self, project: &str, digest: &str, size: u64) {
        if let Some(holding) = self.projects.get_mut(project) {
            holding.sizes.insert(digest.to_owned(), size);
        }
    }
}
