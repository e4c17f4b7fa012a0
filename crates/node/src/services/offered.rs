//! What this node offers to whom.

use super::store::{Store, StoreError};
use crate::api::people::{AddService, OfferedService};
use crate::api::types::{ApiError, ErrorCode};
use skein_proto::Username;
use sqlx::Row;
use std::net::SocketAddr;

/// Services that one node can offer. A person has a few.
const MAX_SERVICES: i64 = 64;

/// Names that may use one service.
const MAX_USERS: usize = 1_000;

/// The longest name of a service in bytes; what fits into the message that asks for it.
const MAX_NAME: usize = 32;

/// A service that somebody may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) udp: bool,
}

impl Store {
    /// Offers a service from now on, in place of one that had that name.
    pub(super) async fn offer_service(&self, service: &AddService) -> Result<(), ApiError> {
        check_name(&service.name)?;
        if service.allow.is_empty() {
            return Err(ApiError::bad_request("nobody could use it: name who may"));
        }
        if service.allow.len() > MAX_USERS {
            let why = format!("at most {MAX_USERS} names can use a service");
            return Err(ApiError::bad_request(why));
        }
        if service.target.port() == 0 {
            let why = "a service has a port from 1 to 65535, such as 22; nothing listens on port 0";
            return Err(ApiError::bad_request(why));
        }
        if service.target.ip().is_unspecified() {
            let why = "a service needs an address that can be connected to, such as 127.0.0.1:22";
            return Err(ApiError::bad_request(why));
        }
        let mut change = self.pool().begin().await.map_err(StoreError::from)?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM services WHERE name != ?1")
            .bind(&service.name)
            .fetch_one(&mut *change)
            .await
            .map_err(StoreError::from)?;
        if count >= MAX_SERVICES {
            let why = format!("{MAX_SERVICES} services are offered: remove one first");
            return Err(ApiError::new(ErrorCode::Conflict, why));
        }
        let written = async {
            sqlx::query("DELETE FROM services WHERE name = ?1")
                .bind(&service.name)
                .execute(&mut *change)
                .await?;
            sqlx::query("INSERT INTO services (name, target, udp) VALUES (?1, ?2, ?3)")
                .bind(&service.name)
                .bind(service.target.to_string())
                .bind(service.udp)
                .execute(&mut *change)
                .await?;
            for user in &service.allow {
                sqlx::query("INSERT OR IGNORE INTO service_users (service, user) VALUES (?1, ?2)")
                    .bind(&service.name)
                    .bind(user.as_str())
                    .execute(&mut *change)
                    .await?;
            }
            change.commit().await
        };
        Ok(written.await.map_err(StoreError::from)?)
    }

    /// Offers a service no longer; false if there is none of that name.
    pub(super) async fn withdraw_service(&self, name: &str) -> Result<bool, StoreError> {
        let gone = sqlx::query("DELETE FROM services WHERE name = ?1");
        Ok(gone.bind(name).execute(self.pool()).await?.rows_affected() > 0)
    }

    /// What is offered, by name.
    pub(super) async fn services(&self) -> Result<Vec<OfferedService>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, target, udp, user FROM services \
             JOIN service_users ON service = name ORDER BY name, user",
        );
        let mut services: Vec<OfferedService> = Vec::new();
        for row in rows.fetch_all(self.pool()).await? {
            let (name, user): (String, String) = (row.get("name"), row.get("user"));
            let Some(target) = parsed(row.get("target")) else { continue };
            if services.last().is_none_or(|last| last.name != name) {
                let (udp, allow) = (row.get("udp"), Vec::new());
                services.push(OfferedService { name, target, udp, allow });
            }
            if let (Some(last), Ok(user)) = (services.last_mut(), Username::parse(&user)) {
                last.allow.push(user);
            }
        }
        Ok(services)
    }

    /// The service of that name, if that user may use it.
    pub(super) async fn service_for(
        &self,
        name: &str,
        user: &Username,
    ) -> Result<Option<Target>, StoreError> {
        let row = sqlx::query(
            "SELECT target, udp FROM services \
             JOIN service_users ON service = name WHERE name = ?1 AND user = ?2",
        );
        let row = row.bind(name).bind(user.as_str()).fetch_optional(self.pool()).await?;
        Ok(row.and_then(|row| {
            let address = parsed(row.get("target"))?;
            Some(Target { address, udp: row.get("udp") })
        }))
    }
}

/// Whether a service may have this name.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(plain) {
        return Ok(());
    }
    let why = format!(
        "a service's name has 1 to {MAX_NAME} of a-z, 0-9, - and _, such as ssh; {name:?} has not"
    );
    Err(ApiError::bad_request(why))
}

/// An address as it was written; one that somebody has damaged is no address.
fn parsed(text: String) -> Option<SocketAddr> {
    text.parse().ok()
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::home::Home;

    fn name(text: &str) -> Username {
        Username::parse(text).unwrap()
    }

    fn ssh(allow: &[&str]) -> AddService {
        AddService {
            name: "ssh".to_owned(),
            target: ([127, 0, 0, 1], 22).into(),
            udp: false,
            allow: allow.iter().map(|text| name(text)).collect(),
        }
    }

    #[tokio::test]
    async fn a_service_is_for_those_only_who_are_named() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(&Home::open(temp.path()).unwrap()).await.unwrap();
        assert_eq!(store.service_for("ssh", &name("alice")).await.unwrap(), None);
        store.offer_service(&ssh(&["alice", "bob"])).await.unwrap();
        let target = Target { address: ([127, 0, 0, 1], 22).into(), udp: false };
        assert_eq!(store.service_for("ssh", &name("alice")).await.unwrap(), Some(target));
        assert_eq!(store.service_for("ssh", &name("mallory")).await.unwrap(), None);
        assert_eq!(store.service_for("web", &name("alice")).await.unwrap(), None);

        store.offer_service(&ssh(&["bob"])).await.unwrap();
        assert_eq!(store.service_for("ssh", &name("alice")).await.unwrap(), None, "replaced");
        assert_eq!(store.services().await.unwrap()[0].allow, [name("bob")]);
        assert!(store.withdraw_service("ssh").await.unwrap());
        assert!(!store.withdraw_service("ssh").await.unwrap());
        assert_eq!(store.service_for("ssh", &name("bob")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_cannot_be_offered_is_refused_with_a_reason() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(&Home::open(temp.path()).unwrap()).await.unwrap();
        for wrong in [
            AddService { name: "SSH server".to_owned(), ..ssh(&["bob"]) },
            AddService { name: String::new(), ..ssh(&["bob"]) },
            AddService { target: ([127, 0, 0, 1], 0).into(), ..ssh(&["bob"]) },
            AddService { target: ([0, 0, 0, 0], 22).into(), ..ssh(&["bob"]) },
            ssh(&[]),
        ] {
            let refused = store.offer_service(&wrong).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::BadRequest, "{wrong:?}");
        }
        assert_eq!(store.services().await.unwrap(), []);
    }
}
