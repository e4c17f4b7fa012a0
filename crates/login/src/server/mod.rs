//! The service: [`Server`] is the running one, [`Service`] what it decides.

mod clock;
mod config;
mod dial;
mod key;
mod limits;
mod list;
mod password;
mod reach;
mod run;
mod service;
mod stats;
pub mod store;

pub use clock::Clock;
pub use config::{ConfigError, LoginConfig, Policy, Rate, RateLimits};
pub use dial::SocketDialBack;
pub use key::KeyFileError;
pub use reach::DialBack;
pub use run::{Server, StartError};
pub use service::Service;
pub use stats::Stats;
pub use store::{InviteCode, Store, StoreError};
