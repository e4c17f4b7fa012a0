//! This node's account: taking a name, proving it again, keeping the credential fresh.
//!
//! [`Accounts`] asks the login service and keeps what it gives in the data folder. The daemon has
//! one over its own endpoint; [`Session`] is for commands while no daemon runs.

mod renewal;

pub use renewal::RenewalSchedule;

use crate::api::types::{
    ApiError, ErrorCode, Identity, LoginAccount, RegisterAccount, ReputationStatus, RevokeNode,
};
use crate::home::{Home, HomeError, InstanceLock, TicketChange};
use crate::metrics::{LoginMetrics, Reason};
use skein_login::{LoginClient, LoginError};
use skein_net::{BindError, CloseReason, Endpoint, EndpointConfig, bind_everywhere};
use skein_overlay::reputation::assess_record;
use skein_overlay::reputation::formula::Assessment;
use skein_proto::login::LoginRefusal;
use skein_proto::{NameError, NodeId, SignedCredential, Ticket, TicketError, UnixTime, Username};
use thiserror::Error;

/// Why an account could not be had or kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The node belongs to no network: the user has to say which.
    #[error("this node is in no network yet: give the network's ticket with --ticket")]
    NoTicket,
    /// The user gave something that is no ticket.
    #[error(transparent)]
    BadTicket(#[from] TicketError),
    /// The user gave something that is no name.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// The login service says no, or does not answer.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The ticket is another network's than the one in which this node has a name, and the caller
    /// did not say that it shall leave that one.
    #[error("{0}, or replace the network here to forget that name")]
    OtherNetwork(#[source] HomeError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Home(HomeError),
    /// This node has no name whose nodes it could cast out.
    #[error("this node has no name: run `skein login NAME` first")]
    NoName,
    /// The user wants to cast out the node that asks.
    #[error("that is this node itself: cast it out from another one of yours")]
    OwnNode,
    /// The name has no such node, as far as the login service knows.
    #[error("@{name} has no node {}", .node.short())]
    NoSuchNode {
        /// The name.
        name: Username,
        /// The node.
        node: NodeId,
    },
    /// There is no UDP socket to be had.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] BindError),
}

impl AccountError {
    /// Whether the same may succeed later, without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Login(error) => error.is_temporary(),
            Self::Socket(_) | Self::Home(HomeError::Io { .. }) => true,
            _ => false,
        }
    }

    /// How long the login service wants to be left alone, in seconds.
    pub fn retry_secs(&self) -> Option<u32> {
        match self {
            Self::Login(LoginError::Refused(LoginRefusal::RateLimited { retry_secs })) => {
                Some(*retry_secs)
            }
            _ => None,
        }
    }
}

impl From<HomeError> for AccountError {
    fn from(error: HomeError) -> Self {
        match error {
            HomeError::OtherNetwork { .. } => Self::OtherNetwork(error),
            _ => Self::Home(error),
        }
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        let code = match &error {
            AccountError::NoTicket | AccountError::BadTicket(_) | AccountError::BadName(_) => {
                ErrorCode::BadRequest
            }
            AccountError::OtherNetwork(_) | AccountError::NoName | AccountError::OwnNode => {
                ErrorCode::Conflict
            }
            AccountError::NoSuchNode { .. } => ErrorCode::NotFound,
            AccountError::Login(LoginError::InviteTooLong) => ErrorCode::BadRequest,
            AccountError::Login(error) if !error.is_temporary() => ErrorCode::Refused,
            _ => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// What came of registering or logging in. All of it is in the data folder already.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Who this node is now.
    pub identity: Identity,
    /// The network that it is in.
    pub ticket: Ticket,
    /// Its credential.
    pub credential: SignedCredential,
    /// Whether it is another network than before.
    pub change: TicketChange,
}

/// Deals with the login service for one node.
#[derive(Debug)]
pub struct Accounts {
    home: Home,
    endpoint: Endpoint,
    metrics: LoginMetrics,
    /// One change of the account at a time: ticket and credential belong together.
    changing: tokio::sync::Mutex<()>,
}

impl Accounts {
    /// Asks over this endpoint, whose key is the node's, and keeps the answers in this folder.
    pub fn new(home: Home, endpoint: Endpoint, metrics: LoginMetrics) -> Self {
        Self { home, endpoint, metrics, changing: tokio::sync::Mutex::new(()) }
    }

    /// A client of the login service of this node's network.
    ///
    /// # Errors
    /// [`AccountError::NoTicket`], [`AccountError::Home`].
    pub fn client(&self) -> Result<LoginClient, AccountError> {
        let ticket = self.home.ticket()?.ok_or(AccountError::NoTicket)?;
        Ok(LoginClient::new(self.endpoint.clone(), ticket))
    }

    /// Who this node is, by what the data folder holds.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn identity(&self) -> Result<Identity, HomeError> {
        identity(&self.home, self.endpoint.node_id())
    }

    /// The name in a credential that another node was given, as [`lost_name`] says.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn lost_name(&self) -> Result<Option<Username>, HomeError> {
        lost_name(&self.home, self.endpoint.node_id())
    }

