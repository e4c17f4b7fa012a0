//! The login and bootstrap service, and its store.
