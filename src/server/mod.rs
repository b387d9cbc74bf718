//! Wiring and supervision: makes the parts, binds the listeners, starts the roles and ends them in order. It decides
//! nothing about requests, records or signatures.

pub mod child;
pub mod listen;
pub mod supervise;