    /// Takes a new name, with this node as its first.
    ///
    /// # Errors
    /// [`AccountError`]; then the data folder is as it was.
    pub async fn register(&self, account: RegisterAccount) -> Result<Joined, AccountError> {
        let RegisterAccount { name, password, invite, ticket, replace_network } = account;
        let _changing = self.changing.lock().await;
        let name = Username::parse(&name)?;
        let ticket = self.wanted_ticket(ticket.as_deref(), replace_network)?;
        let client = LoginClient::new(self.endpoint.clone(), ticket);
        let answer = client.register(name, password, invite.as_deref()).await;
        self.keep(client.ticket(), answer)
    }

    /// Adds this node to a name that exists, or proves the name again.
    ///
    /// # Errors
    /// [`AccountError`]; then the data folder is as it was.
    pub async fn login(&self, account: LoginAccount) -> Result<Joined, AccountError> {
        let LoginAccount { name, password, ticket, replace_network } = account;
        let _changing = self.changing.lock().await;
        let name = Username::parse(&name)?;
        let ticket = self.wanted_ticket(ticket.as_deref(), replace_network)?;
        let client = LoginClient::new(self.endpoint.clone(), ticket);
        let answer = client.login(name, password).await;
        self.keep(client.ticket(), answer)
    }

    /// Gets a fresh credential. Needs no password: the connection proves the node's key.
    ///
    /// # Errors
    /// [`AccountError`]; then the old credential is still there.
    pub async fn renew(&self) -> Result<SignedCredential, AccountError> {
        let _changing = self.changing.lock().await;
        let client = self.client()?;
        let answer = client.renew().await;
        let credential = self.keep(client.ticket(), answer)?.credential;
        self.metrics.renewals.inc();
        Ok(credential)
    }

    /// Casts another node of this node's name out: it gets no more credentials.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn revoke(
        &self,
        RevokeNode { node, password }: RevokeNode,
    ) -> Result<(), AccountError> {
        let _changing = self.changing.lock().await;
        let own = self.identity()?;
        let name = own.name.ok_or(AccountError::NoName)?;
        if node == own.node {
            return Err(AccountError::OwnNode);
        }
        match self.client()?.revoke(name.clone(), password, node).await {
            Err(LoginError::Refused(LoginRefusal::NotRegistered)) => {
                Err(AccountError::NoSuchNode { name, node })
            }
            done => Ok(done?),
        }
    }

    /// The network to ask. A name in another one is given up only by somebody who says so.
    fn wanted_ticket(&self, given: Option<&str>, replace: bool) -> Result<Ticket, AccountError> {
        let Some(text) = given else {
            return self.home.ticket()?.ok_or(AccountError::NoTicket);
        };
        let ticket = text.parse()?;
        if !replace {
            self.home.check_network(&ticket)?;
        }
        Ok(ticket)
    }

    fn keep(
        &self,
        ticket: &Ticket,
        answer: Result<SignedCredential, LoginError>,
    ) -> Result<Joined, AccountError> {
        let credential = answer.inspect_err(|error| {
            let reason = Reason { reason: reason(error) };
            self.metrics.failures.get_or_create(&reason).inc();
        })?;
        // Only now, with the new network's word in hand, is the old network's credential dropped;
        // whether it may be was asked before.
        let change = self.home.replace_ticket(ticket)?;
        self.home.set_credential(&credential)?;
        let identity = self.identity()?;
        Ok(Joined { identity, ticket: ticket.clone(), credential, change })
    }
}

