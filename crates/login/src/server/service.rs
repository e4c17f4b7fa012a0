//! What the service answers. It knows nothing of sockets: a request comes with the key that the
//! connection has proven and the address that it came from.

use super::clock::Clock;
use super::config::{LoginConfig, Policy};
use super::limits::Limits;
use super::list::{self, MAX_CANDIDATES};
use super::password::{HashError, Hasher};
use super::reach::{DialBack, Reach, Reached};
use super::stats::{Counters, Stats};
use super::store::{InviteCode, NewAccount, Store, StoreError};
use crate::REPORT_EXPIRY;
use skein_proto::credential::Credential;
use skein_proto::login::{LoginRefusal, LoginReply, LoginRequest, Password};
use skein_proto::supernode::Load;
use skein_proto::{
    BoundedString, BoundedVec, KeyPair, NodeId, Signed, SignedCredential, SupernodeEntry,
    SupernodeList, UnixTime, Username,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long an invited node has for its first report: it becomes a supernode and reports at once,
/// so this is many times what it takes.
const INVITATION_LIFETIME: Duration = Duration::from_secs(60);

/// For how long the supernodes that were read from the store are good for further lists: a mass
/// restart then costs the store one look each two seconds.
const LIST_CACHE: Duration = Duration::from_secs(2);

/// When a node whose dial-back found no place should come back, in seconds: as long as the
/// longest dial.
const BUSY_RETRY_SECS: u32 = 5;

/// The service without its sockets.
#[derive(Debug)]
pub struct Service {
    key: KeyPair,
    store: Store,
    policy: Policy,
    credential_lifetime: Duration,
    nodes_per_name: u32,
    clock: Clock,
    limits: Arc<Limits>,
    hasher: Hasher,
    reach: Reach,
    candidates: Mutex<Option<(Duration, Arc<Vec<SupernodeEntry>>)>>,
    counters: Arc<Counters>,
}

/// Why a request gets no answer of its own kind.
#[derive(Debug)]
enum Failure {
    Refused(LoginRefusal),
    Store(StoreError),
    Hash(HashError),
}

impl From<LoginRefusal> for Failure {
    fn from(refusal: LoginRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => Self::Refused(refusal),
            error => Self::Store(error),
        }
    }
}

impl From<HashError> for Failure {
    fn from(error: HashError) -> Self {
        Self::Hash(error)
    }
}

