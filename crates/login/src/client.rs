//! What a node asks of the login service.

use skein_net::{Connection, DialError, Endpoint, StreamError};
use skein_proto::login::{LoginRefusal, LoginReply, LoginRequest, Password};
use skein_proto::supernode::Load;
use skein_proto::{
    BoundedString, BoundedVec, CredentialError, Message, NodeId, SignedCredential, SupernodeList,
    Ticket, UnixTime, Username,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long an answer may take, once there is a connection: the service may have to wait some
/// seconds for its turn to hash a password, or for a dial-back.
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the host names of a ticket may take to resolve: the usual patience of a resolver for
/// its first server.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many addresses are tried at most, however many the host names of the ticket have.
const MAX_ADDRESSES: usize = 8;

/// Why a request got no good answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The service said no, and why.
    #[error(transparent)]
    Refused(#[from] LoginRefusal),
    /// No address of the ticket answered: the service is down, or the network is. Try again later.
    #[error(
        "the login service at {addresses} cannot be reached ({why}): is it running, and is the \
         ticket current?"
    )]
    Unreachable {
        /// The addresses of the ticket.
        addresses: String,
        /// What went wrong.
        why: String,
    },
    /// Somebody else answered: the ticket is of another network, or somebody is in between.
    #[error(
        "the login service at {address} has another key than the network ticket says: \
         ask whoever runs the network for a new ticket"
    )]
    WrongService {
        /// Where it answered.
        address: SocketAddr,
    },
    /// The service is there, but answers nonsense or not at all: it is out of order, or of a
    /// version that this node does not understand.
    #[error("the login service gave a bad answer: {0}")]
    BadReply(String),
    /// The service gave a credential that is not worth anything to this node.
    #[error("the login service gave a credential that is no good: {0}")]
    BadCredential(#[from] CredentialError),
    /// The invite code is longer than any code.
    #[error("an invite code has at most 64 characters")]
    InviteTooLong,
    /// This node cannot dial at present.
    #[error("cannot dial the login service: {0}")]
    Local(String),
}

impl LoginError {
    /// Whether the same request may succeed later, without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BadReply(_) | Self::Local(_) => true,
            Self::Refused(refusal) => {
                matches!(refusal, LoginRefusal::RateLimited { .. } | LoginRefusal::Unavailable)
            }
            Self::WrongService { .. } | Self::BadCredential(_) | Self::InviteTooLong => false,
        }
    }
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The supernodes to try; the service's signature was verified.
    pub list: SupernodeList,
    /// The network has no supernode: be the first one, and report at once.
    pub invited: bool,
    /// The address that the service sees this node at.
    pub observed: SocketAddr,
}

/// Asks the login service, over the node's own endpoint. Clones are cheap; any number of requests
/// may be under way.
///
/// Every request can be repeated without harm, and is, once, when the connection that it went
/// out on turns out to be dead.
#[derive(Clone)]
pub struct LoginClient {
    endpoint: Endpoint,
    ticket: Arc<Ticket>,
    now: Arc<dyn Fn() -> UnixTime + Send + Sync>,
}

impl std::fmt::Debug for LoginClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginClient").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

