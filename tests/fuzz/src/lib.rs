//! Fuzz targets for everything that reads what strangers send.

pub mod targets;