impl Service {
    /// A service with this key and store. Settings of `config` that are about sockets and files
    /// have no meaning here.
    ///
    /// # Errors
    /// When the machine has not the 19 MiB for one password hash.
    pub fn new(
        config: &LoginConfig,
        key: KeyPair,
        store: Store,
        dialer: Box<dyn DialBack>,
    ) -> Result<Self, std::io::Error> {
        let counters = Arc::<Counters>::default();
        let clock = config.clock.clone();
        let hasher = Hasher::new(rand::random(), Arc::clone(&counters))
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::OutOfMemory, error))?;
        let limits = Limits::new(&config.rate_limits, &clock, Arc::clone(&counters));
        let limits = Arc::new(limits);
        Ok(Self {
            key,
            store,
            policy: config.policy,
            credential_lifetime: config.credential_lifetime,
            nodes_per_name: config.nodes_per_name,
            hasher,
            reach: Reach::new(dialer, Arc::clone(&limits), clock.clone(), Arc::clone(&counters)),
            limits,
            clock,
            candidates: Mutex::new(None),
            counters,
        })
    }

    /// Who the service is.
    pub fn node_id(&self) -> NodeId {
        self.key.node_id()
    }

    /// What the service has done so far.
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// A new invite code, good once within `lifetime`.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn create_invite(&self, lifetime: Duration) -> Result<InviteCode, StoreError> {
        create_invite(&self.store, self.clock.unix(), lifetime).await
    }

    /// Forgets supernodes that have not reported for long.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        self.store.forget_supernodes(self.oldest_live()).await.map(drop)
    }

    /// Answers a request of `peer`, who has proven that key and was seen at `from`.
    pub async fn handle(
        &self,
        peer: NodeId,
        from: SocketAddr,
        request: LoginRequest,
    ) -> LoginReply {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        self.counters.requests.add();
        let failure = match self.answer(peer, from, request).await {
            Ok(reply) => return reply,
            Err(failure) => failure,
        };
        self.counters.refused.add();
        LoginReply::Refused(match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Hash(error) => {
                tracing::warn!(%error, "a password could not be checked");
                LoginRefusal::Unavailable
            }
            Failure::Store(error) => {
                self.counters.store_failures.add();
                tracing::error!(%error, "a request could not be answered");
                LoginRefusal::Unavailable
            }
        })
    }

    async fn answer(
        &self,
        peer: NodeId,
        from: SocketAddr,
        request: LoginRequest,
    ) -> Result<LoginReply, Failure> {
        self.limits.request(from.ip())?;
        match request {
            LoginRequest::Register { name, password, invite } => {
                self.register(peer, from.ip(), &name, password, invite).await
            }
            LoginRequest::Login { name, password } => {
                self.log_in(peer, from.ip(), &name, password).await
            }
            LoginRequest::Renew => self.renew(peer).await,
            LoginRequest::Revoke { name, password, node } => {
                self.check_password(from.ip(), &name, password).await?;
                let now = self.clock.unix();
                self.store.revoke(&name, node, self.nodes_per_name, now).await?;
                self.forget_candidates().await;
                self.counters.revoked.add();
                Ok(LoginReply::Revoked)
            }
            LoginRequest::Bootstrap { willing, listen } => {
                self.bootstrap(peer, from, willing, &listen).await
            }
            LoginRequest::Report { load, listen } => {
                self.report(peer, from.ip(), load, &listen).await
            }
        }
    }

    async fn register(
        &self,
        peer: NodeId,
        from: IpAddr,
        name: &Username,
        password: Password,
        invite: Option<BoundedString<64>>,
    ) -> Result<LoginReply, Failure> {
        // Whoever registers again with the same node may have lost the answer: it is a login.
        if let Some(record) = self.store.node(peer).await? {
            if record.name != *name {
                return Err(LoginRefusal::OtherName.into());
            }
            return self.log_in(peer, from, name, password).await;
        }
        if self.policy == Policy::Closed {
            return Err(LoginRefusal::Closed.into());
        }
        if !password.is_long_enough() {
            return Err(LoginRefusal::WeakPassword.into());
        }
        let code = invite.map(|code| InviteCode::typed(&code));
        let code = match (self.policy, code) {
            (Policy::Invite, None) => return Err(LoginRefusal::InviteNeeded.into()),
            (Policy::Invite, code) => code,
            (Policy::Open | Policy::Closed, _) => None,
        };
        self.limits.registration(from)?;
        let now = self.clock.unix();
        // Both are decided again by the transaction; asking first spares a hash.
        if let Some(code) = &code
            && !self.store.is_invited(code, now).await?
        {
            return Err(LoginRefusal::BadInvite.into());
        }
        if self.store.is_taken(name).await? {
            return Err(LoginRefusal::NameTaken.into());
        }
        let password_hash = self.hasher.hash(password, rand::random()).await?;
        let expires = now.plus(self.credential_lifetime);
        let (node, invite) = (peer, code.as_ref());
        let password_hash = &password_hash;
        self.store.register(NewAccount { name, password_hash, node, invite, now, expires }).await?;
        self.counters.registered.add();
        tracing::info!(%name, node = %peer.short(), "registered");
        self.credential(name.clone(), peer, now, expires).await
    }

    async fn log_in(
        &self,
        peer: NodeId,
        from: IpAddr,
        name: &Username,
        password: Password,
    ) -> Result<LoginReply, Failure> {
        self.check_password(from, name, password).await?;
        let now = self.clock.unix();
        let expires = now.plus(self.credential_lifetime);
        self.store.log_in(name, peer, self.nodes_per_name, now, expires).await?;
        self.counters.logged_in.add();
        self.credential(name.clone(), peer, now, expires).await
    }

    async fn renew(&self, peer: NodeId) -> Result<LoginReply, Failure> {
        let now = self.clock.unix();
        let expires = now.plus(self.credential_lifetime);
        let name = self.store.renew(peer, expires).await?;
        self.counters.renewed.add();
        self.credential(name, peer, now, expires).await
    }

    async fn credential(
        &self,
        name: Username,
        node: NodeId,
        issued: UnixTime,
        expires: UnixTime,
    ) -> Result<LoginReply, Failure> {
        let registered = self.store.registered(&name).await?;
        let credential = Credential { name, node, issued, expires, registered };
        Ok(LoginReply::Credential(SignedCredential::new(credential, &self.key)))
    }

    async fn check_password(
        &self,
        from: IpAddr,
        name: &Username,
        password: Password,
    ) -> Result<(), Failure> {
        self.limits.attempt(from, name)?;
        let recorded = self.store.password_hash(name).await?;
        if self.hasher.verify(password, recorded).await? {
            return Ok(());
        }
        self.limits.wrong_password(from, name);
        Err(LoginRefusal::WrongPassword.into())
    }

    async fn bootstrap(
        &self,
        peer: NodeId,
        from: SocketAddr,
        willing: bool,
        listen: &BoundedVec<SocketAddr, 4>,
    ) -> Result<LoginReply, Failure> {
        let candidates = self.candidates().await?;
        let invited =
            willing && candidates.is_empty() && self.invite(peer, from.ip(), listen).await?;
        let entries = list::choose(candidates.to_vec(), &mut rand::rng());
        let list = SupernodeList { issued: self.clock.unix(), entries };
        self.counters.bootstraps.add();
        let list = Signed::new(list, &self.key);
        Ok(LoginReply::Bootstrap { list, invited, observed: from })
    }

    /// Whether `peer` is the one to be the first supernode. Only one invitation is pending at a
    /// time, so that a mass start makes one supernode, to which the others attach.
    async fn invite(
        &self,
        peer: NodeId,
        from: IpAddr,
        listen: &BoundedVec<SocketAddr, 4>,
    ) -> Result<bool, Failure> {
        match self.store.pending_invitation(self.clock.unix()).await? {
            Some(node) => return Ok(node == peer),
            None if self.check_record(peer).await.is_err() => return Ok(false),
            None => {}
        }
        match self.reach.check(peer, from, listen).await {
            Reached::At(addresses) if !addresses.is_empty() => {}
            Reached::At(_) | Reached::Busy => return Ok(false),
        }
        // While this one was dialled, another one may have come up.
        if !self.candidates().await?.is_empty() {
            return Ok(false);
        }
        let now = self.clock.unix();
        let claimed = self.store.claim_invitation(peer, now, now.plus(INVITATION_LIFETIME)).await?;
        if claimed {
            self.counters.invited.add();
            tracing::info!(node = %peer.short(), "invited to be the first supernode");
        }
        Ok(claimed)
    }

    async fn report(
        &self,
        peer: NodeId,
        from: IpAddr,
        load: Load,
        listen: &BoundedVec<SocketAddr, 4>,
    ) -> Result<LoginReply, Failure> {
        self.check_record(peer).await?;
        let addresses = match self.reach.check(peer, from, listen).await {
            Reached::At(addresses) => addresses,
            Reached::Busy => {
                return Err(LoginRefusal::RateLimited { retry_secs: BUSY_RETRY_SECS }.into());
            }
        };
        self.counters.reports.add();
        if addresses.is_empty() {
            self.store.remove_supernode(peer).await?;
            self.forget_candidates().await;
            return Ok(LoginReply::Reported { reachable: false });
        }
        // It may have been revoked during the dial, which takes seconds, and must not come back.
        self.check_record(peer).await?;
        let seen = self.clock.unix();
        let load_percent = load.percent();
        self.store
            .put_supernode(&SupernodeEntry { node: peer, addresses, load_percent, seen })
            .await?;
        self.forget_candidates().await;
        Ok(LoginReply::Reported { reachable: true })
    }

    /// Refuses a node that has no valid credential on record.
    async fn check_record(&self, peer: NodeId) -> Result<(), Failure> {
        let record = self.store.node(peer).await?.ok_or(LoginRefusal::NotRegistered)?;
        if record.revoked {
            return Err(LoginRefusal::NodeRevoked.into());
        }
        if record.expires <= self.clock.unix() {
            return Err(LoginRefusal::NotRegistered.into());
        }
        Ok(())
    }

    async fn candidates(&self) -> Result<Arc<Vec<SupernodeEntry>>, Failure> {
        // The lock is held over the look into the store, so that a crowd looks once.
        let mut cached = self.candidates.lock().await;
        let now = self.clock.steady();
        if let Some((at, entries)) = &*cached
            && now.saturating_sub(*at) < LIST_CACHE
        {
            return Ok(Arc::clone(entries));
        }
        let entries = self.store.supernodes_since(self.oldest_live(), MAX_CANDIDATES).await?;
        let entries = Arc::new(entries);
        *cached = Some((now, Arc::clone(&entries)));
        Ok(entries)
    }

    async fn forget_candidates(&self) {
        *self.candidates.lock().await = None;
    }

    fn oldest_live(&self) -> UnixTime {
        UnixTime(self.clock.unix().0.saturating_sub(REPORT_EXPIRY.as_secs()))
    }
}

/// Makes an invite code in a store, for whoever has no running service at hand.
pub(super) async fn create_invite(
    store: &Store,
    now: UnixTime,
    lifetime: Duration,
) -> Result<InviteCode, StoreError> {
    let code = InviteCode::from_random(&rand::random());
    store.add_invite(&code, now, now.plus(lifetime)).await?;
    Ok(code)
}