impl LoginClient {
    /// A client of the service that the ticket names. Nothing is dialled yet.
    pub fn new(endpoint: Endpoint, ticket: Ticket) -> Self {
        Self::with_clock(endpoint, ticket, || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            UnixTime(since.map_or(0, |since| since.as_secs()))
        })
    }

    /// The same with a calendar of the caller's, against which credentials are checked.
    pub fn with_clock(
        endpoint: Endpoint,
        ticket: Ticket,
        now: impl Fn() -> UnixTime + Send + Sync + 'static,
    ) -> Self {
        Self { endpoint, ticket: Arc::new(ticket), now: Arc::new(now) }
    }

    /// The ticket that it goes by.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Takes a new name, with this node as its first.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn register(
        &self,
        name: Username,
        password: Password,
        invite: Option<&str>,
    ) -> Result<SignedCredential, LoginError> {
        let invite = invite
            .map(|code| BoundedString::new(code.trim()))
            .transpose()
            .map_err(|_| LoginError::InviteTooLong)?;
        let expected = name.clone();
        let request = LoginRequest::Register { name, password, invite };
        self.credential(request, Some(&expected)).await
    }

    /// Adds this node to a name that exists.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn login(
        &self,
        name: Username,
        password: Password,
    ) -> Result<SignedCredential, LoginError> {
        let expected = name.clone();
        self.credential(LoginRequest::Login { name, password }, Some(&expected)).await
    }

    /// A fresh credential for this node, without a password.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn renew(&self) -> Result<SignedCredential, LoginError> {
        self.credential(LoginRequest::Renew, None).await
    }

    /// Casts out a node of the name: it gets no more credentials.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn revoke(
        &self,
        name: Username,
        password: Password,
        node: NodeId,
    ) -> Result<(), LoginError> {
        match self.ask(LoginRequest::Revoke { name, password, node }).await? {
            LoginReply::Revoked => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// The supernodes to try first. Needs no account. A node that is `willing`, has a credential
    /// and can be reached at `listen` may be invited to be the first supernode of an empty
    /// network; an unspecified address in `listen` stands for the one that the service sees.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn bootstrap(
        &self,
        willing: bool,
        listen: &[SocketAddr],
    ) -> Result<Bootstrap, LoginError> {
        let listen = BoundedVec::truncated(listen.iter().copied());
        match self.ask(LoginRequest::Bootstrap { willing, listen }).await? {
            LoginReply::Bootstrap { list, invited, observed } => {
                let list = list
                    .verify(&self.ticket.login_key)
                    .map_err(|_| LoginError::BadReply("the list is not signed by it".to_owned()))?
                    .clone();
                Ok(Bootstrap { list, invited, observed })
            }
            _ => Err(unexpected()),
        }
    }

    /// Says that this node is a supernode, and how full it is. To be repeated each
    /// [`REPORT_INTERVAL`](crate::REPORT_INTERVAL). The answer is whether the service could reach
    /// it; only then it is listed.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn report(&self, load: Load, listen: &[SocketAddr]) -> Result<bool, LoginError> {
        let listen = BoundedVec::truncated(listen.iter().copied());
        match self.ask(LoginRequest::Report { load, listen }).await? {
            LoginReply::Reported { reachable } => Ok(reachable),
            _ => Err(unexpected()),
        }
    }

    async fn credential(
        &self,
        request: LoginRequest,
        name: Option<&Username>,
    ) -> Result<SignedCredential, LoginError> {
        let LoginReply::Credential(credential) = self.ask(request).await? else {
            return Err(unexpected());
        };
        let bearer = self.endpoint.node_id();
        let checked = credential.check(&self.ticket.login_key, &bearer, (self.now)())?;
        if name.is_some_and(|name| *name != checked.name) {
            return Err(LoginError::BadReply("the credential is for another name".to_owned()));
        }
        Ok(credential)
    }

    async fn ask(&self, request: LoginRequest) -> Result<LoginReply, LoginError> {
        let message = Message::LoginRequest(request);
        let (connection, is_reused) = self.connect().await?;
        let mut answer = exchange(&connection, &message).await;
        if is_reused && matches!(answer, Err(StreamError::Connection(_))) {
            // The service hangs up on those who have been silent: this one had been.
            let (connection, _) = self.connect().await?;
            answer = exchange(&connection, &message).await;
        }
        match answer {
            Ok(Some(Message::LoginReply(LoginReply::Refused(refusal)))) => Err(refusal.into()),
            Ok(Some(Message::LoginReply(reply))) => Ok(reply),
            Ok(_) => Err(unexpected()),
            Err(StreamError::Connection(error)) => Err(self.unreachable(error.to_string())),
            Err(error) => Err(LoginError::BadReply(error.to_string())),
        }
    }

    /// A connection to the service, and whether it was there before.
    async fn connect(&self) -> Result<(Connection, bool), LoginError> {
        let addresses = self.resolve().await?;
        let asked = tokio::time::Instant::now();
        let connection = self.endpoint.connect(self.ticket.login_key, &addresses).await;
        let connection = connection.map_err(|error| match error {
            DialError::WrongIdentity { address, .. } => LoginError::WrongService { address },
            DialError::Closed | DialError::OverLimit { .. } | DialError::Own => {
                LoginError::Local(error.to_string())
            }
            // Which addresses were tried is said already.
            DialError::Unreachable { .. } => self.unreachable("no answer in time".to_owned()),
            error => self.unreachable(error.to_string()),
        })?;
        let is_reused = connection.established_at() < asked;
        Ok((connection, is_reused))
    }

    /// The socket addresses of the ticket, in its order, those of IPv4 first: the service tells others
    /// to find this node where it sees it, and more of them have IPv4. Names are looked up side by
    /// side.
    async fn resolve(&self) -> Result<Vec<SocketAddr>, LoginError> {
        let mut lookups = JoinSet::new();
        for (place, address) in self.ticket.addresses.iter().enumerate() {
            let address = address.as_str().to_owned();
            lookups.spawn(async move {
                let found = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(&address)).await;
                let found = match found {
                    Ok(Ok(found)) => Ok(found.take(MAX_ADDRESSES).collect::<Vec<_>>()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("the name could not be looked up in time".to_owned()),
                };
                (place, found)
            });
        }
        let mut found = lookups.join_all().await;
        found.sort_unstable_by_key(|(place, _)| *place);
        let (mut addresses, mut failure) = (Vec::new(), String::new());
        for (_, outcome) in found {
            match outcome {
                Ok(found) => addresses.extend(found),
                Err(why) => failure = why,
            }
        }
        addresses.sort_by_key(SocketAddr::is_ipv6);
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() { Err(self.unreachable(failure)) } else { Ok(addresses) }
    }

    fn unreachable(&self, why: String) -> LoginError {
        let addresses: Vec<&str> = self.ticket.addresses.iter().map(|a| a.as_str()).collect();
        LoginError::Unreachable { addresses: addresses.join(", "), why }
    }
}

async fn exchange(
    connection: &Connection,
    message: &Message,
) -> Result<Option<Message>, StreamError> {
    let exchange = async {
        let mut stream = connection.open_stream().await?;
        stream.request(message, REPLY_TIMEOUT).await
    };
    // The service takes one request at a time: the wait for our turn counts as well.
    timeout(REPLY_TIMEOUT, exchange).await.unwrap_or(Err(StreamError::Silent(REPLY_TIMEOUT)))
}

fn unexpected() -> LoginError {
    LoginError::BadReply("it is not an answer to what was asked".to_owned())
}
