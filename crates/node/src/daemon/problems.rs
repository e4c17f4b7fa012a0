//! What the user should know of a node, one line each, with what to do about it.

use super::Shared;
use super::driver::OverlayView;
use crate::api::types::{Identity, Share};
use skein_proto::{Role, Ticket};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

impl Shared {
    /// All of it, gravest first.
    pub(super) fn problems(&self, view: &OverlayView, identity: &Identity) -> Vec<String> {
        let mut problems = Vec::new();
        let snapshot = &view.snapshot;
        let now = super::clock::unix_now().0;
        match identity.credential_expires {
            None => problems.push(match self.accounts.lost_name() {
                Ok(Some(name)) => format!(
                    "the credential of @{name} belongs to another node key: run `skein login \
                     {name}`"
                ),
                _ => "not registered: run `skein register NAME`, or `skein login NAME`".to_owned(),
            }),
            Some(expires) if expires <= now => problems.push(
                "the credential has expired and was not renewed: run `skein login NAME`".to_owned(),
            ),
            Some(_) if snapshot.role == Role::Ordinary && snapshot.parent.parent.is_none() => {
                let known = match snapshot.supernodes_known {
                    1 => "1 supernode is".to_owned(),
                    some => format!("{some} supernodes are"),
                };
                problems.push(format!("not attached to a supernode: trying ({known} known)"));
            }
            Some(_) => {}
        }
        let ticket = identity.ticket.as_deref().and_then(|text| text.parse().ok());
        problems.extend(ticket.and_then(|ticket| other_version(self.listen, &ticket)));
        problems.extend(self.login.trouble().map(|trouble| of_the_login_service(&trouble)));
        if snapshot.role == Role::Super && self.login.reachable() == Some(false) {
            problems.push(format!(
                "the login service cannot reach this supernode on UDP port {}: open it in the \
                 firewall or router",
                self.listen.port()
            ));
        }
        if snapshot.parent.over_quota > 0 {
            problems.push(format!(
                "{} files are not searchable: the parent's quota for one node is full",
                snapshot.parent.over_quota
            ));
        }
        problems.extend(self.library.shares().iter().flat_map(of_a_share));
        problems.extend(self.config.download_dir_problem());
        problems
    }
}

/// What the login service said, or what became of asking it.
fn of_the_login_service(trouble: &str) -> String {
    match trouble.starts_with("the login service") {
        true => trouble.to_owned(),
        false => format!("the login service: {trouble}"),
    }
}

/// That the node listens on one version of IP and the login service has only the other: nothing of
/// the node's UDP gets there, though nothing blocks it.
fn other_version(listen: SocketAddr, ticket: &Ticket) -> Option<String> {
    let addresses = ticket.addresses.iter().map(|address| address.as_str().parse().ok());
    // A host name may have either.
    let theirs: Vec<SocketAddr> = addresses.collect::<Option<_>>()?;
    let (own, other) = match listen.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => return None,
        IpAddr::V6(_) => ("IPv6", "IPv4"),
        IpAddr::V4(_) => ("IPv4", "IPv6"),
    };
    let has_none = theirs.iter().all(|address| address.is_ipv4() != listen.is_ipv4());
    has_none.then(|| {
        format!(
            "this node listens on {own} alone, and the login service has {other} alone: start it \
             with --listen '[::]:{}'",
            listen.port()
        )
    })
}

fn of_a_share(share: &Share) -> Vec<String> {
    let path = share.path.display();
    let unreadable = match share.unreadable {
        0 => None,
        1 => Some("1 file or folder in it".to_owned()),
        some => Some(format!("{some} files or folders in it")),
    };
    let failed = share.problem.as_ref().map(|problem| format!("{path}: {problem}"));
    let unreadable = unreadable.map(|what| {
        format!("{path}: {what} cannot be read, and so not shared: see `skein share ls`")
    });
    failed.into_iter().chain(unreadable).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use skein_proto::{BoundedString, BoundedVec, NodeId};

    fn ticket(addresses: &[&str]) -> Ticket {
        let addresses: Vec<BoundedString<64>> =
            addresses.iter().map(|address| BoundedString::new(*address).unwrap()).collect();
        Ticket {
            login_key: NodeId::from_bytes([1; 32]),
            addresses: BoundedVec::new(addresses).unwrap(),
        }
    }

    #[test]
    fn who_listens_on_one_version_is_told_that_the_service_has_the_other() {
        let told = |listen: &str, addresses: &[&str]| {
            other_version(listen.parse().unwrap(), &ticket(addresses))
        };
        let line = told("[::1]:4701", &["127.0.0.1:4700"]).unwrap();
        assert!(line.contains("IPv6 alone") && line.contains("'[::]:4701'"), "{line}");
        assert!(told("127.0.0.1:4701", &["[::1]:4700"]).unwrap().contains("IPv4 alone"));
        assert_eq!(told("[::]:4701", &["127.0.0.1:4700"]), None);
        assert_eq!(told("0.0.0.0:4701", &["127.0.0.1:4700", "[::1]:4700"]), None);
        assert_eq!(told("127.0.0.1:4701", &["login.example.org:4700"]), None);
    }

    #[test]
    fn the_login_service_is_named_once() {
        let named = "the login service at 192.0.2.1:4700 cannot be reached";
        assert_eq!(of_the_login_service(named), named);
        assert_eq!(of_the_login_service("too many"), "the login service: too many");
    }

    #[test]
    fn what_cannot_be_read_of_a_share_is_told() {
        let mut share = Share { path: "/music".into(), ..Share::default() };
        assert_eq!(of_a_share(&share), Vec::<String>::new());
        share.unreadable = 2;
        let lines = of_a_share(&share);
        assert!(lines[0].starts_with("/music: 2 files or folders"), "{lines:?}");
    }
}