/// [`Accounts`] for a command while no daemon runs: the data folder is locked as long.
#[derive(Debug)]
pub struct Session {
    accounts: Accounts,
    _lock: InstanceLock,
}

impl Session {
    /// Makes the data folder and the node's key if they are not there, and opens a socket. Must
    /// be called within a tokio runtime.
    ///
    /// # Errors
    /// [`HomeError::Locked`] while a daemon runs: ask that one. [`AccountError::Home`],
    /// [`AccountError::Socket`].
    pub fn open(home: &Home) -> Result<Self, AccountError> {
        let home = Home::open(home.dir())?;
        home.is_for_a_node()?;
        let lock = home.lock()?;
        let key = home.node_key()?;
        let bind = |address| Endpoint::bind(&key, address, EndpointConfig::dial_only());
        let endpoint = bind_everywhere(0, bind)?;
        Ok(Self { accounts: Accounts::new(home, endpoint, LoginMetrics::default()), _lock: lock })
    }

    /// As [`Accounts::register`].
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn register(&self, account: RegisterAccount) -> Result<Joined, AccountError> {
        self.accounts.register(account).await
    }

    /// As [`Accounts::login`].
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn login(&self, account: LoginAccount) -> Result<Joined, AccountError> {
        self.accounts.login(account).await
    }

    /// As [`Accounts::revoke`].
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn revoke(&self, node: RevokeNode) -> Result<(), AccountError> {
        self.accounts.revoke(node).await
    }

    /// Takes leave of the login service.
    pub async fn close(self) {
        self.accounts.endpoint.close(CloseReason::Done).await;
    }
}

/// Who a node is, by what its data folder holds. The signature of the credential is not checked:
/// the folder is the user's own. A credential that another node was given gives no name, see
/// [`lost_name`].
///
/// # Errors
/// [`HomeError`].
pub fn identity(home: &Home, node: NodeId) -> Result<Identity, HomeError> {
    let credential = home.credential()?;
    let claimed = credential.as_ref().map(SignedCredential::unverified);
    let claimed = claimed.filter(|claimed| claimed.node == node);
    Ok(Identity {
        node,
        name: claimed.map(|claimed| claimed.name.clone()),
        credential_expires: claimed.map(|claimed| claimed.expires.0),
        ticket: home.ticket()?.map(|ticket| ticket.to_string()),
        data_dir: home.dir().to_owned(),
    })
}

/// The reputation of this node's name, as the data folder has it at a time: for a daemon that does
/// not run. A node without a name has that of a newcomer.
///
/// # Errors
/// [`HomeError`].
pub fn reputation(home: &Home, node: NodeId, now: UnixTime) -> Result<ReputationStatus, HomeError> {
    let record = home.evidence()?;
    let name = identity(home, node)?.name;
    let assessment = match (home.ticket()?, name) {
        (Some(ticket), Some(name)) => assess_record(&record, &name, &ticket.login_key, now.day()),
        _ => Assessment::default(),
    };
    Ok(assessment.into())
}

/// The name in the stored credential, if that was given to another node: the node's key has been
/// lost or replaced since. With its password the name can be had again.
///
/// # Errors
/// [`HomeError`].
pub fn lost_name(home: &Home, node: NodeId) -> Result<Option<Username>, HomeError> {
    let credential = home.credential()?;
    let claimed = credential.as_ref().map(SignedCredential::unverified);
    Ok(claimed.filter(|claimed| claimed.node != node).map(|claimed| claimed.name.clone()))
}

/// The word that a failure is counted under.
fn reason(error: &LoginError) -> &'static str {
    match error {
        LoginError::Refused(LoginRefusal::RateLimited { .. }) => "rate-limited",
        LoginError::Refused(_) => "refused",
        LoginError::Unreachable { .. } => "unreachable",
        LoginError::WrongService { .. } => "wrong-service",
        LoginError::BadReply(_) | LoginError::BadCredential(_) => "bad-reply",
        _ => "local",
    }
}

#[cfg(test)]
mod tests;
