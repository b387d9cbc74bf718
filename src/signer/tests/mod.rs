//! The signer on memory stores, seen through tough.

mod crash;
mod faulty;
mod flow;
mod world;

pub(super) use self::world::tuf;
