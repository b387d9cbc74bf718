//! The signer on memory stores, seen through tough.

mod crash;
mod delegated;
mod faulty;
mod fixtures;
mod flow;
mod grow;
mod rotation;
mod world;

pub(crate) use self::world::{config, tuf};
